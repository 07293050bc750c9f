"""What a faulting address has to do with what the client loaded, unloaded or freed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rumpci.host_dma import PAGE_SIZE, Direction, Segment

if TYPE_CHECKING:
    from rumpci.guard.dma.client import Client
    from rumpci.guard.dma.memory import GuardMemory

_FAR = 1 << 24  # bytes: further away, a name would mislead


class _Candidate(NamedTuple):
    """Something near: of those equally near, the one of the lowest rank is named."""

    distance: int
    rank: int
    text: str


def nearest(client: Client, addr: int, write: bool) -> str:
    """A few words, such as "96 bytes past the end of dmamap 'nvme0 sq1'"; "" if nothing is near.

    `addr` is where the page starts if the IOMMU tells no more.
    """
    found = min(_candidates(client, addr, write), default=None)
    return found.text if found and found.distance < _FAR else "it was never mapped"


def _candidates(client: Client, addr: int, write: bool) -> Iterator[_Candidate]:
    needed = Direction.READ if write else Direction.WRITE
    for dmamap in client.maps:
        other = "" if needed in dmamap.direction else f" for {dmamap.direction.name} only"
        yield from _near(dmamap.segments, addr, 0, f"dmamap {dmamap.spec.name!r}, loaded{other}")
    now = time.monotonic()
    for rank, past in enumerate(reversed(client.past), 1):
        text = f"{past.kind} {past.name!r}, {past.end} {(now - past.when) * 1000:.0f} ms ago"
        yield from _near(past.segments, addr, rank, text)
    for memory in client.memories:
        text = f"dmamem {memory.spec.name!r}{_how(memory, addr)}"
        yield from _near(memory.segments, addr, 1000, text)


def _how(memory: GuardMemory, addr: int) -> str:
    """What to say of memory when no map is as near."""
    if not memory.loads:
        return ", which no map has loaded"
    inside = any(start <= addr < start + size for start, size in memory.segments)
    return ", in a part that no map has loaded" if inside else ""


def _near(segments: Sequence[Segment], addr: int, rank: int, what: str) -> Iterator[_Candidate]:
    for start, size in segments:
        if start & -PAGE_SIZE <= addr < start + size:
            yield _Candidate(0, rank, f"inside {what}")
        elif addr >= start + size:
            past = addr - start - size
            yield _Candidate(past, rank, f"{past} bytes past the end of {what}")
        else:
            before = start - addr
            yield _Candidate(before, rank, f"{before} bytes before {what}")
