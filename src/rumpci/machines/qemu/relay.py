"""The machine's interrupt controllers, by way of the relay (relay.S).

    device -> MSI, or I/O APIC pin -> local APIC -> relay -> a count in RAM, a byte to wake us

Counts are exact as far as the local APIC's are: it keeps one request a vector,
so a message that arrives while an equal one is pending is one with it, as on
any PC; what caused it is still in the device.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import time
from collections.abc import Callable

from rumpci import _native
from rumpci.host import Address
from rumpci.machines.qemu import firmware as fw
from rumpci.machines.qemu._wire import Bar, Wire
from rumpci.machines.qemu.memory import LOW
from rumpci.machines.qemu.patience import wait_until
from rumpci.machines.vtd.remap import Remapping

MESSAGE_BASE = 0xFEE0_0000  # Intel SDM volume 3, 10.11.1
IOAPIC_SOURCE = 0xFF00  # bus 0xff, function 0: what QEMU's I/O APIC says it is
_LEVEL = 1 << 15
_FIRST_ROOT_PIN = 20
_ROUTED_DEVICES = {25, 26, 27, 28, 29, 31}  # by registers of their own, as reset leaves them
_BRIDGE_DEVICE = 30  # the DMI-to-PCI bridge has none: QEMU wires INTA-D to PIRQE-H
_PCI_PINS = range(16, 24)
_FIRST_COUNT = fw.COUNTS // 4
_NUDGE_SECONDS = 0.04
_UNTAKEN_MOST = 64
"""Wake-ups that may wait: QEMU's processor blocks when some 278 of them fill their socket."""


class Relay:
    """See machine.InterruptController.

    `parent` gives the bridge that leads to a bus, `requester` a function's requester id.
    """

    name = "ioapic0"
    vectors = range(0x50, 0xF0)
    low_ram = LOW

    def __init__(
        self,
        wire: Wire,
        ram: int,
        wake: socket.socket,
        parent: Callable[[int], Address | None],
        requester: Callable[[Address], int],
    ) -> None:
        self._map = mmap.mmap(ram, self.low_ram)
        self._words = memoryview(self._map).cast("I")
        self._entries = memoryview(self._map).cast("Q")
        self._seen = [0] * 256
        self._watched: set[int] = set()
        self._wake, self._parent, self._requester = wake, parent, requester
        self._apic = Bar(wire, MESSAGE_BASE, 0x1000)
        self._wire = wire
        self._looking = False
        self._untaken = 0  # at most so many bytes wait to be taken
        self._armed_at = 0.0
        self._remapping: Remapping | None = None
        wake.setblocking(False)

    def fileno(self) -> int:
        """See InterruptController."""
        return self._wake.fileno()

    def collect(self) -> list[tuple[int, int]]:
        """See InterruptController."""
        self._untaken += 1
        if not self._looking or self._untaken >= _UNTAKEN_MOST:
            self._take_wake_up()
        self._arm()
        found = []
        for vector in self._watched:
            count = self._words[_FIRST_COUNT + vector]
            if count != self._seen[vector]:
                found.append((vector, (count - self._seen[vector]) & 0xFFFF_FFFF))
                self._seen[vector] = count
        return found

    def _take_wake_up(self) -> None:
        """Take the bytes that woke us, if any did.  Raises MachineDied if nobody sends any more."""
        self._untaken = 0
        with contextlib.suppress(BlockingIOError):
            if self._wake.recv(2 * _UNTAKEN_MOST) == b"":
                self._wire.ask(b"endianness\n")  # raises, with the last words

    def fired(self) -> bool:
        """See InterruptController."""
        if not self._looking:
            self._looking = True
            self._words[fw.AWAKE // 4] = 1  # the relay need not wake who looks
        return self._counted()

    def arm(self) -> bool:
        """See InterruptController.

        Armed again, asleep, it now and then sends APPLY: a request that QEMU's processor slept
        through (seen about once in some thousand machines) is taken with the next one.
        """
        now = time.monotonic()
        if not self._looking and now - self._armed_at > _NUDGE_SECONDS:
            self._apic.write(0, 4, fw.APPLY)
        self._armed_at = now
        self._arm()
        return self._counted()

    def _arm(self) -> None:
        self._looking = False
        self._words[fw.AWAKE // 4] = 0
        _native.fence()  # from here on a new interrupt wakes us; older ones are in the counts

    def count(self, vector: int) -> int:
        """How often a vector fired, modulo 2 to the 32, watched or not."""
        return self._words[_FIRST_COUNT + vector]

    def _counted(self) -> bool:
        words, seen = self._words, self._seen
        return any(words[_FIRST_COUNT + vector] != seen[vector] for vector in self._watched)

    def watch(self, vector: int, on: bool) -> None:
        """See InterruptController."""
        if on:
            self._seen[vector] = self._words[_FIRST_COUNT + vector]
            self._watched.add(vector)
        else:
            self._watched.discard(vector)

    def message(self, vector: int, address: Address) -> tuple[int, int]:
        """See InterruptController."""
        if self._remapping is None:
            return MESSAGE_BASE, vector
        self._remapping.set(vector, self._requester(address))
        return self._remapping.message(vector)

    def revoke(self, vector: int) -> None:
        """See InterruptController."""
        if self._remapping is not None:
            self._remapping.clear(vector)

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
        """See InterruptController; returns when the relay has done it."""
        self._apply(pin, self.line_vector(pin) | _LEVEL | fw.MASKED)
        tried = f"masking {self.name} pin {pin}"
        self._await(lambda: not self._words[fw.WANT // 4 + pin], tried)

    def _apply(self, pin: int, entry: int) -> None:
        """Have the relay write a redirection entry: it alone touches the I/O APIC."""
        if self._remapping is not None:
            entry |= self._remapping.line(self.line_vector(pin))
        self._entries[fw.ENTRY // 8 + pin] = entry
        self._words[fw.WANT // 4 + pin] = 1
        _native.fence()
        self._apic.write(0, 4, fw.APPLY)

    def start(self, remapping: Remapping | None) -> None:
        """Wait for the relay, and have it make every PCI pin level-triggered and masked.

        With `remapping`, the IOMMU checks who fires which vector.  An
        edge-triggered pin, as they come, would forget a line asserted while it is masked.
        Raises MachineDied (EIO) if the relay does not answer.
        """
        self._await(lambda: bool(self._words[fw.READY // 4]), "starting the relay")
        self._remapping = remapping
        if remapping is not None:
            for pin in _PCI_PINS:
                remapping.set(self.line_vector(pin), IOAPIC_SOURCE, level=True)
        for pin in _PCI_PINS:
            self.mask_line(pin)

    def _await(self, done: Callable[[], bool], tried: str) -> None:
        """Wait for the relay, and send APPLY until it is done: before `sti` it may be lost."""

        def look() -> bool:
            self._apic.write(0, 4, fw.APPLY)
            return done()

        wait_until(look, self._wire, tried, self._state)

    def _state(self) -> str:
        waiting = [pin for pin in range(fw.PINS) if self._words[fw.WANT // 4 + pin]]
        return f"ready {self._words[fw.READY // 4]}, requests for pins {waiting}"

    def close(self) -> None:
        """Let RAM go.  Closing twice does nothing."""
        self._words.release()
        self._entries.release()
        self._map.close()
