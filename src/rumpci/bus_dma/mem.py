"""bus_dma(9): memory that devices can reach."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from rumpci._dma import Flat
from rumpci.bus_dma.tag import BusDmaTag, DmaRoot, check_flags
from rumpci.errors import BadDma, DeadDma, DmaBusy
from rumpci.host_dma import PAGE_SIZE, DmaMemory, MemorySpec


class BusDmaMemSegment(NamedTuple):
    """A segment of an allocation; `ds_addr` is opaque: load it, and give the device dm_segs."""

    ds_addr: int
    ds_len: int
    memory: DmaMemory
    offset: int
    root: DmaRoot


def bus_dmamem_alloc(
    tag: BusDmaTag,
    size: int,
    alignment: int,
    boundary: int,
    nsegs: int = 1,
    flags: int = 0,
    *,
    name: str = "",
) -> list[BusDmaMemSegment]:
    """Whole pages, zeroed, for `size` bytes, in at most `nsegs` segments.

    Each segment is aligned to `alignment` (a power of two, at least a page counts) and
    crosses no multiple of `boundary` (0: none; else a power of two, not below the size).
    `name` is for listings and faults.  Raises BadDma, NoDmaMemory, DmaQuota.
    """
    check_flags("bus_dmamem_alloc", flags)
    claim = tag.root.claimed("bus_dmamem_alloc")
    name = name or tag.root.a_name("dmamem")
    spec = MemorySpec(size, alignment, boundary, nsegs, tag.low, tag.high, name)
    memory, segs, offset = claim.dma_alloc(spec), list[BusDmaMemSegment](), 0
    for addr, length in memory.segments:
        segs.append(BusDmaMemSegment(addr, length, memory, offset, tag.root))
        offset += length
    return segs


def bus_dmamem_free(tag: BusDmaTag, segs: Sequence[BusDmaMemSegment]) -> None:
    """Give an allocation back.

    Raises DmaBusy (EBUSY) while it is mapped or loaded, DeadDma (ENXIO) the second time.
    """
    memory = _allocation("bus_dmamem_free", tag, segs)
    if tag.root.find(memory.view.address, 0):
        raise DmaBusy(
            f"bus_dmamem_free of {memory.spec.name!r}", "it is mapped", "bus_dmamem_unmap it first"
        )
    memory.free()


def bus_dmamem_map(
    tag: BusDmaTag, segs: Sequence[BusDmaMemSegment], size: int, flags: int = 0
) -> memoryview:
    """The first `size` bytes of an allocation as memory, contiguous.  Raises BadDma (EINVAL)."""
    check_flags("bus_dmamem_map", flags)
    tag.root.claimed("bus_dmamem_map")
    memory = _living("bus_dmamem_map", tag, segs)
    if not 0 < size <= memory.view.size:
        raise BadDma(
            f"bus_dmamem_map of {size} bytes of {memory.spec.name!r}",
            f"it has {memory.view.size}",
            "map what was allocated",
        )
    tag.root.add(memory)
    return memory.view.first(size)


def bus_dmamem_unmap(tag: BusDmaTag, kva: memoryview, size: int) -> None:
    """End a view that bus_dmamem_map gave; views made from it see it as long as it is allocated.

    Raises BadDma (EINVAL) for what is none.
    """
    mapped = None
    with contextlib.suppress(ValueError, TypeError, BufferError):  # released, or none at all
        flat = Flat(kva)
        mapped = tag.root.find(flat.address, size)
        if mapped and flat.address != mapped.start:
            mapped = None
        del flat
    if mapped is None:
        raise BadDma("bus_dmamem_unmap", "nothing is mapped there", "unmap what was mapped, once")
    tag.root.remove(mapped)
    with contextlib.suppress(BufferError):  # somebody still looks at it
        kva.release()


def bus_dmamem_mmap(
    tag: BusDmaTag, segs: Sequence[BusDmaMemSegment], off: int, prot: int = 0, flags: int = 0
) -> tuple[int, int]:
    """What mmap(2) maps to reach the page at `off`: (descriptor, offset in it).

    NetBSD returns a cookie for d_mmap.  Raises BadDma (EINVAL) outside the allocation.
    """
    del prot
    check_flags("bus_dmamem_mmap", flags)
    tag.root.claimed("bus_dmamem_mmap")
    view, at = _living("bus_dmamem_mmap", tag, segs).view, off
    for offset, length in view.ranges:
        if 0 <= at < length and at % PAGE_SIZE == 0:
            return view.fd, offset + at
        at -= length
    raise BadDma(
        f"bus_dmamem_mmap at {off:#x}", f"there are {view.size:#x} bytes", "pass a page's offset"
    )


def _living(tried: str, tag: BusDmaTag, segs: Sequence[BusDmaMemSegment]) -> DmaMemory:
    """The allocation that `segs` are.  Raises DeadDma (ENXIO) if it was freed."""
    memory = _allocation(tried, tag, segs)
    if not memory.view.live:
        raise DeadDma(
            f"{tried} of {memory.spec.name!r}", "it was freed", "use memory until it is freed"
        )
    return memory


def _allocation(tried: str, tag: BusDmaTag, segs: Sequence[BusDmaMemSegment]) -> DmaMemory:
    """The allocation of the tag's function that `segs` are, all of them and in their order."""
    memory = segs[0].memory if segs else None
    if memory is None or [(s.ds_addr, s.ds_len) for s in segs] != list(memory.segments):
        raise BadDma(
            f"{tried} of {len(segs)} segments",
            "they are not those of one allocation",
            "pass all that bus_dmamem_alloc returned",
        )
    if segs[0].root is not tag.root:
        raise BadDma(
            f"{tried} of {memory.spec.name!r}",
            f"it is not {tag!r}'s",
            "use the tag it was made with",
        )
    return memory
