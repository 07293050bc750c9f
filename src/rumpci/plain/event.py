"""The seam's record of an interrupt, without native code; see _event.pyx."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Event:
    """One record of an interrupt: `_event.pyx` says what its fields are."""

    sequence: int
    vector: int
    count: int
    status: tuple[int, ...] = ()
