"""Fault records: what is read, cleared, and said to be lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given, strategies as st

from rumpci.host_dma import Direction
from rumpci.machines.machine import IommuFault
from rumpci.machines.vtd.faults import REASONS, FaultLog, fault
from rumpci.machines.vtd.iommu import BITS
from rumpci.machines.vtd.unit import Unit
from rumpci.machines.vtd.vtdreg import FRCD, FRCD_HI, SLPTE, VTD_CAP, VTD_FSTS
from rumpci.regs import Register

RECORDS, COUNT = 0x220, 4
PAGE = 1 << 12


@dataclass
class Records:
    """A unit's fault registers as 7.2 and 10.4.14 describe them, with events counted."""

    cap: VTD_CAP = field(default_factory=lambda: VTD_CAP(FRO=RECORDS // 16, NFR=COUNT - 1))
    ring: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)] * COUNT)
    next: int = 0
    overflow: bool = False
    events: int = 0
    reads: int = 0
    during: list[int] = field(default_factory=list)  # pages that fault as registers are accessed
    refused: int = 0

    def happen(self, page: int, sid: int = 8) -> None:
        was_pending = self._pending() or self.overflow
        if self.overflow or self.ring[self.next][1] >> 63:
            self.overflow = True
            self.refused += 1
        else:
            self.ring[self.next] = page, int(FRCD_HI(F=1, FR=5, SID=sid))
            self.next = (self.next + 1) % COUNT
        self.events += not was_pending

    def _pending(self) -> bool:
        return any(high >> 63 for _, high in self.ring)

    def _meanwhile(self) -> None:
        if self.during and self.during.pop():
            self.happen(PAGE)

    def read(self, register: type[Register], base: int = 0) -> int:
        self.reads += 1
        self._meanwhile()
        if register is VTD_FSTS:
            first = next((i % COUNT for i in range(self.next, self.next + COUNT)
                          if self.ring[i % COUNT][1] >> 63), 0)  # fmt: skip
            return int(VTD_FSTS(PFO=self.overflow, PPF=self._pending(), FRI=first))
        low, high = self.ring[(base - RECORDS) // 16]
        return high if register is FRCD_HI else low

    def write(self, register: Register, base: int = 0) -> None:
        self._meanwhile()
        if isinstance(register, VTD_FSTS) and register.PFO:
            self.overflow = False
        if isinstance(register, FRCD_HI) and register.F:
            low, high = self.ring[(base - RECORDS) // 16]
            self.ring[(base - RECORDS) // 16] = low, high & ~FRCD_HI.F.mask


def log(records: Records) -> FaultLog:
    made = FaultLog(cast(Unit, records), (0xFEE0_0000, 0xF0), lambda: records.events)
    assert made.read() == []
    return made


def test_without_an_event_no_register_is_read() -> None:
    records = Records()
    made = log(records)
    records.reads = 0
    assert made.read() == []
    assert records.reads == 0


def test_all_records_are_read_round_the_ring() -> None:
    records = Records()
    made = log(records)
    for start in (1, 4, 7):
        pages = [PAGE * (start + n) for n in range(3)]
        for page in pages:
            records.happen(page)
        assert [found.addr for found in made.read()] == pages


def test_overflow_is_said_of_the_last_one() -> None:
    records = Records()
    made = log(records)
    for page in range(6):
        records.happen(page * PAGE)
    assert [found.lost for found in made.read()] == [False, False, False, True]
    records.happen(PAGE)
    assert [found.lost for found in made.read()] == [False]


@given(st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 1), max_size=40)), max_size=8))
def test_nothing_is_lost_unsaid_and_events_go_on(
    rounds: list[tuple[int, list[int]]],
) -> None:
    """Faults between any two accesses: each is told or said to be lost, and the next is told."""
    records = Records()
    made = log(records)
    found: list[IommuFault] = []
    happened = 0
    for before, during in rounds:
        for _ in range(before):
            records.happen(PAGE)
        records.during = list(during)
        found += made.read()
        happened += before + sum(during) - sum(records.during)
        records.during = []
    while more := made.read():
        found += more
    assert len(found) + records.refused == happened
    assert any(one.lost for one in found) == (records.refused > 0)
    records.happen(7 * PAGE)
    assert [one.addr for one in made.read()] == [7 * PAGE]


def test_who_faults_for_ever_does_not_hold_us_for_ever() -> None:
    records = Records()
    made = log(records)
    records.during = [1] * 100_000
    records.happen(PAGE)
    assert len(made.read()) < 1000
    records.during = []
    while made.read():
        pass
    records.happen(7 * PAGE)
    assert [one.addr for one in made.read()] == [7 * PAGE]


def test_a_record_in_words() -> None:
    found = fault(FRCD(FI=0x12345), FRCD_HI(F=1, T=1, FR=6, SID=0x108))
    assert (found.source, found.addr, found.write) == (0x108, 0x1234_5000, False)
    assert found.reason == "not granted for reading by the device [reason 0x6]"


def test_an_interrupt_is_not_taken_for_an_access() -> None:
    found = fault(FRCD(INDEX=0x8060), FRCD_HI(F=1, T=1, FR=0x22, SID=8))
    assert found.addr == 0xFEE0_0000 | 0x60 << 5 | 1 << 2
    assert found.write
    assert found.reason.startswith("interrupt message: ")


@pytest.mark.parametrize("code", [*REASONS, 0x7F])
def test_every_reason_has_its_number(code: int) -> None:
    assert fault(FRCD(), FRCD_HI(F=1, FR=code)).reason.endswith(f" [reason {code:#x}]")


def test_a_direction_is_memorys_and_an_entry_the_devices() -> None:
    assert int(SLPTE(W=1)) == BITS[Direction.READ]
    assert int(SLPTE(R=1)) == BITS[Direction.WRITE]
    assert BITS[Direction.BOTH] == 3
    assert BITS[Direction.NONE] == 0
