"""Buffers that the device reaches where they are, on hosts that offer it (host_dma.Adopter).

    |<- head ->|<------ whole pages ------>|<- tail ->|
      bounces    adopted: nothing is copied   bounces

An IOMMU grants whole pages.  What shares its page with other things of the driver's
bounces, at the same place of a page, so that segments begin and end as if all of the buffer
were loaded.  It is no more than a short cut: whatever does not go so bounces as a whole.
What was adopted stays with its map: the same buffer is often loaded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rumpci._dma import Flat
from rumpci.bus_dma.bounce import Copy, bounce_spec, take_bounce
from rumpci.errors import DmaQuota, NoDmaMemory, TooManySegments
from rumpci.host_dma import PAGE_SIZE, Direction, DmaMemory, Piece, Segment

if TYPE_CHECKING:
    from rumpci.bus_dma.map import BusDmamap

ALIGNMENT = 16
"""What malloc's memory is a multiple of; what is less aligned devices may not take as it is."""
Flats = Sequence[tuple[Flat, int]]


class _Bounced(NamedTuple):
    """Bytes [start, end) of a buffer, the `number`th; `at` in the map, `offset` in its bounce."""

    number: int
    start: int
    end: int
    at: int
    offset: int


@dataclass
class Adoption:
    """How buffers at these places are loaded: nothing is `adopted` if they have to bounce."""

    key: Sequence[tuple[int, int]]
    adopted: list[DmaMemory] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    bounced: list[_Bounced] = field(default_factory=list)
    bounce: DmaMemory | None = None

    def stale(self, bounce: DmaMemory | None) -> bool:
        """Whether its map bounces through other memory now."""
        return bool(self.bounced) and self.bounce is not bounce

    def forget(self) -> None:
        """Give the bus addresses back; the memory is its driver's."""
        adopted, self.adopted = self.adopted, []
        for memory in adopted:
            memory.free()


def load_direct(
    dmam: BusDmamap, flats: Flats, direction: Direction
) -> tuple[Sequence[Segment], list[Copy]] | None:
    """Load buffers with as few copies as can be; None, and nothing changed, if all has to bounce.

    Raises what the map's load raises, but for what a bounce may mend.
    """
    adoption, key = dmam.adoption, [(flat.address, length) for flat, length in flats]
    if adoption is None or adoption.key != key or adoption.stale(dmam.bounce):
        adoption = _adopt(dmam, flats, key)
    if not adoption.adopted:
        return None
    try:
        segments = dmam.map.load(adoption.pieces, direction)
    except (TooManySegments, NoDmaMemory):
        adoption.forget()
        return None
    return segments, [
        Copy(at, at + end - start, flats[n][0].view[start:end], dmam.bounce_view, offset)
        for n, start, end, at, offset in adoption.bounced
    ]


def _adopt(dmam: BusDmamap, flats: Flats, key: Sequence[tuple[int, int]]) -> Adoption:
    """The map's adoption from now on."""
    if dmam.adoption is not None:
        dmam.adoption.forget()
    made = dmam.adoption = Adoption(key)
    try:
        cuts = [_cut(dmam, flat.address, length, made) for flat, length in flats]
        if made.adopted:
            _lay_out(dmam, key, cuts, made)
    except (NoDmaMemory, DmaQuota):
        made.forget()
    except BaseException:
        made.forget()
        dmam.adoption = None
        raise
    return made


class _Cut(NamedTuple):
    """A buffer, of which [start, end) is in `memory` from `offset` on; the rest bounces."""

    start: int
    end: int
    memory: DmaMemory | None = None
    offset: int = 0


def _cut(dmam: BusDmamap, address: int, length: int, made: Adoption) -> _Cut:
    """What of a buffer need not bounce, adopted if it has to be."""
    known = dmam.tag.find(address, length)
    if known is not None:
        return _Cut(0, length, known.memory, address - known.start)
    start, end = -address % PAGE_SIZE, length - (address + length) % PAGE_SIZE
    adopter = dmam.adopter
    if adopter is None or end - start < adopter.adopt_min or address % ALIGNMENT:
        return _Cut(0, 0)
    spec = bounce_spec(dmam.map.spec, end - start, "buffer")
    memory = adopter.dma_adopt(address + start, spec)
    made.adopted.append(memory)
    return _Cut(start, end, memory)


def _lay_out(
    dmam: BusDmamap, key: Sequence[tuple[int, int]], cuts: Sequence[_Cut], made: Adoption
) -> None:
    """Where each part is for the map: what bounces is at the same place of a page as it was."""
    parts, used, at = list[Piece | _Bounced](), 0, 0
    for number, ((address, length), cut) in enumerate(zip(key, cuts, strict=True)):
        for start, end in ((0, cut.start), (cut.start, cut.end), (cut.end, length)):
            if start == end:
                continue
            if cut.memory is not None and start == cut.start:
                parts.append(Piece(cut.memory, cut.offset, end - start))
            else:
                used += (address + start - used) % PAGE_SIZE
                parts.append(_Bounced(number, start, end, at + start, used))
                used += end - start
        at += length
    made.bounced = [part for part in parts if isinstance(part, _Bounced)]
    bounce = made.bounce = take_bounce(dmam, used) if used else None
    for part in parts:
        if isinstance(part, Piece):
            made.pieces.append(part)
        elif bounce is not None:
            made.pieces.append(Piece(bounce, part.offset, part.end - part.start))
