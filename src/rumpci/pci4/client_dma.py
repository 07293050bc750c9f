"""DMA memory and maps that a guard in another process keeps for us."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from rumpci._dma import SharedMemory
from rumpci.errors import BadDma, DeadDma, NoDmaMemory, TooManySegments
from rumpci.guard.dma.asked import plain_spec
from rumpci.guard.dma.client import check_map
from rumpci.guard.dma.placing import check_spec
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, Direction, Fault, MapSpec, MemorySpec, Piece, Segment
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op, unpack_address
from rumpci.pci4.client_link import Connection, clip, holds, packable

_NAME = 64
_PIECE = abi.DmamapLoadPiece.LAYOUT
_EMPTY = (0,) * (2 * abi.FEW)
_MOST = {kind: {f.name: f.count for f in kind.FIELDS} for kind in (abi.DmaAlloc, abi.DmamapLoad)}
_FAULTS = 1024
"""Faults that one call takes."""


class ClientDma:
    """What one claim has of DMA: `close` ends it."""

    def __init__(self, connection: Connection, claim: int, device: Address) -> None:
        self.connection, self._claim, self._device = connection, claim, device
        self._lock = threading.RLock()
        self._memories: set[Pci4Memory] = set()
        self._live = True

    def alloc(self, spec: MemorySpec) -> Pci4Memory:
        """See host.Claim.dma_alloc."""
        spec = plain_spec(MemorySpec, spec)
        with self._lock:
            tried = f"allocating {spec.size} bytes for {spec.name!r}"
            self._check_live(tried)
            check_spec(spec)
            request = abi.DmaAlloc(
                claim=self._claim, nsegs=min(spec.nsegs, _MOST[abi.DmaAlloc]["seg_addr"]),
                size=spec.size, alignment=spec.alignment, boundary=spec.boundary,
                low=spec.low, high=spec.high, name=clip(spec.name, _NAME),
            )  # fmt: skip
            with packable(lambda why: BadDma(tried, why, "see bus_dmamem_alloc in bus_dma(9)")):
                request.pack()
            answer, descriptors = self.connection.call_fds(Op.DMA_ALLOC, request)
            memory = Pci4Memory(self, spec, answer, self._view(tried, answer, descriptors))
            self._memories.add(memory)
            return memory

    def map(self, spec: MapSpec) -> Pci4Map:
        """See host.Claim.dma_map."""
        spec = plain_spec(MapSpec, spec)
        tried = f"creating map {spec.name!r}"
        self._check_live(tried)
        check_map(tried, spec)
        request = abi.DmamapCreate(
            claim=self._claim, nsegments=spec.nsegments, size=spec.size, maxsegsz=spec.maxsegsz,
            boundary=spec.boundary, low=spec.low, high=spec.high, name=clip(spec.name, _NAME),
        )  # fmt: skip
        with packable(lambda why: BadDma(tried, why, "see bus_dmamap_create in bus_dma(9)")):
            request.pack()
        return Pci4Map(self, spec, self.connection.call(Op.DMAMAP_CREATE, request).map)

    def faults(self) -> list[Fault]:
        """See host.Claim.dma_faults."""
        found = list[Fault]()
        while self._live and len(found) < _FAULTS:
            row: Any = self.connection.call(Op.DMA_FAULTS, abi.DmaFaults(claim=self._claim))
            if not row.valid:
                break
            found.append(
                Fault(
                    unpack_address(row.device), row.who, row.addr, row.verb, row.reason,
                    row.nearest, bool(row.lost),
                )
            )  # fmt: skip
        return found

    def free(self, memory: Pci4Memory) -> None:
        """Give an allocation back: our view of it goes when the guard has agreed."""
        with self._lock:
            memory.check_live("bus_dmamem_free")
            self.connection.handle(Op.DMA_FREE, memory.handle)
            self._memories.discard(memory)
            memory.end()

    def close(self) -> None:
        """Take every view away."""
        with self._lock:
            self._live = False
            for memory in self._memories:
                memory.end()
            self._memories.clear()

    @property
    def live(self) -> bool:
        """Whether the function is still claimed."""
        return self._live

    def _check_live(self, tried: str) -> None:
        if not self._live:
            raise DeadDma(f"{tried} of {self._device}", "it was detached", "claim it again")

    def _view(self, tried: str, answer: Any, descriptors: list[int]) -> SharedMemory:
        """The memory itself; its descriptor is its own from here on."""
        try:
            ranges = _ranges(answer, descriptors)
            return SharedMemory(descriptors.pop(0), ranges)
        except ValueError as error:
            raise self.connection.garbage(Op.DMA_ALLOC, str(error)) from error
        except OSError as error:
            self.connection.handle(Op.DMA_FREE, answer.memory)
            raise NoDmaMemory(tried, str(error), "free some, or raise vm.max_map_count") from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


class Pci4Memory:
    """The seam's DmaMemory."""

    def __init__(self, dma: ClientDma, spec: MemorySpec, answer: Any, view: SharedMemory) -> None:
        self.spec, self.dma, self.view = spec, dma, view
        self.handle: int = answer.memory
        self.segments: Sequence[Segment] = _segments(answer)
        self.live = True

    def free(self) -> None:
        """See host_dma.DmaMemory."""
        self.dma.free(self)

    def check_live(self, tried: str) -> None:
        """Raise DeadDma (ENXIO) once it was freed."""
        if not self.live:
            raise DeadDma(
                f"{tried} of {self.spec.name!r}", "it was freed", "use memory until it is freed"
            )

    def end(self) -> None:
        """Take the view away."""
        self.live = False
        if self.view.live:
            try:
                self.view.revoke()
            finally:
                os.close(self.view.fd)


