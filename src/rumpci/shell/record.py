"""What was typed, and the accesses that it made: `save` makes a driver of it."""

from __future__ import annotations

from dataclasses import dataclass, field

KEPT = 16
"""Accesses of one line that are kept, the first; more are counted."""


@dataclass(frozen=True)
class Access:
    """One access of `width` bytes to `bar` (None: configuration space); `note` explains it."""

    bar: int | None
    write: bool
    width: int
    offset: int
    value: int
    note: str = ""


@dataclass
class Typed:
    """One input, its accesses, how many more there were, and whether it took DMA memory."""

    text: str
    accesses: list[Access] = field(default_factory=list)
    more: int = 0
    took_memory: bool = False
    matters: bool = False


class Record:
    """The inputs that did something to the device, in order."""

    def __init__(self) -> None:
        self._inputs = [Typed("")]

    def typed(self, text: str) -> None:
        """From here on, accesses are those of this input."""
        if not self._inputs[-1].matters:
            self._inputs.pop()
        self._inputs.append(Typed(text))

    def access(self, access: Access) -> None:
        """Note an access that was made."""
        now = self._inputs[-1]
        now.matters = True
        if len(now.accesses) < KEPT:
            now.accesses.append(access)
        else:
            now.more += 1

    def matters(self, *, took_memory: bool = False) -> None:
        """Keep the input although it makes no access: it took an interrupt, or DMA memory."""
        self._inputs[-1].matters = True
        self._inputs[-1].took_memory |= took_memory

    @property
    def inputs(self) -> list[Typed]:
        """What did something to the device."""
        return [each for each in self._inputs if each.matters]
