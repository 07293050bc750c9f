"""The report that a driver leaves when it dies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from rumpci.errors import MachineDied
from rumpci.guard.recorder import SIZE, Note, Quarantined
from rumpci.guard.served import Served
from rumpci.host import Address, InterruptInfo
from rumpci.host_dma import DmaInfo, Fault
from rumpci.supervisor import flight

OPERATIONS = 64
"""How many of the last operations a report shows."""
_ROWS = 16
_WAYS = {"read": "the device writes it", "write": "the device reads it"}


@dataclass(frozen=True)
class Snapshot:
    """What the guard knew at the moment of a failure, before anything was taken back."""

    when: int
    total: int
    notes: Sequence[Note]
    interrupts: Sequence[InterruptInfo]
    dma: Sequence[DmaInfo]
    faults: Sequence[Fault]


def snapshot(guard: Served, devices: Container[Address]) -> Snapshot:
    """What is under way now with these devices; `total` is of all."""
    recorder = guard.recorder
    when, total = time.monotonic_ns(), recorder.total
    notes = [note for note in recorder.last(SIZE) if note.device in devices]
    with contextlib.suppress(MachineDied):
        guard.mirror.collect()
    return Snapshot(
        when, total, notes[-OPERATIONS:],
        [row for row in guard.interrupts() if row.who and row.address in devices],
        [row for row in guard.dma() if row.direction and row.device in devices],
        [fault for fault in recorder.faults if fault.device in devices],
    )  # fmt: skip


@dataclass
class Report:
    """Why, where (the innermost place first), and what was under way."""

    who: str
    why: str
    places: Sequence[str] = ()
    state: Snapshot | None = None
    quarantines: Sequence[Quarantined] = field(default_factory=list)

    def lines(self, names: flight.Names) -> list[str]:
        """The report, for a terminal."""
        found = [f"---- report: {self.who}", f"why: {self.why}"]
        found += [f"    {place}" for place in self.places]
        if self.state is not None:
            found += _state(self.state, names)
        found += [
            f"quarantine of {done.who} at {done.device}: {done.outcome}"
            for done in self.quarantines
        ]
        return [*found, "----"]


def _state(state: Snapshot, names: flight.Names) -> list[str]:
    found = [f"the last {len(state.notes)} of {state.total} operations:"]
    found += flight.lines(state.notes, names, state.when)
    found += _part("interrupts", [_interrupt(row) for row in state.interrupts])
    found += _part("DMA in flight", [_dma(row) for row in state.dma])
    return found + _part("faults", [str(fault) for fault in state.faults])


def _part(title: str, rows: Sequence[str]) -> list[str]:
    if not rows:
        return [f"{title}: none"]
    more = [f"    and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
    return [f"{title}:", *(f"    {row}" for row in rows[:_ROWS]), *more]


def _interrupt(row: InterruptInfo) -> str:
    return f"{row.who}: {row.name}, {row.state}, {row.count} so far"


def _dma(row: DmaInfo) -> str:
    ranges = ", ".join(f"{at:#x}-{at + size - 1:#x}" for at, size in row.segments[:4])
    more = f" and {len(row.segments) - 4} segments more" if len(row.segments) > 4 else ""
    way = _WAYS.get(row.direction, "the device reads and writes it")
    return f"{row.who}: {row.kind} {row.name!r}, {row.size} bytes at {ranges}{more}: {way}"
