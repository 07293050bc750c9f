"""The machine's memory that clients and the IOMMU's tables take pages from.

Numbers are physical addresses and bytes, whole pages; they stay in the guard.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.space import Space
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import Memory

Run = tuple[int, int]
"""(physical address, bytes) of adjacent pages."""
_ZEROS = bytes(256 * PAGE_SIZE)


class Pool:
    """Pages of a machine's memory; a `machine.PageSource` too.

    What a device may still write is kept for its function alone: without an IOMMU, one
    that could not be reset is not known to be quiet (rule 9).
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._space = Space()
        self._limbo: dict[Address, Space] = {}
        for start, end in memory.usable:
            self._space.add(start // PAGE_SIZE, end // PAGE_SIZE)
        self.size = self._space.free * PAGE_SIZE
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
        pages, first, end = size // PAGE_SIZE, -(-low // PAGE_SIZE), (high + 1) // PAGE_SIZE
        spaces = [self._limbo[owner]] if owner in self._limbo else []
        for space in [*spaces, self._space]:
            start = space.take(pages, max(1, align // PAGE_SIZE), first, end)
            if start is not None:
                self._zero(start * PAGE_SIZE, size)
                return start * PAGE_SIZE, size
        return None

    def gather(self, size: int) -> list[Run]:
        """Zeroed pages in as few runs as there are.  Raises NoDmaMemory (ENOMEM)."""
        if size > self.free:
            raise self._exhausted(size)
        runs, left, step = list[Run](), size, size
        while left:
            run = self.take_run(min(step, left), PAGE_SIZE, 0, self.memory.size)
            if run is None:  # no run that long; there are enough pages, so this ends
                step = max(PAGE_SIZE, step // 2 // PAGE_SIZE * PAGE_SIZE)
                continue
            runs.append(run)
            left -= run[1]
        return runs

    def put(self, runs: Sequence[Run]) -> None:
        """Give runs back: to everybody."""
        for start, size in runs:
            self._space.give(start // PAGE_SIZE, size // PAGE_SIZE)

    def keep(self, runs: Sequence[Run], owner: Address) -> None:
        """Give runs back to their function only, for as long as the machine runs."""
        space = self._limbo.setdefault(owner, Space())
        for start, size in runs:
            space.add(start // PAGE_SIZE, (start + size) // PAGE_SIZE)

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
