"""Which accesses a window admits: the same checks, with the same words, at both ends.

The guard makes them because no client is believed; a client in another process
makes them too, so that an ordinary mistake raises where it was made.
"""

from __future__ import annotations

from rumpci.errors import (
    BadAccess,
    BadRange,
    DeadWindow,
    NoSuchBar,
    OutOfWindow,
    ProtectedRange,
    ReadOnlyWindow,
    ValueTooWide,
)
from rumpci.host import Bar, Function, Space

_WIDTHS = {Space.MEM: (1, 2, 4, 8), Space.IO: (1, 2, 4)}
_MOST = 1 << 28  # accesses of one call: what they return is memory of the guard's
Range = tuple[int, int]


class CheckedWindow:
    """A window's place and its checks; what it reaches is its subclass's.

    `place` is (offset, size) in the BAR; `closed` are ranges of the BAR that no client
    may touch.
    """

    def __init__(
        self, bar: Bar, place: Range, *, label: str, writable: bool, closed: list[Range]
    ) -> None:
        self.label, self.bar, self.space = label, bar.index, bar.space
        self.offset, self.size = place
        self.writable = writable
        self._widths = _WIDTHS[bar.space]
        self._closed = [r for r in closed if r[0] < self.offset + self.size and r[1] > self.offset]
        self._death: str | None = None

    @property
    def closed(self) -> Range:
        """What of the BAR no client may touch, of what is in the window; (0, 0): nothing."""
        return self._closed[0] if self._closed else (0, 0)

    def kill(self, why: str) -> None:
        """Make every later access raise DeadWindow, for the reason `why`."""
        self._death = self._death or why

    def _tried(self, verb: str, position: int) -> str:
        return f"{verb} at {self.offset + position:#x} of {self.label}"

    def _check_alive(self, verb: str, position: int) -> None:
        if self._death:
            raise DeadWindow(
                self._tried(verb, position), self._death, "map the window again after attach"
            )

    def _admit(self, verb: str, position: int, width: int, span: int) -> None:
        if self._death:
            self._check_alive(verb, position)
        if width not in self._widths or (self.offset + position) % width:
            raise BadAccess(
                self._tried(verb, position),
                f"{width} bytes there are misaligned or no width of {self.space.value} space",
                f"use aligned accesses of {', '.join(map(str, self._widths))} bytes",
            )
        if not 0 <= position <= self.size - span:
            raise OutOfWindow(
                self._tried(verb, position),
                f"{span} bytes end outside [{self.offset:#x}, {self.offset + self.size:#x})",
                "check the offset, or map more of the BAR",
            )
        if self._closed:
            self._admit_open(verb, position, span)

    def _admit_open(self, verb: str, position: int, span: int) -> None:
        start = self.offset + position
        if any(start < high and start + span > low for low, high in self._closed):
            raise ProtectedRange(
                self._tried(verb, position),
                "the MSI-X table and its page belong to the guard",
                "use pci_msix_alloc to get vectors",
            )

    def _admit_many(self, verb: str, position: int, width: int, count: int, step: int) -> None:
        if step not in (0, width) or not 0 <= count <= _MOST:
            raise BadAccess(
                self._tried(verb, position), f"{count} accesses {step} bytes apart",
                f"pass a step of 0 or the width, and a count of 0 to {_MOST:#x}",
            )  # fmt: skip
        self._admit(verb, position, width, (max(count, 1) - 1) * step + width)

    def _admit_write(self, position: int, width: int, value: int) -> None:
        self._admit("write", position, width, width)
        self._admit_writable(position)
        if not 0 <= value < 1 << 8 * width:
            raise ValueTooWide(
                self._tried("write", position), f"value {value:#x}", f"pass {width} bytes"
            )

    def _admit_write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        self._admit_many("write", position, width, len(data) // (width or 1), step)
        self._admit_writable(position)
        if len(data) % width:
            raise BadAccess(
                self._tried("write", position), "a partial element", "pass whole elements"
            )

    def _admit_writable(self, position: int) -> None:
        if not self.writable:
            raise ReadOnlyWindow(
                self._tried("write", position),
                "the window was mapped read-only",
                "map it without BUS_SPACE_MAP_READONLY",
            )


def find_bar(function: Function, index: int) -> Bar:
    """Base address register `index`.  Raises NoSuchBar (ENXIO)."""
    bar = function.bar(index)
    if bar is None:
        have = ", ".join(f"BAR{bar.index}" for bar in function.bars) or "none"
        raise NoSuchBar(
            f"mapping BAR{index} of {function.address}",
            "it is not implemented",
            f"the function has: {have}",
        )
    return bar


def check_inside(function: Function, bar: Bar, offset: int, size: int) -> str:
    """What is tried, for messages.  Raises BadRange (EINVAL) for what is not inside the BAR."""
    tried = f"mapping [{offset:#x}, {offset + size:#x}) of {function.address} BAR{bar.index}"
    if offset < 0 or size <= 0 or offset + size > bar.size:
        raise BadRange(tried, f"the BAR has {bar.size:#x} bytes", "map inside it")
    return tried
