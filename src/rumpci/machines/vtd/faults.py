"""What the unit blocked: its fault records, read only when its fault event says so.

The event is a message to a vector that is counted in memory, so that asking for
faults when there is none costs a look at that count.  The unit sends one event
for the first fault, and the next only after all records and the overflow bit
were cleared; so they are read until it says that nothing is pending.

Source: Intel VT-d specification 7.1.3 and appendix A (reasons), 7.2 (reporting), 10.4.9-10.4.14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rumpci.machines.machine import IommuFault
from rumpci.machines.vtd.unit import Unit
from rumpci.machines.vtd.vtdreg import (
    FRCD,
    FRCD_HI,
    VTD_FEADDR,
    VTD_FECTL,
    VTD_FEDATA,
    VTD_FEUADDR,
    VTD_FSTS,
)

REASONS = {
    0x01: "nothing on this bus may do DMA (root entry not present)",
    0x02: "the function has no domain (context entry not present)",
    0x03: "the function's context entry is invalid",
    0x04: "the address is wider than the domain",
    0x05: "not granted for writing by the device",
    0x06: "not granted for reading by the device",
    0x07: "a second-level table could not be read",
    0x08: "the root table could not be read",
    0x09: "the context table could not be read",
    0x0A: "a reserved bit is set in the root entry",
    0x0B: "a reserved bit is set in the context entry",
    0x0C: "a reserved bit is set in a second-level entry",
    0x0D: "the function may not send this type of request",
    0x0E: "the page is in the range of interrupt messages",
    0x20: "interrupt message: a reserved bit is set",
    0x21: "interrupt message: the handle is beyond the table",
    0x22: "interrupt message: the handle is nobody's (entry not present)",
    0x23: "interrupt message: the remapping table could not be read",
    0x24: "interrupt message: a reserved bit is set in the entry",
    0x25: "interrupt message: it has no handle (compatibility format)",
    0x26: "interrupt message: the handle is another function's",
    0x27: "interrupt message: the posted descriptor could not be read",
    0x28: "interrupt message: a reserved bit is set in the posted descriptor",
}
"""Fault reasons by code, from 0x20 on those of interrupt remapping."""
_FIRST_INTERRUPT, _LAST_INTERRUPT = 0x20, 0x2F
_INTERRUPTS = 0xFEE0_0000
_ROUNDS = 64  # of reading all records: a device that faults for ever must not hold us for ever


class FaultLog:
    """The unit's fault records; `event` is the (address, data) whose arrivals `count` counts."""

    def __init__(self, unit: Unit, event: tuple[int, int], count: Callable[[], int]) -> None:
        self._unit, self._count = unit, count
        self._records, self._number = 16 * unit.cap.FRO, unit.cap.NFR + 1
        self._pending, self._lost, self._seen = True, False, count()
        address, data = event
        unit.write(VTD_FEDATA(data))
        unit.write(VTD_FEADDR(address & 0xFFFF_FFFF))
        unit.write(VTD_FEUADDR(address >> 32))
        unit.write(VTD_FECTL(IM=0))

    def read(self) -> list[IommuFault]:
        """The faults since the last call, oldest first."""
        count = self._count()
        if count == self._seen and not self._pending:
            return []
        self._seen = count  # first: what is counted from here on is looked for again
        found: list[IommuFault] = []
        self._pending = not any(self._is_quiet(found) for _ in range(_ROUNDS))
        if found and self._lost:
            found[-1] = replace(found[-1], lost=True)
            self._lost = False
        return found

    def _is_quiet(self, found: list[IommuFault]) -> bool:
        """Take what is recorded; whether there was nothing, so that the next one is an event."""
        status = VTD_FSTS(self._unit.read(VTD_FSTS))
        if not status.PPF and not status.PFO:
            return True
        found += self._take(status.FRI)
        if status.PFO:  # after the records: while they are full it would be set again
            self._lost = True
            self._unit.write(VTD_FSTS(PFO=1))
        return False

    def _take(self, first: int) -> Iterator[IommuFault]:
        """Read and clear the records from `first` on, round the ring, until one is free."""
        for index in range(first, first + self._number):
            at = self._records + 16 * (index % self._number)
            high = FRCD_HI(self._unit.read(FRCD_HI, at))
            if not high.F:
                return
            low = FRCD(self._unit.read(FRCD, at))
            self._unit.write(FRCD_HI(F=1), at)
            yield fault(low, high)


def fault(low: FRCD, high: FRCD_HI) -> IommuFault:
    """A record in words.  The address of an interrupt message is that of its handle (5.1.5.2)."""
    code = high.FR
    reason = REASONS.get(code, "see the VT-d specification, appendix A")
    addr = low.FI << 12
    write = not high.T
    if _FIRST_INTERRUPT <= code <= _LAST_INTERRUPT:
        addr, write = _INTERRUPTS | (low.INDEX & 0x7FFF) << 5 | low.INDEX >> 15 << 2, True
    return IommuFault(high.SID, addr, write, f"{reason} [reason {code:#x}]")
