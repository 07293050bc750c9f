"""The machine's memory that clients and the IOMMU's tables take pages from.

Numbers are physical addresses and bytes, whole pages; they stay in the guard.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.space import Space
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import Bank, Extent, Memory, Wired

Run = tuple[int, int]
"""(physical address, bytes) of adjacent pages."""
_ZEROS = bytes(256 * PAGE_SIZE)
_START = attrgetter("start")
_SHARE = 3 / 4
_TABLES = 16  # of the memory, the part that one client's tables may take
_TABLES_MIN = 16  # pages


class Pool:
    """Pages of a machine's memory; a `machine.PageSource` too.

    A run that is taken for an `owner` is its alone, taken or given back, until `settle`:
    without an IOMMU, a function may write what it had until it is shown quiet (rule 9).
    The file `fd` has `length` bytes, which are where `extents` say; `usable` of them are in
    the pool.  `share` is the most of it that one client may have.
    """

    def __init__(
        self, fd: int, length: int, extents: Sequence[Extent], usable: Sequence[tuple[int, int]]
    ) -> None:
        self.fd, self._extents = fd, sorted(extents)
        self._end = max((start + size for start, _, size in extents), default=0)
        self._space = Space()
        self._owned: dict[Address, list[Run]] = {}
        self._owned_size: Counter[Address] = Counter()
        self._limbo: dict[Address, Space] = {}
        for start, end in usable:
            self._space.add(start // PAGE_SIZE, end // PAGE_SIZE)
        self.size = self._space.free * PAGE_SIZE
        self.share = int(self.size * _SHARE)
        self._map = mmap.mmap(fd, length)
        self._bytes = memoryview(self._map)

    @classmethod
    def of_memory(cls, memory: Memory) -> Pool:
        """The machine's own memory, for many clients."""
        whole = [Extent(0, 0, memory.size)]
        extents = memory.extents if isinstance(memory, Wired) else whole
        return cls(memory.fd, memory.size, extents, memory.usable)

    @classmethod
    def of_bank(cls, bank: Bank) -> Pool:
        """A bank, for one client, which may have all of it."""
        extents = bank.extents or [Extent(bank.start, 0, bank.size)]
        usable = [(start, start + size) for start, _, size in extents]
        pool = cls(bank.fd, bank.size, extents, usable)
        pool.share = pool.size
        return pool

    @property
    def free(self) -> int:
        """Bytes that anybody may have."""
        return self._space.free * PAGE_SIZE

    def take_run(
        self, size: int, align: int, low: int, high: int, owner: Address | None = None
    ) -> Run | None:
        """Adjacent zeroed pages in [low, high], aligned to `align`; None if there are none."""
        where = size // PAGE_SIZE, max(1, align // PAGE_SIZE), -(-low // PAGE_SIZE)
        start = self._take(where, (high + 1) // PAGE_SIZE, owner)
        if start is None:
            return None
        run = start * PAGE_SIZE, size
        try:
            self._zero(*run)
        except BaseException:
            self.put([run], owner)
            raise
        return run

    def _take(self, where: tuple[int, int, int], end: int, owner: Address | None) -> int | None:
        """Pages for everybody's use, or an owner's: of its own first."""
        if owner is None:
            return self._space.take(*where, end)
        start = self._limbo.setdefault(owner, Space()).take(*where, end)
        size = where[0] * PAGE_SIZE
        if start is None and size + self._owned_size[owner] <= self.share:
            start = self._space.take(*where, end)
            if start is not None:
                self._owned.setdefault(owner, []).append((start * PAGE_SIZE, size))
                self._owned_size[owner] += size
        return start

    def gather(self, size: int) -> list[Run]:
        """Zeroed pages in as few runs as there are.  Raises NoDmaMemory (ENOMEM)."""
        if size > self.free:
            raise self._exhausted(size)
        runs = list[Run]()
        try:
            self._gather(size, runs)
        except BaseException:
            self.put(runs)
            raise
        return runs

    def _gather(self, left: int, runs: list[Run]) -> None:
        step = left
        while left:
            run = self.take_run(min(step, left), PAGE_SIZE, 0, self._end)
            if run is None:  # no run that long; there are enough pages, so this ends
                step = max(PAGE_SIZE, step // 2 // PAGE_SIZE * PAGE_SIZE)
                continue
            runs.append(run)
            left -= run[1]

    def put(self, runs: Sequence[Run], owner: Address | None = None) -> None:
        """Give runs back: to everybody, or to the owner that they were taken for."""
        space = self._space if owner is None else self._limbo[owner]
        for start, size in runs:
            space.give(start // PAGE_SIZE, size // PAGE_SIZE)

    def settle(self, owner: Address) -> None:
        """A function that has given back all runs is quiet: they are everybody's again."""
        self._limbo.pop(owner, None)
        del self._owned_size[owner]
        self.put(self._owned.pop(owner, []))

    def in_file(self, runs: Sequence[Run]) -> list[tuple[int, int]]:
        """Runs as (offset, bytes) of the file `fd`."""
        return [part for start, size in runs for part in self._places(start, size)]

    def _places(self, start: int, size: int) -> Iterator[tuple[int, int]]:
        """Where in the file a run is: pages that are adjacent may be far apart there."""
        at = bisect_right(self._extents, start, key=_START) - 1
        while size:
            low, offset, length = self._extents[at]
            part = min(size, low + length - start)
            yield offset + start - low, part
            start, size, at = start + part, size - part, at + 1

    def clear(self) -> None:
        """Make zeros of all of it, by giving its pages back to the system."""
        self._map.madvise(mmap.MADV_REMOVE)

    def take(self) -> int:
        """See machine.PageSource."""
        return self.gather(PAGE_SIZE)[0][0]

    def give(self, page: int) -> None:
        """See machine.PageSource."""
        self.put([(page, PAGE_SIZE)])

    def _zero(self, start: int, size: int) -> None:
        for place, length in self._places(start, size):
            for at in range(place, place + length, len(_ZEROS)):
                part = min(len(_ZEROS), place + length - at)
                self._bytes[at : at + part] = _ZEROS[:part]

    def _exhausted(self, size: int) -> NoDmaMemory:
        return NoDmaMemory(
            f"taking {size} bytes of the machine's memory",
            f"{self.free} of {self.size} are free",
            "free some, or open the host with a larger memory=",
        )

    def close(self) -> None:
        """Let the memory go."""
        self._bytes.release()
        self._map.close()


class Tables:
    """The pages of one client's tables, a `machine.PageSource`: a part of the pool and no more.

    Tables stay until the client ends, so a page here and a page there would take everything.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool, self._taken = pool, 0
        self._most = max(_TABLES_MIN, pool.size // PAGE_SIZE // _TABLES)

    def take(self) -> int:
        """See machine.PageSource."""
        if self._taken >= self._most:
            raise NoDmaMemory(
                "taking a page for the IOMMU's tables",
                f"the function's tables have all {self._most} that they may",
                "use bus addresses that are closer together",
            )
        page = self._pool.take()
        self._taken += 1
        return page

    def give(self, page: int) -> None:
        """See machine.PageSource."""
        self._taken -= 1
        self._pool.give(page)
