"""The seam, DMA's part: memory that a device may reach, and the maps that let it.

    Claim.dma_alloc -> DmaMemory   memory of the client's, with bus addresses; no device reaches it
    Claim.dma_map   -> DmaMap      loaded, it grants its function exactly what was loaded
    Adopter.dma_adopt -> DmaMemory   where there is that: pages of the client's own, not allocated

Physical addresses never cross this seam.  What a process may touch crosses it
as memory (and as descriptor and offset), what a device may touch as bus
addresses.  Memory is coherent; copying to and from buffers that no device can
reach is the client's business (`bus_dma.py`), so nothing here is called per sync.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from rumpci._dma import SharedMemory
from rumpci.host import Address

PAGE_SIZE = 4096
"""Memory is handed out, and granted to a device, in units of this many bytes."""
ADDRESS_MAX = (1 << 64) - 1
"""The highest bus address there could be."""


class Direction(enum.Flag):
    """What a device may do, named as the manual page does: from the memory's side.

    READ is a transfer from the device to memory (the device writes memory), WRITE
    one from memory to the device.
    """

    NONE = 0
    READ = enum.auto()
    WRITE = enum.auto()
    BOTH = READ | WRITE


class Segment(NamedTuple):
    """`ds_len` bytes at the bus address `ds_addr`: a bus_dma_segment_t."""

    ds_addr: int
    ds_len: int


@dataclass(frozen=True)
class MemorySpec:
    """What is asked of an allocation: bytes, and where on the bus it may lie.

    Each of at most `nsegs` segments starts at a multiple of `alignment` and crosses
    no multiple of `boundary` (0: no limit); all addresses are from `low` to `high`,
    both included.  `name` is for listings.
    """

    size: int
    alignment: int = PAGE_SIZE
    boundary: int = 0
    nsegs: int = 1
    low: int = 0
    high: int = ADDRESS_MAX
    name: str = ""


@dataclass(frozen=True)
class MapSpec:
    """What a map can hold: bytes, segments, bytes a segment, and where they may lie.

    `name` is for listings.
    """

    size: int
    nsegments: int
    maxsegsz: int
    boundary: int = 0
    low: int = 0
    high: int = ADDRESS_MAX
    name: str = ""


class Piece(NamedTuple):
    """`size` bytes from `offset` on of an allocation, to be loaded."""

    memory: DmaMemory
    offset: int
    size: int


class DmaMemory(Protocol):
    """An allocation: whole pages, zero at first, from `Claim.dma_alloc` to `free`.

    `segments` are where it lies on the bus; no device reaches it before a map has
    it loaded.  `view` is the memory itself, contiguous however many segments there
    are; after `free` (or the claim's end) it is scrap: reads zeros, changes nothing.
    """

    spec: MemorySpec
    segments: Sequence[Segment]
    view: SharedMemory

    def free(self) -> None:
        """Give it back.  Raises DmaBusy (EBUSY) while loaded, DeadDma (ENXIO) the second time."""


@runtime_checkable
class Adopter(Protocol):
    """What a claim may offer, too: its function can be let reach the client's own memory.

    At least `adopt_min` bytes of it are worth it; less is copied sooner.
    """

    adopt_min: int

    def dma_adopt(self, address: int, spec: MemorySpec) -> DmaMemory:
        """Bus addresses for `spec.size` bytes of this process, whole pages from `address` on.

        It has no `view`.  Whoever loads it keeps the memory until it is unloaded: then the
        device reaches what is there at the time of the load, or the load raises NoDmaMemory.
        Raises BadDma, DeadDma, DmaQuota, NoDmaMemory.
        """


class DmaMap(Protocol):
    """The right of the function to reach what is loaded, from `Claim.dma_map` to `destroy`."""

    spec: MapSpec

    def load(self, pieces: Sequence[Piece], direction: Direction) -> Sequence[Segment]:
        """Let the function reach the pieces, in this direction; where they are on the bus.

        Pages are the smallest that can be granted: one that a piece touches is granted
        whole, and belongs to its allocation whole.  If it raises, nothing changed.  Raises
        DmaBusy (EBUSY) if loaded, TooManySegments (EFBIG), BadDma (EINVAL), DeadDma (ENXIO).
        """

    def unload(self) -> None:
        """Take it back: when this returns no access gets through.  Raises BadDma if not loaded."""

    def destroy(self) -> None:
        """Give the map up.  Raises DmaBusy (EBUSY) while loaded, DeadDma (ENXIO)."""


@dataclass(frozen=True)
class Fault:
    """An access by a device that was blocked.

    `device` tried to read or write (`verb`, the device's view) at bus address `addr`;
    `who` held it; `reason` is the IOMMU's; `nearest` relates `addr` to the nearest
    allocation or map; `lost` says that there were more that were not recorded.
    """

    device: Address
    who: str
    addr: int
    verb: str
    reason: str
    nearest: str
    lost: bool = False

    def __str__(self) -> str:
        more = " (and more that were not recorded)" if self.lost else ""
        where = f"; {self.nearest}" if self.nearest else ""
        return (
            f"{self.who or 'nobody'} ({self.device}): DMA {self.verb} of bus address "
            f"{self.addr:#x} blocked: {self.reason}{where}{more}"
        )


@dataclass(frozen=True)
class DmaInfo:
    """One row of the mirror: an allocation (`kind` memory) or a map (`kind` map).

    `size` is in bytes (a map's: the most it can hold); `direction` is read, write,
    read+write or "" when nothing is granted; `segments` are where it is on the bus.
    """

    device: Address
    who: str
    kind: str
    name: str
    size: int
    segments: tuple[Segment, ...]
    direction: str = ""


@dataclass(frozen=True)
class DmaUsage:
    """What one client holds of its quotas: bytes of memory, and memory and maps together."""

    device: Address
    who: str
    bytes: int
    bytes_max: int
    objects: int
    objects_max: int


NOT_TOLD = -1
"""The `page` of a grant where the host does not tell."""


@dataclass(frozen=True)
class Grant:
    """One leaf of an IOMMU's tables, as the tables in memory have it now.

    `device` is whose table, `size` 4 KiB, 2 MiB or 1 GiB, `page` the address in the
    machine's memory, or NOT_TOLD.
    """

    device: Address
    addr: int
    size: int
    page: int
    direction: Direction
