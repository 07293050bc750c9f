"""What the kernel has mapped for one function, kept beside it: it does not tell.

The kernel takes a map back whole or not at all, so where one load of several is taken
back the map may have to stay, until none of its pages is needed: what is left over
lingers, and `rumpci dma --check` says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rumpci.host_dma import Direction
from rumpci.hosts.vfio.container import Container

KEPT = 1024
"""Maps that a lazy one keeps: more may wait, but a container takes 65,535."""
Range = tuple[int, int]


class _Map(NamedTuple):
    """[start, end) of bus addresses at memory from `page` on; `needed` of them are granted."""

    start: int
    end: int
    page: int
    direction: Direction
    needed: list[Range]


class KernelMaps:
    """The maps of one function in a container; `vaddr` says where a page is in this process.

    If it is `lazy`, up to KEPT maps stay that nothing needs, until `flush`: what is loaded
    again and again is mapped once.
    """

    def __init__(
        self, container: Container, vaddr: Callable[[int], int], *, lazy: bool = False
    ) -> None:
        self._container, self._vaddr, self._lazy = container, vaddr, lazy
        self._kept: dict[int, _Map] = {}
        self._maps: dict[int, _Map] = {}
        self._starts: list[int] = []

    def grant(self, addr: int, page: int, size: int, direction: Direction) -> None:
        """See machine.Domain.grant."""
        if self._is_free(addr, addr + size):
            self._add(addr, page, size, direction)
            return
        for low, high in self._gaps(addr, addr + size, page - addr, direction):
            self._add(low, page + low - addr, high - low, direction)
        for found in self._over(addr, addr + size):
            low, high = max(addr, found.start), min(addr + size, found.end)
            found.needed[:] = _plus(found.needed, low, high)

    def _gaps(self, start: int, end: int, shift: int, direction: Direction) -> list[Range]:
        """What of [start, end) is not mapped as it should be; what is otherwise is unmapped.

        There is a moment in which nothing of such a map is reached: it was for another
        direction, and the kernel changes none.
        """
        gaps = [(start, end)]
        for found in list(self._over(start, end)):
            if found.page - found.start == shift and found.direction is direction:
                gaps = _minus(gaps, found.start, found.end)
                continue
            self._drop(found)
            for low, high in _minus(found.needed, start, end):
                self._add(low, found.page + low - found.start, high - low, found.direction)
        return gaps

    def revoke(self, start: int, end: int) -> None:
        """See machine.Domain.revoke."""
        exact = self._maps.get(start)
        if exact is not None and exact.end == end:  # as nearly always
            self._idle(exact)
            return
        for found in list(self._over(start, end)):
            found.needed[:] = _minus(found.needed, start, end)
            if not found.needed:
                self._idle(found)

    def flush(self) -> None:
        """Take back what is kept though nothing needs it."""
        kept, self._kept = self._kept, {}
        for found in kept.values():
            if not found.needed:
                self._drop(found)

    def _idle(self, found: _Map) -> None:
        """Nothing of a map is needed: take it back, or keep it for the next load."""
        found.needed.clear()
        if not self._lazy:
            self._drop(found)
            return
        self._kept[found.start] = found
        if len(self._kept) > KEPT:
            self.flush()

    def clear(self) -> None:
        """Take everything back."""
        for found in list(self._maps.values()):
            self._drop(found)

    def __iter__(self) -> Iterator[tuple[int, int, int, Direction]]:
        """(bus address, bytes, page, direction) of everything that the function reaches."""
        for start in self._starts:
            found = self._maps[start]
            yield start, found.end - start, found.page, found.direction

    def _is_free(self, start: int, end: int) -> bool:
        at = bisect_right(self._starts, start)
        before = at == 0 or self._maps[self._starts[at - 1]].end <= start
        return before and (at == len(self._starts) or self._starts[at] >= end)

    def _over(self, start: int, end: int) -> Iterator[_Map]:
        """The maps that have some of [start, end)."""
        at = max(0, bisect_right(self._starts, start) - 1)
        while at < len(self._starts) and self._starts[at] < end:
            found = self._maps[self._starts[at]]
            if found.end > start:
                yield found
            at += 1

    def _add(self, addr: int, page: int, size: int, direction: Direction) -> None:
        self._container.map(addr, self._vaddr(page), size, direction)
        self._maps[addr] = _Map(addr, addr + size, page, direction, [(addr, addr + size)])
        self._starts.insert(bisect_right(self._starts, addr), addr)

    def _drop(self, found: _Map) -> None:
        self._container.unmap(found.start, found.end - found.start)
        del self._maps[found.start]
        self._kept.pop(found.start, None)
        del self._starts[bisect_right(self._starts, found.start) - 1]


def _minus(ranges: list[Range], start: int, end: int) -> list[Range]:
    """The ranges without [start, end)."""
    found = list[Range]()
    for low, high in ranges:
        parts = [(low, min(high, start)), (max(low, end), high)]
        found += [part for part in parts if part[0] < part[1]]
    return found


def _plus(ranges: list[Range], start: int, end: int) -> list[Range]:
    """The ranges with [start, end), as few as they are."""
    found = list[Range]()
    for low, high in sorted([*ranges, (start, end)]):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found
