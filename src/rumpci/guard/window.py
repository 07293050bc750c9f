"""Windows and ports (rules 3 and 4): each access is checked again, here.

A window names a BAR, an offset and a size, never an address.  The pages of
the MSI-X table are closed: a window may span them, no access reaches them.
"""

from __future__ import annotations

from collections.abc import Callable

from rumpci._native import Mapping
from rumpci.errors import (
    BadAccess,
    DeadWindow,
    OutOfWindow,
    ProtectedRange,
    ReadOnlyWindow,
    ValueTooWide,
)
from rumpci.host import Bar, Space
from rumpci.machines.machine import BarAccess

_WIDTHS = {Space.MEM: (1, 2, 4, 8), Space.IO: (1, 2, 4)}
_MOST = 1 << 28  # accesses of one call: what they return is memory of the guard's
Range = tuple[int, int]


class GuardWindow:
    """A window of a claimed function: the seam's Window over a machine's BarAccess.

    `closed` are ranges of the BAR that no client may touch.  `present` tells
    whether the function answers; `on_unmap` takes the window off its claim.
    """

    def __init__(
        self,
        access: BarAccess,
        bar: Bar,
        place: Range,
        *,
        label: str,
        writable: bool,
        closed: list[Range],
        present: Callable[[Space], bool],
        on_unmap: Callable[[GuardWindow], None],
    ) -> None:
        self.label, self.bar, self.space = label, bar.index, bar.space
        self.offset, self.size = place
        self.writable = writable
        self.mapping: Mapping | None = None
        self._access = access
        self._widths = _WIDTHS[bar.space]
        self._closed = [r for r in closed if r[0] < self.offset + self.size and r[1] > self.offset]
        self._present, self._on_unmap = present, on_unmap
        self._death: str | None = None

    def read(self, position: int, width: int) -> int:
        """See host.Window."""
        self._admit("read", position, width, width)
        return self._access.read(self.offset + position, width)

    def write(self, position: int, width: int, value: int) -> None:
        """See host.Window."""
        self._admit("write", position, width, width)
        self._admit_write(position)
        if not 0 <= value < 1 << 8 * width:
            raise ValueTooWide(
                self._tried("write", position), f"value {value:#x}", f"pass {width} bytes"
            )
        self._access.write(self.offset + position, width, value)

    def read_many(self, position: int, width: int, count: int, step: int) -> bytes:
        """See host.Window."""
        self._admit_many("read", position, width, count, step)
        return self._access.read_many(self.offset + position, width, count, step)

    def write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        """See host.Window."""
        self._admit_many("write", position, width, len(data) // (width or 1), step)
        self._admit_write(position)
        if len(data) % width:
            raise BadAccess(
                self._tried("write", position), "a partial element", "pass whole elements"
            )
        self._access.write_many(self.offset + position, width, step, data)

    def barrier(self) -> None:
        """See host.Window."""
        self._check_alive("barrier", 0)
        self._access.barrier()

    def present(self) -> bool:
        """See host.Window."""
        self._check_alive("present", 0)
        return self._present(self.space)

    def unmap(self) -> None:
        """See host.Window."""
        self._check_alive("unmap", 0)
        self.kill("it was unmapped")
        self._on_unmap(self)

    def kill(self, why: str) -> None:
        """Make every later access raise DeadWindow, for the reason `why`."""
        self._death = self._death or why

    # ---- the checks --------------------------------------------------------

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

    def _admit_write(self, position: int) -> None:
        if not self.writable:
            raise ReadOnlyWindow(
                self._tried("write", position),
                "the window was mapped read-only",
                "map it without BUS_SPACE_MAP_READONLY",
            )
