"""The flight recorder: the last operations of a guard, always on.

Nothing is formatted when it is recorded: an entry is a few numbers in memory that was
taken at the start.  What is mapped into a process is reached without the guard, and is
not recorded.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from rumpci.guard._recorder import Ring
from rumpci.host import Address
from rumpci.host_dma import Fault

if TYPE_CHECKING:
    from rumpci.guard.quarantine import Outcome

SIZE = 4096
"""Operations that are kept."""
_KEPT = 32


class Kind(enum.IntEnum):
    """What an entry is about; `unit` is the BAR, or an interrupt's index."""

    READ = 0
    WRITE = 1
    READ_MANY = 2
    WRITE_MANY = 3
    CONF_WRITE = 4
    GUARD_WRITE = 5
    INTERRUPT = 6
    LOAD = 7
    UNLOAD = 8
    FAULT = 9


class Note(NamedTuple):
    """An operation: `where` and `size` in bytes; `when` is monotonic, in nanoseconds.

    Of many accesses `value` is the step between them; of a load, its direction; of a fault,
    1 for a write.
    """

    when: int
    kind: Kind
    device: Address
    unit: int
    where: int
    size: int
    value: int


class Quarantined(NamedTuple):
    """That a function was quarantined, until `when` (monotonic nanoseconds)."""

    when: int
    device: Address
    who: str
    outcome: Outcome


class Recorder:
    """A guard's recorder; `note` is for the guard, the rest for reports."""

    def __init__(self, size: int = SIZE) -> None:
        self._ring = Ring(size)
        self.note = self._ring.note
        self.faults: deque[Fault] = deque(maxlen=_KEPT)
        self.quarantines: deque[Quarantined] = deque(maxlen=_KEPT)

    @property
    def total(self) -> int:
        """How many operations there were."""
        return self._ring.total

    def last(self, count: int) -> list[Note]:
        """The last `count` operations, the oldest first."""
        return [
            Note(when, Kind(kind), _address(source), unit, where, size, value)
            for when, kind, source, unit, where, size, value in self._ring.last(
                min(count, self._ring.size)
            )
        ]

    def fault(self, fault: Fault) -> None:
        """Record a fault."""
        self.note(Kind.FAULT, source_of(fault.device), 0, fault.addr, 0, fault.verb == "write")
        self.faults.append(fault)

    def quarantined(self, device: Address, who: str, outcome: Outcome) -> None:
        """Record what a quarantine did."""
        self.quarantines.append(Quarantined(time.monotonic_ns(), device, who, outcome))

    def quarantined_since(self, when: int, devices: Container[Address]) -> list[Quarantined]:
        """What was done to these after `when` (monotonic nanoseconds), as far back as is kept."""
        return [one for one in self.quarantines if one.when > when and one.device in devices]


def source_of(device: Address) -> int:
    """A function as the number that entries have."""
    segment, bus, slot, function = device
    return segment << 16 | bus << 8 | slot << 3 | function


def _address(source: int) -> Address:
    return Address(source >> 16, source >> 8 & 0xFF, source >> 3 & 0x1F, source & 7)
