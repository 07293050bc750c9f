"""The operations of the protocol on DMA memory and maps."""

from __future__ import annotations

from collections.abc import Sequence

from rumpci.errors import BadRequest, NoDmaMemory, NotSupported
from rumpci.guard.dma.memory import GuardMemory
from rumpci.host_dma import PAGE_SIZE, Direction, MapSpec, MemorySpec, Piece, Segment
from rumpci.pci4 import abi
from rumpci.pci4.checks import clip, count, shown
from rumpci.pci4.ops_window import sealed
from rumpci.pci4.session import Held, Session

_ALLOC = abi.RANGES
"""Segments and ranges of an allocation in its answer."""
_PIECE = abi.DmamapLoadPiece.LAYOUT
_PIECES, _LOADED = abi.PIECES, abi.LOADED
"""Pieces of a load in its request, and segments in its answer."""


def alloc(session: Session, message: abi.DmaAlloc) -> None:
    """DMA_ALLOC: take memory, from a file that has only this client's.

    Raises NotSupported (EOPNOTSUPP) where the guard has no such file.
    """
    held = session.held(message.claim)
    if not session.private:
        raise NotSupported(
            f"allocating {message.size} bytes for DMA",
            "this server has no memory that it can pass to one client alone",
            "run the driver in the guard's process",
        )
    spec = _memory_spec(message)
    size = -(-spec.size // PAGE_SIZE) * PAGE_SIZE
    session.account.take("objects", session.rights.limits)
    try:
        session.account.take("bytes", session.rights.limits, size)
        try:
            _take(session, held, message, spec)
        except BaseException:
            session.account.give("bytes", size)
            raise
    except BaseException:
        session.account.give("objects")
        raise
    held.bytes += size


def _memory_spec(message: abi.DmaAlloc) -> MemorySpec:
    return MemorySpec(
        message.size,
        message.alignment,
        message.boundary,
        min(message.nsegs, _ALLOC),
        message.low,
        message.high,
        shown("memory", message.name),
    )


def _take(session: Session, held: Held, message: abi.DmaAlloc, spec: MemorySpec) -> None:
    """Allocate, and describe in the answer what was allocated."""
    memory = held.claim.dma_alloc(spec)
    ranges = _ranges(memory)
    if len(ranges) > _ALLOC or not sealed(memory.view.fd):
        memory.free()
        raise NoDmaMemory(
            f"allocating {spec.size} bytes for {spec.name!r}",
            f"it lies in {len(ranges)} pieces of a file, or the file cannot be passed",
            "free some, or ask for less",
        )
    message.memory = session.new_handle()
    held.memories[message.memory] = memory
    session.memories[message.memory] = (held, memory)
    message.count, message.nranges = len(memory.segments), len(ranges)
    message.seg_addr, message.seg_len = _columns(memory.segments)
    message.range_offset, message.range_len = _columns(ranges)
    session.passed = [memory.view.fd]


def _ranges(memory: GuardMemory) -> list[tuple[int, int]]:
    """Where it is in its file, in as few ranges as there are."""
    found = list[tuple[int, int]]()
    for offset, size in memory.view.ranges:
        if found and sum(found[-1]) == offset:
            found[-1] = found[-1][0], found[-1][1] + size
        else:
            found.append((offset, size))
    return found


def _columns(rows: Sequence[Segment] | Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [row[0] for row in rows], [row[1] for row in rows]


def free(session: Session, message: abi.Handle) -> None:
    """DMA_FREE: give memory back."""
    held, memory = session.memory(message.handle)
    memory.free()
    del held.memories[message.handle], session.memories[message.handle]
    held.bytes -= memory.size
    session.account.give("bytes", memory.size)
    session.account.give("objects")


def create(session: Session, message: abi.DmamapCreate) -> None:
    """DMAMAP_CREATE: take a map."""
    held = session.held(message.claim)
    spec = MapSpec(
        message.size,
        min(message.nsegments, _LOADED),
        message.maxsegsz,
        message.boundary,
        message.low,
        message.high,
        shown("map", message.name),
    )
    session.account.take("objects", session.rights.limits)
    try:
        made = held.claim.dma_map(spec)
    except BaseException:
        session.account.give("objects")
        raise
    message.map = session.new_handle()
    held.maps[message.map] = made
    session.maps[message.map] = (held, made)


def load(session: Session, message: abi.DmamapLoad) -> None:
    """DMAMAP_LOAD: let the function reach pieces of memory of the same claim."""
    _, dmamap = session.map(message.map)
    number = count("pieces", message.npieces, _PIECES)
    rows = zip(message.memory, message.offset, message.length, strict=True)
    pieces = [
        Piece(session.memory(memory)[1], offset, length)
        for memory, offset, length in list(rows)[:number]
    ]
    direction = Direction(count("direction", message.direction, Direction.BOTH.value))
    segments = dmamap.load(pieces, direction)
    message.count = len(segments)
    message.seg_addr, message.seg_len = _columns(segments)


def load_piece(session: Session, request: memoryview) -> bytes:
    """DMAMAP_LOAD_PIECE: one piece, without making objects of the message."""
    handle, way, memory, _, offset, length, *_ = _PIECE.unpack(request)
    _, dmamap = session.map(handle)
    direction = Direction(count("direction", way, Direction.BOTH.value))
    segments = dmamap.load([Piece(session.memory(memory)[1], offset, length)], direction)
    if len(segments) > abi.FEW:
        dmamap.unload()
        raise BadRequest(
            f"loading {length} bytes into {dmamap.spec.name!r}",
            f"they take {len(segments)} segments, more than this answer holds",
            "use DMAMAP_LOAD",
        )
    rest = (0,) * (abi.FEW - len(segments))
    starts, sizes = zip(*segments, strict=True)
    return _PIECE.pack(
        handle, way, memory, len(segments), offset, length, *starts, *rest, *sizes, *rest
    )


def unload(session: Session, message: abi.Handle) -> None:
    """DMAMAP_UNLOAD: take back what a map grants."""
    session.map(message.handle)[1].unload()


def destroy(session: Session, message: abi.Handle) -> None:
    """DMAMAP_DESTROY: give a map back."""
    held, dmamap = session.map(message.handle)
    dmamap.destroy()
    del held.maps[message.handle], session.maps[message.handle]
    session.account.give("objects")


def faults(session: Session, message: abi.DmaFaults) -> None:
    """DMA_FAULTS: the oldest that was not told."""
    held = session.held(message.claim)
    if not held.faults:
        held.faults.extend(held.claim.dma_faults())
    message.valid = int(bool(held.faults))
    if held.faults:
        fault = held.faults.popleft()
        message.device = abi.pack_address(fault.device)
        message.lost, message.addr = int(fault.lost), fault.addr
        message.verb, message.who = clip(fault.verb, 8), clip(fault.who, abi.NAME)
        message.reason, message.nearest = clip(fault.reason, 256), clip(fault.nearest, 256)
