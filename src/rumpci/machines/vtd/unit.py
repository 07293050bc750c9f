"""The remapping unit: its commands, and its queue of invalidations.

    tables in memory --(cached by the unit)--> what a device may do
    invalidate(descriptors) : queue in memory, tail register, a word that the unit writes when done

An invalidation costs one posted write and looking at memory: no register is read.
Source: Intel VT-d specification 6.5.2 (queued invalidation), 10.4.4 (commands).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from rumpci.errors import HostRefused
from rumpci.machines.machine import BarAccess
from rumpci.machines.vtd.vtdreg import (
    VTD_CAP,
    VTD_ECAP,
    VTD_FSTS,
    VTD_GCMD,
    VTD_GSTS,
    VTD_IQA,
    VTD_IQT,
    WAIT_INV,
)
from rumpci.regs import Register

QUEUE_MAX = 254
"""Descriptors that one `invalidate` takes: a page of them, less the wait and the gap."""
_SLOTS = 256
_ONE_SHOT = VTD_GCMD.SRTP.mask | VTD_GCMD.SIRTP.mask
_TAIL, _TAIL_SHIFT = VTD_IQT.offset, VTD_IQT.TAIL.shift
_WAIT, _DATA_SHIFT = int(WAIT_INV(TYPE=5, SW=1)), WAIT_INV.DATA.shift


class Wait(Protocol):
    """How to wait for a machine."""

    def __call__(self, done: Callable[[], bool], tried: str, state: Callable[[], str]) -> None:
        """Look until `done`.  Raises MachineDied (EIO), saying what was `tried` and the `state`."""


class Unit:
    """A unit with `registers`; `words` is memory from address 0 on as 64-bit words.

    `queue` is the address of a page for descriptors, `done` of a word for the unit
    to write.  The unit sees what is stored there at once, whatever ECAP.C says: it is
    software on the same processors.  Invalidations may come from several threads.
    Raises HostRefused (EINVAL) if the unit has no invalidation queue.
    """

    def __init__(
        self, registers: BarAccess, words: memoryview, *, queue: int, done: int, wait: Wait
    ) -> None:
        self.words, self._registers, self._wait = words, registers, wait
        self._queue, self._done_at, self._done = queue >> 3, done, done >> 3
        self._tail = self._waits = self._filled = self._command = 0
        self._lock = threading.Lock()
        self.cap = VTD_CAP(self.read(VTD_CAP))
        self.ecap = VTD_ECAP(self.read(VTD_ECAP))
        if not self.ecap.QI:
            raise HostRefused(
                "starting the IOMMU",
                f"it has no invalidation queue (ECAP {self.ecap})",
                "use the machine without its IOMMU",
            )
        self.write(VTD_IQA(PAGE=queue >> 12))
        self.command(QIE=1)

    def read(self, register: type[Register], base: int = 0) -> int:
        """Read a register (of a structure at `base`)."""
        return self._registers.read(base + register.offset, register.width)

    def write(self, register: Register, base: int = 0) -> None:
        """Write a register (of a structure at `base`); posted."""
        self._registers.write(base + register.offset, register.width, int(register))

    def command(self, **fields: int) -> None:
        """Change fields of VTD_GCMD, one at a time, and wait until the unit has (10.4.4)."""
        for name, value in fields.items():
            bit = VTD_GCMD.fields[name].mask
            self._command = int(VTD_GCMD(self._command, **{name: value}))
            self.write(VTD_GCMD(self._command))
            self._command &= ~_ONE_SHOT
            self._wait(
                lambda bit=bit, on=bool(value): bool(self.read(VTD_GSTS) & bit) == on,  # type: ignore[misc]
                f"setting {name} of the IOMMU to {value}",
                self._state,
            )

    def invalidate(self, *descriptors: tuple[int, int]) -> None:
        """Have the unit forget what (low, high) descriptors say; returns when it has.

        At most QUEUE_MAX.  Raises MachineDied (EIO) if it does not.
        """
        self.settle(self.post(*descriptors))

    def post(self, *descriptors: tuple[int, int]) -> int:
        """Tell the unit what to forget, and do not wait: `settle` the number that this returns."""
        with self._lock:
            if self._filled + len(descriptors) >= QUEUE_MAX:
                self._await(self._waits)
            self._waits = waits = (self._waits + 1) & 0xFFFF_FFFF
            for low, high in descriptors:
                self._push(low, high)
            self._push(_WAIT | waits << _DATA_SHIFT, self._done_at)
            self._filled += len(descriptors) + 1
            self._registers.write(_TAIL, 8, self._tail << _TAIL_SHIFT)
            return waits

    def settle(self, ticket: int) -> None:
        """Return when the unit has forgotten what was posted for `ticket`, and all before it.

        Raises MachineDied (EIO) if it does not.
        """
        if (self.words[self._done] - ticket) & 0x8000_0000:
            with self._lock:
                self._await(ticket)

    def _await(self, ticket: int) -> None:
        words, done = self.words, self._done
        self._wait(
            lambda: not (words[done] - ticket) & 0x8000_0000,  # a number that wraps at 32 bits
            "invalidating what the IOMMU has cached",
            self._state,
        )
        if ticket == self._waits:
            self._filled = 0

    def _push(self, low: int, high: int) -> None:
        at = self._queue + 2 * self._tail
        self.words[at], self.words[at + 1] = low, high
        self._tail = (self._tail + 1) % _SLOTS

    def _state(self) -> str:
        status, faults = VTD_GSTS(self.read(VTD_GSTS)), VTD_FSTS(self.read(VTD_FSTS))
        return f"status {status}, fault status {faults}"
