"""An allocation as the guard knows it: the mirror of one bus_dmamem_alloc."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from rumpci._dma import SharedMemory
from rumpci.errors import BadDma, DeadDma, DmaBusy
from rumpci.guard.dma.placing import Place
from rumpci.guard.dma.pool import Pool
from rumpci.host_dma import PAGE_SIZE, Direction, DmaInfo, MemorySpec, Segment

if TYPE_CHECKING:
    from rumpci.guard.dma.client import Client


class Extent(NamedTuple):
    """`size` bytes from `offset` on: adjacent on the bus (`addr`) and in memory (`page`)."""

    offset: int
    addr: int
    page: int
    size: int


class Load(NamedTuple):
    """That a map has pages [start, end) (bytes, whole pages) loaded, in a direction."""

    start: int
    end: int
    direction: Direction


_START = attrgetter("start")


class GuardMemory:
    """The seam's DmaMemory; `Client.alloc` and `Client.adopt` make it.

    `charged` is how much of it counts as its client's share of the pool.
    """

    view: SharedMemory

    def __init__(
        self, client: Client, spec: MemorySpec, place: Place, extents: Iterable[Extent]
    ) -> None:
        self.spec, self.place, self._client = spec, place, client
        self.segments: Sequence[Segment] = place.segments
        self.size = self.charged = sum(size for _, size in place.segments)
        self.extents = tuple(extents)
        self.loads: list[Load] = []  # by start
        self._longest = 0
        self.live = True

    @classmethod
    def of_pool(cls, client: Client, spec: MemorySpec, place: Place, pool: Pool) -> GuardMemory:
        """Memory of a pool.  Raises OSError if it cannot be mapped."""
        made = cls(client, spec, place, _extents(place))
        made.view = SharedMemory(pool.fd, pool.in_file(place.runs))
        return made

    def take(self) -> None:
        """Take it from its process.  Raises OSError."""
        self.view.revoke()

    def free(self) -> None:
        """See host_dma.DmaMemory."""
        self._client.free(self)

    def check_live(self, tried: str) -> None:
        """Raise DeadDma (ENXIO) once it was freed."""
        if not self.live:
            raise DeadDma(
                f"{tried} of {self.spec.name!r}", "it was freed", "use memory until it is freed"
            )

    def check_free(self) -> None:
        """Raise unless it may be freed: DeadDma (ENXIO), DmaBusy (EBUSY)."""
        self.check_live("bus_dmamem_free")
        if self.loads:
            raise DmaBusy(
                f"bus_dmamem_free of {self.spec.name!r}",
                "it is loaded in a map",
                "bus_dmamap_unload it first",
            )

    def check_range(self, offset: int, size: int) -> None:
        """Raise BadDma (EINVAL) unless [offset, offset + size) is in it."""
        if offset < 0 or size <= 0 or offset + size > self.size:
            raise BadDma(
                f"loading [{offset:#x}, {offset + size:#x}) of {self.spec.name!r}",
                f"it has {self.size:#x} bytes",
                "load what was allocated",
            )

    def within(self, start: int, end: int) -> list[Extent]:
        """What [start, end) is made of."""
        if len(self.extents) == 1:  # as most are
            _, addr, page, _ = self.extents[0]
            return [Extent(start, addr + start, page + start, end - start)]
        found: list[Extent] = []
        for offset, addr, page, size in self.extents:
            low, high = max(start, offset), min(end, offset + size)
            if low < high:
                found.append(Extent(low, addr + low - offset, page + low - offset, high - low))
        return found

    def granted(self) -> Iterator[tuple[Extent, Direction]]:
        """What the function may reach of it now, by all maps together."""
        edges = sorted({edge for load in self.loads for edge in load[:2]})
        for start, end in pairwise(edges):
            direction = self.direction(start)
            if direction:
                for extent in self.within(start, end):
                    yield extent, direction

    def direction(self, offset: int) -> Direction:
        """What may be done to the page at `offset`."""
        union = Direction.NONE
        for load in self.touching(offset, offset + PAGE_SIZE):
            union |= load.direction
        return union

    def touching(self, start: int, end: int) -> Iterator[Load]:
        """The loads that have pages of [start, end): among many, found without looking at all."""
        loads = self.loads
        at = bisect_left(loads, start - self._longest + 1, key=_START)
        while at < len(loads) and loads[at].start < end:
            if loads[at].end > start:
                yield loads[at]
            at += 1

    def is_shared(self, load: Load) -> bool:
        """Whether another load has pages of this one."""
        return any(other is not load for other in self.touching(load.start, load.end))

    def add(self, load: Load) -> None:
        """Note a load."""
        insort(self.loads, load, key=_START)
        self._longest = max(self._longest, load.end - load.start)

    def remove(self, load: Load) -> None:
        """Forget a load, the very one that was added."""
        at = bisect_left(self.loads, load.start, key=_START)
        while self.loads[at] is not load:
            at += 1
        del self.loads[at]

    def info(self) -> DmaInfo:
        """Its row of the mirror."""
        union = Direction.NONE
        for load in self.loads:
            union |= load.direction
            if union is Direction.BOTH:  # it may be loaded ten thousand times
                break
        return self._client.row("memory", self.spec.name, self.size, self.segments, union)


class AdoptedMemory(GuardMemory):
    """A client's own memory, pages from `page` on as its domain counts them; it stays theirs."""

    def __init__(self, client: Client, spec: MemorySpec, place: Place, page: int) -> None:
        ((addr, size),) = place.segments
        super().__init__(client, spec, place, [Extent(0, addr, page, size)])
        self.charged = 0

    def take(self) -> None:
        """See GuardMemory."""


def cover(offset: int, size: int) -> tuple[int, int]:
    """The whole pages that bytes are in."""
    return offset & -PAGE_SIZE, (offset + size + PAGE_SIZE - 1) & -PAGE_SIZE


def _extents(place: Place) -> Iterator[Extent]:
    """Cut wherever a segment or a run ends."""
    segments, runs = iter(place.segments), iter(place.runs)
    addr, left = next(segments)
    page, behind = next(runs)
    offset = 0
    while True:
        size = min(left, behind)
        yield Extent(offset, addr, page, size)
        offset, addr, page = offset + size, addr + size, page + size
        left, behind = left - size, behind - size
        if not left:
            if (segment := next(segments, None)) is None:
                return
            addr, left = segment
        if not behind:
            page, behind = next(runs)
