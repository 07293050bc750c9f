"""Where something may lie: free pages of bus addresses, or of memory, by binary buddies.

A block of 2**n pages starts at a multiple of its size, so alignment costs
nothing, and what fits a boundary never crosses it.  Taking and giving back
look at a few sorted lists, however much is taken.  What was given back last is
used last: an address that a device still has from an earlier use finds nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator

_ORDERS = 53  # pages of 4 KiB in 64 bits of addresses
_RESTING = 64
"""How many blocks of a size rest before the first of them is used again."""


def order_of(pages: int) -> int:
    """The smallest n so that a block of 2**n pages holds so many."""
    return (pages - 1).bit_length()


class Space:
    """Ranges [start, end) of pages, all free at first.  Numbers here are of pages, not bytes."""

    def __init__(self) -> None:
        self._free: list[list[int]] = [[] for _ in range(_ORDERS)]
        self._resting: list[deque[int]] = [deque() for _ in range(_ORDERS)]
        self._uneven = deque[tuple[int, int]]()  # (start, end) of those that are no blocks
        self.free = 0

    def add(self, start: int, end: int) -> None:
        """Make [start, end) available."""
        self.free += max(0, end - start)
        self._merge_range(start, end)

    def take(self, pages: int, align: int = 1, low: int = 0, high: int = 1 << 52) -> int | None:
        """The first of `pages` adjacent ones in [low, high), at a multiple of `align`.

        `align` is a power of two.  None if there are none.
        """
        order = max(order_of(pages), order_of(align))
        found = self._take_rested(pages, order, low, high)
        if found is None:
            found = self._find(pages, order, low, high)
        if found is None and (any(self._resting) or self._uneven):
            self._end_rest()
            found = self._find(pages, order, low, high)
        if found is not None:
            self.free -= pages
        return found

    def give(self, start: int, pages: int) -> None:
        """Give back what `take` gave."""
        self.free += pages
        order = order_of(pages)
        if pages == 1 << order and start % pages == 0:
            resting = self._resting[order]
            resting.append(start)
            if len(resting) > 2 * _RESTING:
                self._merge(resting.popleft(), order)
        else:
            self._uneven.append((start, start + pages))
            if len(self._uneven) > _RESTING:
                self._merge_range(*self._uneven.popleft())

    def _take_rested(self, pages: int, order: int, low: int, high: int) -> int | None:
        """A block of just this size that has rested long enough."""
        resting = self._resting[order]
        exact = pages == 1 << order and len(resting) > _RESTING
        if exact and low <= resting[0] and resting[0] + pages <= high:
            return resting.popleft()
        return None

    def _end_rest(self) -> None:
        for order, resting in enumerate(self._resting):
            while resting:
                self._merge(resting.popleft(), order)
        while self._uneven:
            self._merge_range(*self._uneven.popleft())

    def _find(self, pages: int, order: int, low: int, high: int) -> int | None:
        """Cut `pages` out of the smallest block that has them where they may be."""
        low = -(-low >> order) << order  # all starts are multiples of the block's size
        for size in range(order, _ORDERS):
            blocks = self._free[size]
            at = bisect_left(blocks, low)
            if at and size > order and blocks[at - 1] + (1 << size) > low:
                at -= 1  # this one begins below `low` and has pages above it
            if at < len(blocks):
                block = blocks[at]
                start = max(block, low)
                if start + pages <= high:
                    del blocks[at]
                    self._return(block, start)
                    self._return(start + pages, block + (1 << size))
                    return start
        return None

    def _return(self, start: int, end: int) -> None:
        """Put back the rest of a block that was cut: no part of it can have a free buddy."""
        for block, order in _blocks(start, end):
            insort(self._free[order], block)

    def _merge_range(self, start: int, end: int) -> None:
        for block, order in _blocks(start, end):
            self._merge(block, order)

    def _merge(self, block: int, order: int) -> None:
        """Put a block back, joined with its buddy as often as that is free."""
        while order < _ORDERS - 1:
            blocks, buddy = self._free[order], block ^ 1 << order
            at = bisect_left(blocks, buddy)
            if at == len(blocks) or blocks[at] != buddy:
                break
            del blocks[at]
            block, order = min(block, buddy), order + 1
        insort(self._free[order], block)


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) as (start, order) of as few aligned blocks as there can be."""
    while start < end:
        largest = (end - start).bit_length() - 1
        order = min(largest, (start & -start).bit_length() - 1) if start else largest
        yield start, order
        start += 1 << order
