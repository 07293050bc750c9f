"""The machine's interrupt controllers, by way of the relay (relay.S).

    device -> MSI, or I/O APIC pin -> local APIC -> relay -> a count in RAM, a byte to wake us

Counts are exact as far as the local APIC's are: it keeps one request a vector,
so a message that arrives while an equal one is pending is one with it, as on
any PC; what caused it is still in the device.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Callable

from rumpci import _native, kern
from rumpci.errors import MachineDied
from rumpci.host import Address
from rumpci.machines.qemu import firmware as fw
from rumpci.machines.qemu._wire import Bar, Wire

MESSAGE_BASE = 0xFEE0_0000  # Intel SDM volume 3, 10.11.1
_LEVEL = 1 << 15
_FIRST_ROOT_PIN = 20
_ROUTED_DEVICES = {25, 26, 27, 28, 29, 31}  # by registers of their own, as reset leaves them
_BRIDGE_DEVICE = 30  # the DMI-to-PCI bridge has none: QEMU wires INTA-D to PIRQE-H
_PCI_PINS = range(16, 24)
_START_LIMIT_US = 10_000_000


class Relay:
    """See machine.InterruptController; `parent` gives the bridge that leads to a bus."""

    name = "ioapic0"
    vectors = range(0x50, 0xF0)
    low_ram = 0x8000  # bytes at the start of RAM that are the relay's

    def __init__(
        self, wire: Wire, ram: int, wake: socket.socket, parent: Callable[[int], Address | None]
    ) -> None:
        self._map = mmap.mmap(ram, self.low_ram)
        self._words = memoryview(self._map).cast("I")
        self._entries = memoryview(self._map).cast("Q")
        self._seen = [0] * 256
        self._watched: set[int] = set()
        self._wake, self._parent = wake, parent
        self._apic = Bar(wire, MESSAGE_BASE, 0x1000)
        self._wire = wire
        wake.setblocking(False)

    def fileno(self) -> int:
        """See InterruptController."""
        return self._wake.fileno()

    def collect(self) -> list[tuple[int, int]]:
        """See InterruptController."""
        try:
            if self._wake.recv(64) == b"":
                self._wire.ask(b"endianness\n")  # raises MachineDied, with the last words
        except BlockingIOError:
            pass
        self._words[fw.AWAKE // 4] = 0
        _native.fence()  # from here on a new interrupt wakes us again
        found = []
        for vector in self._watched:
            count = self._words[fw.COUNTS // 4 + vector]
            if count != self._seen[vector]:
                found.append((vector, (count - self._seen[vector]) & 0xFFFF_FFFF))
                self._seen[vector] = count
        return found

    def watch(self, vector: int, on: bool) -> None:
        """See InterruptController."""
        if on:
            self._seen[vector] = self._words[fw.COUNTS // 4 + vector]
            self._watched.add(vector)
        else:
            self._watched.discard(vector)

    def message(self, vector: int) -> tuple[int, int]:
        """See InterruptController."""
        return MESSAGE_BASE, vector

    def pin(self, address: Address, intx: int) -> int:
        """See InterruptController.  PCI-PCI Bridge 1.2, 9.1; ICH9 data sheet, 10.1.31 and on."""
        while bridge := self._parent(address.bus):
            intx = (intx + address.device) % 4
            address = bridge
        if address.device in _ROUTED_DEVICES:
            return 16 + intx
        if address.device == _BRIDGE_DEVICE:
            return _FIRST_ROOT_PIN + intx
        return _FIRST_ROOT_PIN + (address.device + intx) % 4

    def line_vector(self, pin: int) -> int:
        """See InterruptController."""
        return fw.LINES + pin

    def unmask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._apply(pin, self.line_vector(pin) | _LEVEL)

    def mask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._apply(pin, self.line_vector(pin) | _LEVEL | fw.MASKED)

    def _apply(self, pin: int, entry: int) -> None:
        """Have the relay write a redirection entry: it alone touches the I/O APIC."""
        self._entries[fw.ENTRY // 8 + pin] = entry
        self._words[fw.WANT // 4 + pin] = 1
        _native.fence()
        self._apic.write(0, 4, fw.APPLY)

    def start(self) -> None:
        """Wait for the relay, and have it make every PCI pin level-triggered and masked.

        An edge-triggered pin, as they come, would forget a line asserted while it is masked.
        Raises MachineDied (EIO) if the relay does not answer.
        """
        self._await(lambda: bool(self._words[fw.READY // 4]))
        for pin in _PCI_PINS:
            self.mask_line(pin)
        self._await(lambda: not any(self._words[fw.WANT // 4 + pin] for pin in _PCI_PINS))

    def _await(self, done: Callable[[], bool]) -> None:
        limit = kern.deadline(_START_LIMIT_US)
        while not done():
            if limit.passed():
                raise MachineDied(
                    "starting the relay", "it did not answer in 10 s", "open the host again"
                )
            self._wire.ask(b"endianness\n")  # raises if the machine is gone

    def close(self) -> None:
        """Let RAM go.  Closing twice does nothing."""
        self._words.release()
        self._entries.release()
        self._map.close()
