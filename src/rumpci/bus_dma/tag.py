"""bus_dma(9): tags, and what all of a function's share."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rumpci.errors import BadDma, DeadDma
from rumpci.host import Claim
from rumpci.host_dma import ADDRESS_MAX, DmaMemory, Fault

if TYPE_CHECKING:
    from rumpci.bus_dma.map import BusDmamap

BUS_DMA_WAITOK = 0x000  # nothing here sleeps, with or without it
BUS_DMA_NOWAIT = 0x001
BUS_DMA_ALLOCNOW = 0x002  # bus_dmamap_create: take the memory for bouncing now
BUS_DMA_COHERENT = 0x004  # all memory is
BUS_DMA_STREAMING = 0x008  # there is no I/O cache
BUS_DMA_BUS1, BUS_DMA_BUS2, BUS_DMA_BUS3, BUS_DMA_BUS4 = 0x010, 0x020, 0x040, 0x080
BUS_DMA_READ = 0x100  # the device only writes memory: that is all that is granted
BUS_DMA_WRITE = 0x200  # the device only reads memory: that is all that is granted
BUS_DMA_NOCACHE = 0x400  # memory has no cache attributes here
BUS_DMA_PREFETCHABLE = 0x800
_FLAGS = 0xFFF


class DmaRoot:
    """What all tags of one attached function share: its claim, and memory that is mapped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.claim: Claim | None = None
        self.names = 0
        self._starts: list[int] = []
        self._mapped: list[Mapped] = []

    def claimed(self, tried: str) -> Claim:
        """The claim.  Raises DeadDma (ENXIO) before attach and after detach."""
        if self.claim is None:
            raise DeadDma(
                f"{tried} of {self.name}",
                "the function is not claimed",
                "use DMA from attach to detach only",
            )
        return self.claim

    def a_name(self, kind: str) -> str:
        """A name for what the driver did not name."""
        self.names += 1
        return f"{self.name} {kind}{self.names}"

    def find(self, address: int, size: int) -> Mapped | None:
        """The mapped allocation that holds these bytes of this process, if one does."""
        at = bisect_right(self._starts, address) - 1
        if (
            at >= 0
            and address + max(size, 1) <= self._starts[at] + self._mapped[at].memory.view.size
        ):
            return self._mapped[at]  # at least one byte: the next one may begin where this ends
        return None

    def add(self, memory: DmaMemory) -> None:
        """Note that an allocation is mapped (once more)."""
        start = memory.view.address
        if found := self.find(start, 0):
            found.times += 1
            return
        at = bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._mapped.insert(at, Mapped(memory, start))

    def remove(self, mapped: Mapped) -> None:
        """Note that it is mapped once less."""
        mapped.times -= 1
        if not mapped.times:
            at = self._mapped.index(mapped)
            del self._mapped[at], self._starts[at]


class Mapped:
    """An allocation that bus_dmamem_map gave to the driver, at `start` of this process."""

    def __init__(self, memory: DmaMemory, start: int) -> None:
        self.memory, self.start, self.times = memory, start, 1


class BusDmaTag:
    """A bus_dma_tag_t: the bus addresses from `low` to `high`, both included, of a function."""

    def __init__(self, root: DmaRoot, low: int = 0, high: int = ADDRESS_MAX) -> None:
        self.root, self.low, self.high = root, low, high

    def __repr__(self) -> str:
        return f"<{self.root.name} DMA addresses {self.low:#x} to {self.high:#x}>"

    def find(self, address: int, size: int) -> Mapped | None:
        """The mapped allocation that holds these bytes of this process, all at the tag's addresses.

        None if none does: such a buffer bounces.
        """
        mapped = self.root.find(address, size)
        if mapped is not None:
            for addr, length in mapped.memory.segments:
                if addr < self.low or addr + length - 1 > self.high:
                    return None
        return mapped


def bus_dmatag_subregion(tag: BusDmaTag, min_addr: int, max_addr: int, flags: int = 0) -> BusDmaTag:
    """A tag for the addresses of `tag` from `min_addr` to `max_addr`, both included.

    Raises BadDma (EINVAL) if there is none in both.
    """
    check_flags("bus_dmatag_subregion", flags)
    low, high = max(tag.low, min_addr), min(tag.high, max_addr)
    if not 0 <= min_addr <= max_addr or low > high:
        raise BadDma(
            f"bus_dmatag_subregion [{min_addr:#x}, {max_addr:#x}] of {tag!r}",
            "the tag has no such addresses",
            "both limits are included, as in [0, 0xffffff] for 24 bits",
        )
    return BusDmaTag(tag.root, low, high)


def bus_dmatag_destroy(tag: BusDmaTag) -> None:
    """Give a tag back; what was made through it stays until it is freed."""
    del tag


def bus_dma_faults(tag: BusDmaTag) -> Sequence[Fault]:
    """The device's accesses that were blocked since the last call.  Ours, not NetBSD's."""
    return tag.root.claimed("bus_dma_faults").dma_faults()


def check_tag(tried: str, tag: BusDmaTag, dmam: BusDmamap) -> None:
    """Raise BadDma (EINVAL) for a map of another function."""
    if dmam.tag.root is not tag.root:
        raise BadDma(f"{tried} of {dmam!r}", f"it is not {tag!r}'s", "use the tag it was made with")


def check_flags(tried: str, flags: int) -> None:
    """Raise BadDma (EINVAL) for flags that there are not."""
    if flags & ~_FLAGS:
        raise BadDma(f"{tried} with flags {flags:#x}", "unknown ones", "use BUS_DMA_*")
