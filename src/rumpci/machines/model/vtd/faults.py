"""Fault records, and the interrupts that the unit itself sends.

Source: VT-d specification 3.x, 7.2 (logging), 7.3 (fault events).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from rumpci.machines.model.vtd.spec import FECTL, FRCD, FSTS, RECORD_BASE, RECORDS, Reason

Send = Callable[[int, int], None]
"""Writes a message: address, data."""


class EventMessage:
    """A control register with data and address: FECTL or IECTL and the three after it."""

    def __init__(self, base: int, send: Send) -> None:
        self.base, self._send = base, send
        self._words = [FECTL.IM.mask, 0, 0, 0]  # masked at reset

    def read(self, offset: int) -> int:
        """One of the four registers."""
        return self._words[(offset - self.base) // 4]

    def write(self, offset: int, value: int) -> None:
        """One of the four registers; unmasking sends what is pending."""
        index = (offset - self.base) // 4
        if index:
            self._words[index] = value
            return
        pending = self._words[0] & FECTL.IP.mask
        self._words[0] = value & FECTL.IM.mask | pending
        if pending and not value & FECTL.IM.mask:
            self.fire()

    def fire(self) -> None:
        """Send the message, or keep it pending while it is masked."""
        control, data, low, high = self._words
        if control & FECTL.IM.mask:
            self._words[0] |= FECTL.IP.mask
            return
        self._words[0] &= ~FECTL.IP.mask
        self._send(high << 32 | low, data)

    def settle(self) -> None:
        """Nothing is pending any more."""
        self._words[0] &= ~FECTL.IP.mask


class FaultLog:
    """FSTS and the fault records.  `recorded` counts every fault, also those that were lost."""

    def __init__(self, event: EventMessage) -> None:
        self.recorded = 0
        self._event = event
        self._records = [[0, 0] for _ in range(RECORDS)]
        self._next = self._first = 0
        self._sticky = 0  # PFO and IQE

    @property
    def status(self) -> int:
        """FSTS."""
        pending = any(high & FRCD.F.mask for _, high in self._records)
        return int(FSTS(self._sticky, PPF=int(pending), FRI=self._first))

    def record(self, source: int, addr: int, write: bool, reason: Reason) -> None:
        """Take a fault down, or note that it did not fit (7.2.1)."""
        self.recorded += 1
        before = FSTS(self.status)
        if before.PFO:
            return
        if self._records[self._next][1] & FRCD.F.mask:
            self._rise(FSTS.PFO.mask)
            return
        if not before.PPF:
            self._first = self._next
        high = FRCD(F=1, T=int(not write), FR=reason, SID=source)
        self._records[self._next] = [addr & -4096, int(high)]
        self._next = (self._next + 1) % RECORDS
        self._tell(before)

    def queue_error(self) -> None:
        """Set IQE."""
        self._rise(FSTS.IQE.mask)

    def _rise(self, bit: int) -> None:
        before, self._sticky = FSTS(self.status), self._sticky | bit
        self._tell(before)

    def _tell(self, before: FSTS) -> None:
        """One interrupt, when the first bit of FSTS is set (7.3)."""
        if not (before.PPF or before.PFO or before.IQE):
            self._event.fire()

    def clear(self, bits: int) -> None:
        """Software wrote FSTS."""
        self._sticky &= ~bits
        self._settle()

    def read(self, offset: int) -> int:
        """32 bits of the records."""
        at = offset - RECORD_BASE
        data = b"".join(struct.pack("<QQ", *pair) for pair in self._records)
        return int.from_bytes(data[at : at + 4], "little")

    def write(self, offset: int, value: int) -> None:
        """Software wrote 32 bits of a record: F is cleared by writing one (10.4.31)."""
        index, word = divmod((offset - RECORD_BASE) // 4, 4)
        if word == 3 and value & FRCD.F.mask >> 32:
            self._records[index][1] &= ~FRCD.F.mask
            self._settle()

    def _settle(self) -> None:
        if not self.status & (FSTS.PPF.mask | FSTS.PFO.mask | FSTS.IQE.mask):
            self._event.settle()
