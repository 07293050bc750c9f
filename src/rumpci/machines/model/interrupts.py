"""The interrupt controller of a model machine: lines and messages, all in Python."""

from __future__ import annotations

import os
import threading

from rumpci.host import Address

MESSAGE_BASE = 0xFEE0_0000
FAULT = 0xF0
"""The vector of the IOMMU's fault event: above every device's; it is counted, not collected."""
_FIRST_PIN, _PINS, _FIRST_LINE = 16, 8, 0x40


class ModelInterrupts:
    """See machine.InterruptController; models assert lines and send messages into it.

    `faults` counts the IOMMU's fault events.
    """

    name = "ioapic0"
    vectors = range(0x50, 0xF0)

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self.faults = 0
        self._counts: dict[int, int] = {}
        self._watched: set[int] = set()
        self._asserted: dict[int, set[Address]] = {}
        self._open: set[int] = set()

    def fileno(self) -> int:
        """See InterruptController."""
        return self._wake

    def collect(self) -> list[tuple[int, int]]:
        """See InterruptController."""
        with self._lock:
            try:
                os.eventfd_read(self._wake)
            except BlockingIOError:
                return []
            found = sorted(self._counts.items())
            self._counts.clear()
            return found

    def fired(self) -> bool:
        """See InterruptController."""
        return bool(self._counts)

    def arm(self) -> bool:
        """See InterruptController."""
        return self.fired()

    def watch(self, vector: int, on: bool) -> None:
        """See InterruptController."""
        with self._lock:
            (self._watched.add if on else self._watched.discard)(vector)
            self._counts.pop(vector, None)

    def message(self, vector: int, address: Address) -> tuple[int, int]:
        """See InterruptController."""
        del address
        return MESSAGE_BASE, vector

    def revoke(self, vector: int) -> None:
        """See InterruptController: a model cannot forge, it has no data of its own."""

    def pin(self, address: Address, intx: int) -> int:
        """See InterruptController."""
        return _FIRST_PIN + (address.device + intx) % _PINS

    def line_vector(self, pin: int) -> int:
        """See InterruptController."""
        return _FIRST_LINE + pin - _FIRST_PIN

    def unmask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._open.add(pin)
        self._service(pin)

    def mask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._open.discard(pin)

    # ---- the devices' side ----------------------------------------------------

    def assert_line(self, address: Address, intx: int, level: bool) -> None:
        """Raise or lower a function's line; it fires if it is open, and is masked then."""
        pin = self.pin(address, intx)
        sources = self._asserted.setdefault(pin, set())
        (sources.add if level else sources.discard)(address)
        self._service(pin)

    def send(self, address: int, data: int) -> None:
        """A device writes a message."""
        if address == MESSAGE_BASE:
            self._fire(data & 0xFF)

    def send_fault(self, address: int, data: int) -> None:
        """The IOMMU writes its fault event: it wakes who waits, who then asks for faults."""
        if (address, data) == (MESSAGE_BASE, FAULT):
            with self._lock:
                self.faults += 1
                os.eventfd_write(self._wake, 1)

    def _service(self, pin: int) -> None:
        if pin in self._open and self._asserted.get(pin):
            self._open.discard(pin)
            self._fire(self.line_vector(pin))

    def _fire(self, vector: int) -> None:
        with self._lock:
            if vector in self._watched:
                self._counts[vector] = self._counts.get(vector, 0) + 1
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close the descriptor.  Closing twice does nothing."""
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)
