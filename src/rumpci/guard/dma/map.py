"""A map as the guard knows it: the mirror of one bus_dmamap."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rumpci.errors import BadDma, DeadDma, DmaBusy, RumpciError, TooManySegments
from rumpci.guard.dma.asked import check_direction, plain_pieces
from rumpci.guard.dma.memory import GuardMemory, Load, cover
from rumpci.guard.recorder import Kind
from rumpci.host_dma import PAGE_SIZE, Direction, DmaInfo, MapSpec, Piece, Segment

if TYPE_CHECKING:
    from rumpci.guard.dma.client import Client

Loaded = tuple[GuardMemory, Load]


class _Plan(NamedTuple):
    """What loading these pieces in this direction comes to; all of it was checked.

    `note` is what the recorder is told: segments, the first's address, bytes, direction.
    """

    pieces: Sequence[Piece]
    direction: Direction
    loads: Sequence[Loaded]
    segments: Sequence[Segment]
    note: tuple[int, int, int, int]


class GuardMap:
    """The seam's DmaMap; `Client.map` makes it."""

    def __init__(self, client: Client, spec: MapSpec) -> None:
        self.spec, self._client = spec, client
        self.segments: Sequence[Segment] = ()
        self.direction = Direction.NONE
        self.live = True
        self._loads: Sequence[Loaded] = ()
        self._plan: _Plan | None = None

    def load(self, pieces: Sequence[Piece], direction: Direction) -> Sequence[Segment]:
        """See host_dma.DmaMap."""
        plan = self._plan
        if plan is None or plan.direction is not direction or plan.pieces != pieces:
            plan = None
            pieces = plain_pieces("bus_dmamap_load", pieces)
        with self._client.lock:
            self._check_loadable(direction)
            if plan is None or not all(memory.live for memory, _ in plan.loads):
                plan = self._make_plan(plan.pieces if plan else pieces, direction)
            self._note(plan)
            self._client.note_load(Kind.LOAD, plan.note)
            try:
                for memory, load in plan.loads:
                    _regrant(self._client, memory, load, before=True)
            except BaseException:
                with contextlib.suppress(RumpciError):  # the first error is the one to tell
                    self._take_back()
                    self._client.domain.settle()
                raise
            return plan.segments

    def unload(self) -> None:
        """See host_dma.DmaMap.

        If the machine does not answer it raises, and is unloaded all the same; the memory
        cannot be freed before it is known to be out of reach.
        """
        with self._client.lock:
            self._check_live("bus_dmamap_unload")
            if not self._loads:
                raise BadDma(
                    f"bus_dmamap_unload of {self.spec.name!r}", "nothing is loaded", "load it first"
                )
            segments = self.segments
            self._take_back()
            if self._plan is not None:
                self._client.note_load(Kind.UNLOAD, self._plan.note)
            self._client.note_unloaded(self.spec.name, segments)
            self._client.domain.settle()  # last: the IOMMU forgets while we keep the books

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
        check_direction(f"bus_dmamap_load of {self.spec.name!r}", direction)

    def _checked(self, pieces: Sequence[Piece], direction: Direction) -> list[Loaded]:
        """What each piece loads.  Raises unless all are this client's memory, and not too much."""
        spans: dict[GuardMemory, list[tuple[int, int]]] = {}
        for piece in pieces:
            memory = self._client.own(piece.memory)
            memory.check_live("bus_dmamap_load")
            memory.check_range(piece.offset, piece.size)
            spans.setdefault(memory, []).append(cover(piece.offset, piece.size))
        total = sum(piece.size for piece in pieces)
        if not 0 < total <= self.spec.size:
            raise BadDma(
                f"bus_dmamap_load of {total} bytes into {self.spec.name!r}",
                f"it was created for 1 to {self.spec.size}",
                "create it for the largest transfer",
            )
        return [
            (memory, Load(start, end, direction))
            for memory, found in spans.items()
            for start, end in _merged(found)
        ]

    def _segments(self, pieces: Iterable[Piece]) -> list[Segment]:
        """Where the pieces are on the bus, in segments as the map allows them.

        Raises TooManySegments (EFBIG), and BadDma (EINVAL) for an address it may not have.
        """
        spec, ranges = self.spec, _joined(pieces)
        for addr, size in ranges:
            if addr < spec.low or addr + size - 1 > spec.high:
                raise BadDma(
                    f"bus_dmamap_load into {spec.name!r}",
                    f"memory at bus address {addr:#x} is outside [{spec.low:#x}, {spec.high:#x}]",
                    "allocate it through the same tag",
                )
        limits = spec.maxsegsz, spec.boundary
        count = sum(_count(addr, size, *limits) for addr, size in ranges)
        if count > spec.nsegments:
            raise TooManySegments(
                f"bus_dmamap_load into {spec.name!r}",
                f"it takes {count} segments, and the map has {spec.nsegments}",
                "create it with more segments, or load less",
            )
        return [segment for addr, size in ranges for segment in _cut(addr, size, *limits)]

    def _make_plan(self, pieces: Sequence[Piece], direction: Direction) -> _Plan:
        """Check what is to be loaded, and lay it out; kept, as drivers load the same again."""
        loads = self._checked(pieces, direction)
        segments = tuple(self._segments(pieces))
        size = sum(segment.ds_len for segment in segments)
        note = len(segments), segments[0].ds_addr, size, direction.value
        self._plan = _Plan(pieces, direction, loads, segments, note)
        return self._plan

    def _note(self, plan: _Plan) -> None:
        """Put it into the mirror: before the device can see any of it."""
        self._loads, self.segments, self.direction = plan.loads, plan.segments, plan.direction
        for memory, load in plan.loads:
            memory.add(load)

    def _take_back(self) -> None:
        """Take it off the books, and all of it from the device.  Raises the first error."""
        loads, error = self._loads, None
        self._loads, self.segments, self.direction = (), (), Direction.NONE
        for memory, load in loads:
            memory.remove(load)
        for memory, load in loads:
            try:
                _regrant(self._client, memory, load, before=False)
            except RumpciError as failed:
                error = error or failed
        if error:
            raise error


