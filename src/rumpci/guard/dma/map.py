"""A map as the guard knows it: the mirror of one bus_dmamap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rumpci.errors import BadDma, DeadDma, DmaBusy, TooManySegments
from rumpci.guard.dma.memory import GuardMemory, Load, cover
from rumpci.host_dma import PAGE_SIZE, Direction, DmaInfo, MapSpec, Piece, Segment

if TYPE_CHECKING:
    from rumpci.guard.dma.client import Client

Loaded = tuple[GuardMemory, Load]


class GuardMap:
    """The seam's DmaMap; `Client.map` makes it."""

    def __init__(self, client: Client, spec: MapSpec) -> None:
        self.spec, self._client = spec, client
        self.segments: Sequence[Segment] = ()
        self.direction = Direction.NONE
        self.live = True
        self._loads: Sequence[Loaded] = ()

    def load(self, pieces: Sequence[Piece], direction: Direction) -> Sequence[Segment]:
        """See host_dma.DmaMap."""
        with self._client.lock:
            self._check_loadable(direction)
            loads = self._checked(pieces, direction)
            segments = self._segments(pieces)
            self._note(loads, segments, direction)
            try:
                for memory, load in loads:
                    _regrant(self._client, memory, load, before=True)
            except BaseException:
                self.unload()
                raise
            return segments

    def unload(self) -> None:
        """See host_dma.DmaMap."""
        with self._client.lock:
            self._check_live("bus_dmamap_unload")
            if not self._loads:
                raise BadDma(
                    f"bus_dmamap_unload of {self.spec.name!r}", "nothing is loaded", "load it first"
                )
            loads, segments = self._loads, self.segments
            for memory, load in loads:
                memory.remove(load)
            for memory, load in loads:
                _regrant(self._client, memory, load, before=False)
            self._loads, self.segments, self.direction = (), (), Direction.NONE
            self._client.note_unloaded(self.spec.name, segments)

    def destroy(self) -> None:
        """See host_dma.DmaMap."""
        with self._client.lock:
            self._check_live("bus_dmamap_destroy")
            if self._loads:
                raise DmaBusy(
                    f"bus_dmamap_destroy of {self.spec.name!r}",
                    "it is loaded",
                    "bus_dmamap_unload it first",
                )
            self._client.forget_map(self)

    def info(self) -> DmaInfo:
        """Its row of the mirror."""
        name, size = self.spec.name, self.spec.size
        return self._client.row("map", name, size, self.segments, self.direction)

    def _check_live(self, tried: str) -> None:
        if not self.live:
            raise DeadDma(
                f"{tried} of {self.spec.name!r}",
                "it was destroyed, or its device detached",
                "use a map until it is destroyed",
            )

    def _check_loadable(self, direction: Direction) -> None:
        self._check_live("bus_dmamap_load")
        if self._loads:
            raise DmaBusy(
                f"bus_dmamap_load of {self.spec.name!r}", "it is loaded", "unload it first"
            )
        if not direction:
            raise BadDma(
                f"bus_dmamap_load of {self.spec.name!r}", "no direction", "pass READ, WRITE or both"
            )

    def _checked(self, pieces: Sequence[Piece], direction: Direction) -> list[Loaded]:
        """What each piece loads.  Raises unless all are this client's memory, and not too much."""
        loads = list[Loaded]()
        for piece in pieces:
            memory = self._client.own(piece.memory)
            memory.check_live("bus_dmamap_load")
            memory.check_range(piece.offset, piece.size)
            start, end = cover(piece.offset, piece.size)
            loads.append((memory, Load(start, end, direction)))
        total = sum(piece.size for piece in pieces)
        if not 0 < total <= self.spec.size:
            raise BadDma(
                f"bus_dmamap_load of {total} bytes into {self.spec.name!r}",
                f"it was created for 1 to {self.spec.size}",
                "create it for the largest transfer",
            )
        return loads

    def _segments(self, pieces: Iterable[Piece]) -> list[Segment]:
        """Where the pieces are on the bus, in segments as the map allows them.

        Raises TooManySegments (EFBIG), and BadDma (EINVAL) for an address it may not have.
        """
        spec, found = self.spec, list[Segment]()
        for addr, size in _joined(pieces):
            if addr < spec.low or addr + size - 1 > spec.high:
                raise BadDma(
                    f"bus_dmamap_load into {spec.name!r}",
                    f"memory at bus address {addr:#x} is outside [{spec.low:#x}, {spec.high:#x}]",
                    "allocate it through the same tag",
                )
            found += _cut(addr, size, spec.maxsegsz, spec.boundary)
        if len(found) > spec.nsegments:
            raise TooManySegments(
                f"bus_dmamap_load into {spec.name!r}",
                f"it takes {len(found)} segments, and the map has {spec.nsegments}",
                "create it with more segments, or load less",
            )
        return found

    def _note(
        self, loads: Sequence[Loaded], segments: Sequence[Segment], direction: Direction
    ) -> None:
        """Put it into the mirror: before the device can see any of it."""
        self._loads, self.segments, self.direction = loads, segments, direction
        for memory, load in loads:
            memory.add(load)


def _regrant(client: Client, memory: GuardMemory, load: Load, *, before: bool) -> None:
    """Grant what a load adds (`before`), or take back what no other load still needs."""
    start, end, direction = load
    if any(other is not load for other in memory.touching(start, end)):
        for offset in range(start, end, PAGE_SIZE):
            _regrant_page(client, memory, offset)
    elif before:
        for _, addr, page, size in memory.within(start, end):
            client.domain.grant(addr, page, size, direction)
    else:
        client.domain.revoke([(addr, size) for _, addr, _, size in memory.within(start, end)])


def _regrant_page(client: Client, memory: GuardMemory, offset: int) -> None:
    """Make what is granted of one page what all its loads together say."""
    (extent,) = memory.within(offset, offset + PAGE_SIZE)
    direction = memory.direction(offset)
    if direction:
        client.domain.grant(extent.addr, extent.page, PAGE_SIZE, direction)
    else:
        client.domain.revoke([(extent.addr, PAGE_SIZE)])


def _joined(pieces: Iterable[Piece]) -> Iterator[tuple[int, int]]:
    """(bus address, bytes) of what is adjacent on the bus, in the order of the pieces."""
    start = size = 0
    for piece in pieces:
        memory = piece.memory
        if isinstance(memory, GuardMemory):
            for _, addr, _, length in memory.within(piece.offset, piece.offset + piece.size):
                if size and start + size == addr:
                    size += length
                    continue
                if size:
                    yield start, size
                start, size = addr, length
    if size:
        yield start, size


def _cut(addr: int, size: int, most: int, boundary: int) -> Iterator[Segment]:
    """[addr, addr + size) in segments of at most `most` bytes that cross no boundary."""
    while size:
        length = min(size, most, boundary - addr % boundary if boundary else size)
        yield Segment(addr, length)
        addr, size = addr + length, size - length