class Pci4Map:
    """The seam's DmaMap."""

    def __init__(self, dma: ClientDma, spec: MapSpec, handle: int) -> None:
        self.spec, self._dma, self._handle = spec, dma, handle
        self._destroyed = False

    def load(self, pieces: Sequence[Piece], direction: Direction) -> Sequence[Segment]:
        """See host_dma.DmaMap."""
        self._check_live("bus_dmamap_load")
        tried = f"bus_dmamap_load into {self.spec.name!r}"
        joined = _joined(self._own(pieces))
        if len(joined) > _MOST[abi.DmamapLoad]["memory"]:
            raise TooManySegments(
                tried, f"{len(joined)} pieces are not adjacent", "load them in several maps"
            )
        if len(joined) == 1 and self._few(*joined[0]):
            return self._load_piece(*joined[0], direction)
        request = abi.DmamapLoad(
            map=self._handle, direction=direction.value, npieces=len(joined),
            memory=[m.handle for m, _, _ in joined], offset=[at for _, at, _ in joined],
            length=[size for _, _, size in joined],
        )  # fmt: skip
        with packable(lambda why: BadDma(tried, why, "load what was allocated")):
            request.pack()
        return _segments(self._dma.connection.call(Op.DMAMAP_LOAD, request))

    def _few(self, memory: Pci4Memory, _offset: int, size: int) -> bool:
        """Whether the segments of a piece fit the short answer, however it lies."""
        spec = self.spec
        most = min(spec.maxsegsz, spec.boundary or spec.maxsegsz)
        return spec.nsegments <= abi.FEW or size // most + 1 + len(memory.segments) <= abi.FEW

    def _load_piece(
        self, memory: Pci4Memory, offset: int, size: int, direction: Direction
    ) -> list[Segment]:
        """Most loads: a short request, a short answer, and nothing made on the way."""
        connection, few = self._dma.connection, abi.FEW
        try:
            request = _PIECE.pack(
                self._handle, direction.value, memory.handle, 0, offset, size, *_EMPTY
            )
        except struct.error as error:
            tried = f"bus_dmamap_load into {self.spec.name!r}"
            raise BadDma(tried, str(error), "load what was allocated") from error
        data = connection.raw(Op.DMAMAP_LOAD_PIECE, request)
        found = _PIECE.unpack(data)
        count, starts, sizes = found[3], found[6 : 6 + few], found[6 + few :]
        return list(map(Segment, starts[:count], sizes[:count]))

    def unload(self) -> None:
        """See host_dma.DmaMap."""
        self._check_live("bus_dmamap_unload")
        self._dma.connection.handle(Op.DMAMAP_UNLOAD, self._handle)

    def destroy(self) -> None:
        """See host_dma.DmaMap."""
        self._check_live("bus_dmamap_destroy")
        self._dma.connection.handle(Op.DMAMAP_DESTROY, self._handle)
        self._destroyed = True

    def _check_live(self, tried: str) -> None:
        if self._destroyed or not self._dma.live:
            raise DeadDma(
                f"{tried} of {self.spec.name!r}",
                "it was destroyed, or its device detached",
                "use a map until it is destroyed",
            )

    def _own(self, pieces: Iterable[Piece]) -> Iterable[tuple[Pci4Memory, int, int]]:
        for memory, offset, size in pieces:
            if not (isinstance(memory, Pci4Memory) and memory.dma is self._dma):
                raise BadDma(
                    "loading memory", "it is not this function's", "allocate it by its tag"
                )
            memory.check_live("bus_dmamap_load")
            yield memory, offset, size


def _joined(pieces: Iterable[tuple[Pci4Memory, int, int]]) -> list[tuple[Pci4Memory, int, int]]:
    """Pieces that follow each other in one allocation are one: fewer have to be told."""
    found = list[tuple[Pci4Memory, int, int]]()
    for memory, offset, size in pieces:
        last = found[-1] if found else None
        if last and last[0] is memory and last[1] + last[2] == offset and size > 0 < last[2]:
            found[-1] = (memory, last[1], last[2] + size)
        else:
            found.append((memory, offset, size))
    return found


def _segments(answer: Any) -> list[Segment]:
    return [Segment(*pair) for pair in zip(answer.seg_addr, answer.seg_len, strict=True)][
        : answer.count
    ]


def _ranges(answer: Any, descriptors: list[int]) -> list[tuple[int, int]]:
    """Where the memory is in its file.  Raises ValueError for what is not there."""
    ranges = list(zip(answer.range_offset, answer.range_len, strict=True))[: answer.nranges]
    size = sum(length for _, length in ranges)
    whole = all(n and not (at | n) % PAGE_SIZE and at + n < 1 << 63 for at, n in ranges)
    if not (descriptors and ranges and whole and size >= answer.size):
        raise ValueError("memory that is not whole pages, or not as much as was asked for")
    if size != sum(length for _, length in _segments(answer)):
        raise ValueError("memory and its segments differ")
    end = max(at + length for at, length in ranges)
    if not holds(descriptors[0], 0, end):
        raise ValueError("memory beyond the end of its file")
    return ranges