def _regrant(client: Client, memory: GuardMemory, load: Load, *, before: bool) -> None:
    """Grant what a load adds (`before`), or take back what no other load still needs."""
    start, end, direction = load
    if len(memory.loads) > before and memory.is_shared(load):
        for offset in range(start, end, PAGE_SIZE):
            _regrant_page(client, memory, offset)
    elif before:
        for _, addr, page, size in memory.within(start, end):
            client.domain.grant(addr, page, size, direction)
    else:
        ranges = [(addr, size) for _, addr, _, size in memory.within(start, end)]
        client.domain.revoke(ranges, wait=False)


def _regrant_page(client: Client, memory: GuardMemory, offset: int) -> None:
    """Make what is granted of one page what all its loads together say."""
    (extent,) = memory.within(offset, offset + PAGE_SIZE)
    direction = memory.direction(offset)
    if direction:
        client.domain.grant(extent.addr, extent.page, PAGE_SIZE, direction)
    else:
        client.domain.revoke([(extent.addr, PAGE_SIZE)], wait=False)


def _joined(pieces: Iterable[Piece]) -> list[tuple[int, int]]:
    """(bus address, bytes) of what is adjacent on the bus, in the order of the pieces."""
    found: list[tuple[int, int]] = []
    end = -1
    for memory, offset, size in pieces:
        if isinstance(memory, GuardMemory):
            for _, addr, _, length in memory.within(offset, offset + size):
                if addr == end:
                    found[-1] = found[-1][0], found[-1][1] + length
                else:
                    found.append((addr, length))
                end = addr + length
    return found


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bytes in as few spans as they are: none of them overlap or touch."""
    spans.sort()
    start, end = spans[0]
    for low, high in spans:
        if low > end:
            yield start, end
            start = low
        end = max(end, high)
    yield start, end


def _count(addr: int, size: int, most: int, boundary: int) -> int:
    """How many segments `_cut` makes."""
    if not boundary:
        return -(-size // most)
    head = min(size, boundary - addr % boundary)
    whole, tail = divmod(size - head, boundary)
    return -(-head // most) + whole * -(-boundary // most) + -(-tail // most)


def _cut(addr: int, size: int, most: int, boundary: int) -> list[Segment]:
    """[addr, addr + size) in segments of at most `most` bytes that cross no boundary."""
    found: list[Segment] = []
    while size:
        length = min(size, most)
        if boundary:
            length = min(length, boundary - addr % boundary)
        found.append(Segment(addr, length))
        addr, size = addr + length, size - length
    return found
