"""The machine's memory that clients and the IOMMU's tables take pages from.

Numbers are physical addresses and bytes, whole pages; they stay in the guard.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Sequence

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.space import Space
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import Memory

Run = tuple[int, int]
"""(physical address, bytes) of adjacent pages."""
_ZEROS = bytes(256 * PAGE_SIZE)
_SHARE = 3 / 4
_TABLES = 16  # of the memory, the part that one client's tables may take
_TABLES_MIN = 16  # pages


class Pool:
    """Pages of a machine's memory; a `machine.PageSource` too.

    A run that is taken for an `owner` is its alone, taken or given back, until `settle`:
    without an IOMMU, a function may write what it had until it is shown quiet (rule 9).
    `share` is the most that one client may have.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._space = Space()
        self._owned: dict[Address, list[Run]] = {}
        self._owned_size: Counter[Address] = Counter()
        self._limbo: dict[Address, Space] = {}
        for start, end in memory.usable:
            self._space.add(start // PAGE_SIZE, end // PAGE_SIZE)
        self.size = self._space.free * PAGE_SIZE
        self.share = int(self.size * _SHARE)
        self._map = mmap.mmap(memory.fd, memory.size)
        self._bytes = memoryview(self._map)

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
            run = self.take_run(min(step, left), PAGE_SIZE, 0, self.memory.size)
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

    def take(self) -> int:
        """See machine.PageSource."""
        return self.gather(PAGE_SIZE)[0][0]

    def give(self, page: int) -> None:
        """See machine.PageSource."""
        self.put([(page, PAGE_SIZE)])

    def _zero(self, start: int, size: int) -> None:
        for at in range(start, start + size, len(_ZEROS)):
            length = min(len(_ZEROS), start + size - at)
            self._bytes[at : at + length] = _ZEROS[:length]

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
