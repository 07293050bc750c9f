"""Second-level tables: from bus addresses to pages, three or four levels of 512 entries.

    level 3: 1 GiB an entry   level 2: 2 MiB   level 1: 4 KiB

An entry above level 1 is a table or, where the unit can, a large page.  Tables
stay until the domain ends, so that a page that comes and goes costs one store.

What these functions return is what the unit may have cached and must forget:
(start, end) or None.  A table that went out of use is in `dropped` until then.

Source: Intel VT-d specification 3.7 (second-level translation), 9.8 (entries).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from rumpci.errors import NoDmaMemory
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import PageSource
from rumpci.machines.vtd.vtdreg import SLPTE

Range = tuple[int, int]
"""[start, end) of bus addresses."""
ACCESS = SLPTE.R.mask | SLPTE.W.mask
"""An entry with neither is not present."""
_LARGE, _ADDR = SLPTE.PS.mask, SLPTE.ADDR.mask
_ZEROS = memoryview(bytes(PAGE_SIZE)).cast("Q")


def shift_of(level: int) -> int:
    """An entry of a table at `level` spans 2 to this many bytes."""
    return 3 + 9 * level


class SecondLevel:
    """The tables of one domain, `levels` deep, in pages from `pages`.

    `large` are the levels above 1 whose entries may be pages.  Raises NoDmaMemory (ENOMEM).
    """

    def __init__(
        self, words: memoryview, pages: PageSource, levels: int, large: frozenset[int]
    ) -> None:
        self._words, self._pages, self._levels, self._large = words, pages, levels, large
        self.root = pages.take()
        self.dropped: list[int] = []
        self._taken = {self.root}
        self._leaves: dict[int, int] = {}  # address >> 21 -> where its level 1 table is, in words

    def grant(self, addr: int, page: int, size: int, bits: int) -> Range | None:
        """Let [addr, addr + size) be memory from `page` on; `bits` are SLPTE.R and SLPTE.W.

        Raises NoDmaMemory (ENOMEM); then nothing more is granted in the range: what was is
        as before, or gone unless it is one page.  The unit must forget the whole domain.
        """
        if size == PAGE_SIZE and (table := self._leaves.get(addr >> 21)) is not None:
            at = table + (addr >> 12 & 511)
            old, self._words[at] = self._words[at], page | bits
            return (addr, addr + size) if old else None
        end = addr + size
        stale = self._split_ends(addr, end)  # if that fails, all is granted that was
        try:
            if self._fill(self._levels, self.root, addr, end, page | bits):
                stale.append((addr, end))
        except NoDmaMemory:
            self.clear(addr, size)
            raise
        return _hull(stale)

    def clear(self, addr: int, size: int) -> Range | None:
        """Let nothing through in [addr, addr + size).

        Where there is no page for the table that a large page would have to be split
        into, all of the large page goes: rather too little is let through than too much.
        """
        if size == PAGE_SIZE and (table := self._leaves.get(addr >> 21)) is not None:
            at = table + (addr >> 12 & 511)
            old, self._words[at] = self._words[at], 0
            return (addr, addr + size) if old else None
        end = addr + size
        stale = self._split_ends(addr, end, or_clear=True)
        if self._empty(self._levels, self.root, addr, end):
            stale.append((addr, end))
        return _hull(stale)

    def give_dropped(self) -> None:
        """Give the tables back that went out of use: the unit has forgotten them."""
        while self.dropped:
            self._pages.give(self.dropped.pop())

    def free(self) -> None:
        """Give every table back: the unit has forgotten the domain."""
        self.give_dropped()
        while self._taken:
            self._pages.give(self._taken.pop())
        self._leaves.clear()

    def _fill(self, level: int, table: int, addr: int, end: int, entry: int) -> bool:
        """Fill the part [addr, end) of a table; whether something present was replaced."""
        if level == 1:
            return self._fill_leaf(table, addr, end, entry)
        span = 1 << shift_of(level)
        stale = False
        while addr < end:
            stop = min(end, (addr | span - 1) + 1)
            at = (table >> 3) + (addr >> shift_of(level) & 511)
            if stop - addr == span and level in self._large and not entry & _ADDR & span - 1:
                stale |= self._put_large(level, at, addr, entry | _LARGE)
            else:
                below = self._table_at(level, at, addr)
                stale |= self._fill(level - 1, below, addr, stop, entry)
            entry += stop - addr
            addr = stop
        return stale

    def _fill_leaf(self, table: int, addr: int, end: int, entry: int) -> bool:
        first, count = (table >> 3) + (addr >> 12 & 511), end - addr >> 12
        stale = any(self._words[first : first + count])
        entries = array("Q", range(entry, entry + (count << 12), PAGE_SIZE))
        self._words[first : first + count] = memoryview(entries)
        return stale

    def _put_large(self, level: int, at: int, addr: int, entry: int) -> bool:
        old, self._words[at] = self._words[at], entry
        if old and not old & _LARGE:
            self._drop(level - 1, old & _ADDR, addr)
        return bool(old)

    def _table_at(self, level: int, at: int, addr: int) -> int:
        """The table that the entry leads to, a new one if it leads nowhere."""
        entry = self._words[at]
        if not entry:
            table = self._take(level - 1, addr)
            self._words[at] = table | ACCESS
            return table
        if entry & _LARGE:  # a large page that goes as a whole, and cannot come back as one
            self._split(level, at, addr)
            entry = self._words[at]
        return entry & _ADDR

    def _take(self, level: int, addr: int) -> int:
        table = self._pages.take()
        self._taken.add(table)
        if level == 1:
            self._leaves[addr >> 21] = table >> 3
        return table

    def _drop(self, level: int, table: int, addr: int) -> None:
        """Put a table, and those below it, out of use: no entry leads there any more."""
        if level == 1:
            self._leaves.pop(addr >> 21, None)
        else:
            for index, entry in enumerate(self._words[table >> 3 : (table >> 3) + 512]):
                if entry and not entry & _LARGE:
                    self._drop(level - 1, entry & _ADDR, addr + (index << shift_of(level)))
        self._taken.discard(table)
        self.dropped.append(table)

    def _empty(self, level: int, table: int, addr: int, end: int) -> bool:
        """Clear the part [addr, end) of a table; whether something was present."""
        span = 1 << shift_of(level)
        if level == 1:
            first, count = (table >> 3) + (addr >> 12 & 511), end - addr >> 12
            stale = any(self._words[first : first + count])
            self._words[first : first + count] = _ZEROS[:count]
            return stale
        stale = False
        while addr < end:
            stop = min(end, (addr | span - 1) + 1)
            at = (table >> 3) + (addr >> shift_of(level) & 511)
            entry = self._words[at]
            if entry & _LARGE:
                self._words[at] = 0
                stale = True
            elif entry:
                stale |= self._empty(level - 1, entry & _ADDR, addr, stop)
            addr = stop
        return stale

    def _split_ends(self, addr: int, end: int, *, or_clear: bool = False) -> list[Range]:
        """Split the large pages of which only a part is in the range; where they were."""
        return [
            stale for edge in (addr, end) if (stale := self._split_edge(edge, or_clear)) is not None
        ]

    def _split_edge(self, addr: int, or_clear: bool) -> Range | None:
        """Split until an entry begins at `addr`."""
        table, stale = self.root, None
        for level in range(self._levels, 1, -1):
            shift = shift_of(level)
            if addr >> shift_of(self._levels) > 511:
                break
            at = (table >> 3) + (addr >> shift & 511)
            start = addr >> shift << shift
            if self._words[at] & _LARGE and start != addr:
                stale = stale or (start, start + (1 << shift))
                try:
                    self._split(level, at, addr)
                except NoDmaMemory:
                    if not or_clear:
                        raise
                    self._words[at] = 0
            if not self._words[at] or self._words[at] & _LARGE:
                break
            table = self._words[at] & _ADDR
        return stale

    def _split(self, level: int, at: int, addr: int) -> None:
        """Replace a large page by a table of the next smaller pages that says the same."""
        entry, step = self._words[at], 1 << shift_of(level - 1)
        table = self._take(level - 1, addr)
        if level == 2:
            entry &= ~_LARGE
        entries = array("Q", range(entry, entry + (step << 9), step))
        self._words[table >> 3 : (table >> 3) + 512] = memoryview(entries)
        self._words[at] = table | ACCESS


def leaves(
    words: memoryview, table: int, level: int, base: int = 0, start: int = 0
) -> Iterator[tuple[int, int, int]]:
    """(address, size, entry) of every page that a table leads to, read as the unit reads it.

    What ends at `start` or below is left out, without a look at it.
    """
    shift = shift_of(level)
    first = min(max(0, start - base) >> shift, 512)
    there = words[(table >> 3) + first : (table >> 3) + 512].tolist()
    for index, entry in enumerate(there, first):
        if not entry & ACCESS:
            continue
        addr = base + (index << shift)
        if level == 1 or entry & _LARGE:
            yield addr, 1 << shift, entry
        else:
            yield from leaves(words, entry & _ADDR, level - 1, addr, start)


def _hull(ranges: list[Range]) -> Range | None:
    if not ranges:
        return None
    return min(start for start, _ in ranges), max(end for _, end in ranges)
