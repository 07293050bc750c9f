"""Buffers that the device cannot reach: where their copies are, and the copying.

Only bus_dmamap_sync copies: a forgotten sync shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rumpci._dma import Flat
from rumpci.host_dma import PAGE_SIZE, DmaMemory, MapSpec, MemorySpec, Piece

if TYPE_CHECKING:
    from rumpci.bus_dma.map import BusDmamap
    from rumpci.bus_dma.tag import Mapped

BUS_DMASYNC_PREREAD = 0x01
BUS_DMASYNC_POSTREAD = 0x02
BUS_DMASYNC_PREWRITE = 0x04
BUS_DMASYNC_POSTWRITE = 0x08


class Copy(NamedTuple):
    """Bytes [start, end) of a map, bounced between `buffer` and `bounce` from `offset` on."""

    start: int
    end: int
    buffer: memoryview
    bounce: memoryview
    offset: int


def place(dmam: BusDmamap, flats: Sequence[tuple[Flat, int]]) -> tuple[list[Piece], list[Copy]]:
    """Where each buffer is in memory that the device can reach, and what has to be copied."""
    reached = [dmam.tag.find(flat.address, length) for flat, length in flats]
    pieces: list[Piece] = []
    copies: list[Copy] = []
    at = used = 0
    bounce = _bounce_for(dmam, flats, reached) if None in reached else None
    for (flat, length), known in zip(flats, reached, strict=True):
        if known is not None:
            pieces.append(Piece(known.memory, flat.address - known.start, length))
        elif bounce is not None:
            pieces.append(Piece(bounce, used, length))
            copies.append(Copy(at, at + length, flat.view, dmam.bounce_view, used))
            used += length
        at += length
    return pieces, copies


def _bounce_for(
    dmam: BusDmamap, flats: Sequence[tuple[Flat, int]], reached: Sequence[Mapped | None]
) -> DmaMemory:
    """Memory for all that is not reached."""
    bounced = [n for (_, n), known in zip(flats, reached, strict=True) if known is None]
    return take_bounce(dmam, sum(bounced))


def take_bounce(dmam: BusDmamap, size: int) -> DmaMemory:
    """The map's own memory, at least `size` bytes of it, which it keeps until it is destroyed."""
    if dmam.bounce is not None and dmam.bounce.view.size >= size:
        return dmam.bounce
    claim, spec = dmam.tag.root.claimed("bouncing"), dmam.map.spec
    bounce = claim.dma_alloc(bounce_spec(spec, size))
    if dmam.bounce is not None:
        dmam.bounce.free()
    dmam.bounce, dmam.bounce_view = bounce, memoryview(bounce.view)
    return bounce


def bounce_spec(spec: MapSpec, size: int, what: str = "bounce") -> MemorySpec:
    """Memory that a map can load `size` bytes of, whatever its segments may be.

    It is aligned so that a boundary cuts it as rarely as it can, and has fewer segments
    than the map by as many as the map's own limits will cut it into.
    """
    limit = min(spec.maxsegsz, spec.boundary or spec.maxsegsz)
    nsegs = max(1, spec.nsegments - -(-size // limit) + 1)
    alignment = PAGE_SIZE
    if spec.boundary:
        alignment = max(PAGE_SIZE, min(spec.boundary, 1 << (size - 1).bit_length()))
    return MemorySpec(size, alignment, 0, nsegs, spec.low, spec.high, f"{spec.name} {what}")


def copy_bounced(copies: Sequence[Copy], start: int, end: int, ops: int) -> None:
    """Copy what of [start, end) bounces, to or from the device as `ops` say."""
    for copy in copies:
        low, high = max(start, copy.start) - copy.start, min(end, copy.end) - copy.start
        if low < high:
            here, there = slice(low, high), slice(copy.offset + low, copy.offset + high)
            if ops & BUS_DMASYNC_PREWRITE:
                copy.bounce[there] = copy.buffer[here]
            else:
                copy.buffer[here] = copy.bounce[there]
