"""The pci(4) protocol, both ends: version, operations, structures, limits.

A request is a header and the operation's structure; the answer is a header and
the same structure with the fields that are answers filled in, or, when
`errno` is not 0, an `Error`.  On a Unix socket (SOCK_SEQPACKET) each is one
message, and descriptors travel beside the answer; on NetBSD the structure is
the argument of ioctl(2), and `errno` its result.

Handles are numbers that the server gave this connection; another's mean nothing.
Sizes and offsets are in bytes.  A function's address is packed as in
`pack_address`.  docs/pci4-protocol.md has each operation, its errors and its order.
"""

from __future__ import annotations

import enum

from rumpci.host import Address
from rumpci.pci4.wire import F, Message

VERSION = 1
"""What both ends have to speak."""
MAGIC = 0x34494350
"""The first word of every message: "PCI4"."""
NAME = 32
"""Bytes of a client's or a driver's name."""
TEXT = 1024
"""Bytes of each part of an error's text."""
DATA = 3584
"""Bytes of data in one access message."""
ACCESSES = 160
"""Accesses in one batch."""
VECTORS = 128
"""Interrupts in one allocation."""
RANGES = 100
"""Segments of an allocation, and ranges of its descriptor."""
PIECES = 50
"""Pieces that are loaded at once."""
LOADED = 150
"""Segments of what is loaded at once."""
FEW = 8
"""Segments of a piece that is loaded by itself."""
ROWS = 20
"""Rows of the mirror in one answer."""
SEGMENTS = 100
"""Segments of these rows together."""
LEAVES = 128
"""Leaves of an IOMMU's tables in one answer."""
SHIM = 1024
"""Bytes of a shim."""


class Op(enum.IntEnum):
    """The operations; a number is never used again for another.  55 and 58 were others."""

    VERSION = 1
    LIST = 2
    CONF_READ = 3
    CLAIM = 4
    RELEASE = 5
    CONF_WRITE = 6
    CLAIM_LIST = 7
    WINDOW_MAP = 16
    WINDOW_UNMAP = 17
    WINDOW_READ = 18
    WINDOW_WRITE = 19
    WINDOW_BATCH = 20
    WINDOW_PRESENT = 21
    WINDOW_BARRIER = 22
    WINDOW_ACCESS = 23
    INTR_COUNT = 32
    INTR_ALLOC = 33
    INTR_ESTABLISH = 34
    INTR_CONTROL = 35
    INTR_RELEASE = 36
    INTR_LIST = 37
    DMA_ALLOC = 48
    DMA_FREE = 49
    DMAMAP_CREATE = 50
    DMAMAP_LOAD = 51
    DMAMAP_UNLOAD = 52
    DMAMAP_DESTROY = 53
    DMA_FAULTS = 54
    DMA_USAGE = 56
    DMA_CHECK = 57
    DMAMAP_LOAD_PIECE = 59
    DMA_PAGE = 60
    IOMMU_PAGE = 61


class Control(enum.IntEnum):
    """What INTR_CONTROL does."""

    UNMASK = 0
    MASK = 1
    PENDING = 2
    DISESTABLISH = 3


class Holding(enum.IntFlag):
    """What CLAIM_LIST says of a function; ALLOWED: this client may claim it."""

    CLAIMED = 1
    TOLD = 2
    ALLOWED = 4


class Header(Message):
    """Before every structure: `serial` is the caller's, and comes back; `errno` is an answer's."""

    FIELDS = (F("magic", "u32"), F("op", "u32"), F("serial", "u32"), F("errno", "i32"))


class Error(Message):
    """Why an operation was refused: the error's class, and its text in three parts.

    `done` is how many accesses of a batch were made before the one that was refused.
    """

    FIELDS = (
        F("name", "char", 64), F("tried", "char", TEXT), F("why", "char", TEXT),
        F("remedy", "char", TEXT), F("done", "u32"), F("pad", "u32"),
    )  # fmt: skip


class Version(Message):
    """First of all: the client's version, then the server's, its features and its host's URL."""

    FIELDS = (F("version", "u32"), F("pad", "u32"), F("features", "u64"), F("url", "char", 512))


class List(Message):
    """Function number `index` of `total`; BARs by their number (`size` 0: none).

    `flags` of a BAR: 1 I/O space, 2 64-bit, 4 prefetchable.  `secondary` is -1 without a bus.
    """

    FIELDS = (
        F("index", "u32"), F("total", "u32"), F("address", "u32"), F("id", "u32"),
        F("class_", "u32"), F("header", "u32"), F("secondary", "i32"), F("pad", "u32"),
        F("bar_base", "u64", 6), F("bar_size", "u64", 6), F("bar_flags", "u32", 6),
        F("claimed_by", "char", NAME),
    )  # fmt: skip


class ClaimList(Message):
    """Row `index` of `total`: who holds a function, process `pid`; `flags`: see `Holding`."""

    FIELDS = (
        F("index", "u32"), F("total", "u32"), F("address", "u32"), F("flags", "u32"),
        F("uid", "u32"), F("pid", "i32"), F("who", "char", NAME),
    )  # fmt: skip


class ConfRead(Message):
    """Read 32 bits of any function's configuration space (`claim` 0), or a claimed one's view."""

    FIELDS = (F("claim", "u32"), F("address", "u32"), F("reg", "u32"), F("value", "u32"))


class ConfWrite(Message):
    """Write 32 bits of a claimed function's configuration space."""

    FIELDS = (F("claim", "u32"), F("reg", "u32"), F("value", "u32"), F("pad", "u32"))


class Claim(Message):
    """Take a function for `who`; `claim` is its handle."""

    FIELDS = (F("address", "u32"), F("claim", "u32"), F("who", "char", NAME))


class Handle(Message):
    """Operations on one handle: release, unmap, present, barrier, free, unload, destroy.

    `value` is the answer of those that have one.  INTR_RELEASE's handle is the claim.
    """

    FIELDS = (F("handle", "u32"), F("value", "u32"))


class WindowMap(Message):
    """Map `size` bytes at `offset` of a BAR.  `flags`: 1 writable.

    Where bytes [map_start, map_end) of the window are memory, the answer has its
    descriptor, to be mapped from `fd_offset` on.  Bytes [closed_start, closed_end) of the
    BAR are the guard's, if there are any: so a posted write there is refused before it is sent.
    """

    FIELDS = (
        F("claim", "u32"), F("bar", "u32"), F("offset", "u64"), F("size", "u64"),
        F("flags", "u32"), F("window", "u32"),
        F("map_start", "u64"), F("map_end", "u64"), F("fd_offset", "u64"),
        F("closed_start", "u64"), F("closed_end", "u64"),
    )  # fmt: skip


class WindowData(Message):
    """WINDOW_READ and WINDOW_WRITE: `count` accesses of `width` bytes, `step` bytes apart."""

    FIELDS = (
        F("window", "u32"), F("width", "u32"), F("position", "u64"), F("count", "u32"),
        F("step", "u32"), F("data", "u8", DATA),
    )  # fmt: skip


class WindowBatch(Message):
    """Single accesses in their order: `width` bytes, with 16 added for a write.

    `done` says how many were made; it stops at the first that is refused, and that one's error is
    the answer, with `done` in it.
    """

    FIELDS = (
        F("count", "u32"), F("done", "u32"),
        F("window", "u32", ACCESSES), F("how", "u32", ACCESSES),
        F("position", "u64", ACCESSES), F("value", "u64", ACCESSES),
    )  # fmt: skip


class WindowAccess(Message):
    """One access, as in `WindowBatch`."""

    FIELDS = (F("window", "u32"), F("how", "u32"), F("position", "u64"), F("value", "u64"))


class IntrCount(Message):
    """How many interrupts of a type (0 INTx, 1 MSI, 2 MSI-X) a claimed function has."""

    FIELDS = (F("claim", "u32"), F("type", "u32"), F("count", "u32"), F("pad", "u32"))


class IntrAlloc(Message):
    """Take the interrupts with these indices.

    The answer has a descriptor for each, in order: a socket that keeps messages apart, from
    which events are received, one or several `Event` at once.  `unit` is the name that they
    share: "ioapic0 pin 22" of INTx, "msix0" of "msix0 vec 1".
    """

    FIELDS = (
        F("claim", "u32"), F("type", "u32"), F("count", "u32"), F("pad", "u32"),
        F("index", "u32", VECTORS), F("intr", "u32", VECTORS), F("unit", "char", NAME),
    )  # fmt: skip


class IntrEstablish(Message):
    """Let an interrupt fire, with a shim of `length` bytes (0: none)."""

    FIELDS = (F("intr", "u32"), F("length", "u32"), F("shim", "u8", SHIM))


class IntrControl(Message):
    """See `Control`; `value` is the answer of PENDING."""

    FIELDS = (F("intr", "u32"), F("what", "u32"), F("value", "u32"), F("pad", "u32"))


class Event(Message):
    """One record of an interrupt, as it is read from its descriptor."""

    FIELDS = (
        F("sequence", "u64"), F("count", "u64"), F("vector", "u32"), F("words", "u32"),
        F("status", "u64", 4),
    )  # fmt: skip


class IntrList(Message):
    """Row `index` of `total` of a host's interrupts, for tools."""

    FIELDS = (
        F("index", "u32"), F("total", "u32"), F("address", "u32"), F("msi", "u32"),
        F("msix", "u32"), F("pad", "u32"), F("count", "u64"), F("name", "char", NAME),
        F("who", "char", NAME), F("state", "char", NAME),
    )  # fmt: skip


class DmaAlloc(Message):
    """Take memory.  The answer has a descriptor: `ranges` (offset, bytes) of it, in order."""

    FIELDS = (
        F("claim", "u32"), F("nsegs", "u32"), F("size", "u64"), F("alignment", "u64"),
        F("boundary", "u64"), F("low", "u64"), F("high", "u64"), F("name", "char", 64),
        F("memory", "u32"), F("count", "u32"), F("nranges", "u32"), F("pad", "u32"),
        F("seg_addr", "u64", RANGES), F("seg_len", "u64", RANGES),
        F("range_offset", "u64", RANGES), F("range_len", "u64", RANGES),
    )  # fmt: skip


class DmamapCreate(Message):
    """Take a map."""

    FIELDS = (
        F("claim", "u32"), F("nsegments", "u32"), F("size", "u64"), F("maxsegsz", "u64"),
        F("boundary", "u64"), F("low", "u64"), F("high", "u64"), F("name", "char", 64),
        F("map", "u32"), F("pad", "u32"),
    )  # fmt: skip


class DmamapLoad(Message):
    """Load pieces of memory; `direction` 1 READ, 2 WRITE, 3 both.  The answer has the segments."""

    FIELDS = (
        F("map", "u32"), F("direction", "u32"), F("npieces", "u32"), F("count", "u32"),
        F("memory", "u32", PIECES), F("offset", "u64", PIECES), F("length", "u64", PIECES),
        F("seg_addr", "u64", LOADED), F("seg_len", "u64", LOADED),
    )  # fmt: skip


class DmamapLoadPiece(Message):
    """As DmamapLoad, for one piece in few segments, as most loads are: a short message."""

    FIELDS = (
        F("map", "u32"), F("direction", "u32"), F("memory", "u32"), F("count", "u32"),
        F("offset", "u64"), F("length", "u64"), F("seg_addr", "u64", FEW), F("seg_len", "u64", FEW),
    )  # fmt: skip


class DmaFaults(Message):
    """The oldest fault of a claimed function that was not told yet; `valid` 0: there is none."""

    FIELDS = (
        F("claim", "u32"), F("valid", "u32"), F("device", "u32"), F("lost", "u32"),
        F("addr", "u64"), F("verb", "char", 8), F("who", "char", NAME),
        F("reason", "char", 256), F("nearest", "char", 256),
    )  # fmt: skip


class DmaPage(Message):
    """`count` rows of the mirror from number `index` of `total` on, the first from `segment` on.

    `kind` 0 memory, 1 a map; `name` and `who` 64 and 32 bytes for each row.  Segments that do
    not fit are asked for again, by row and `segment`.
    """

    FIELDS = (
        F("index", "u32"), F("segment", "u32"), F("total", "u32"), F("count", "u32"),
        F("device", "u32", ROWS), F("kind", "u32", ROWS), F("direction", "u32", ROWS),
        F("nsegs", "u32", ROWS), F("size", "u64", ROWS), F("name", "u8", 64 * ROWS),
        F("who", "u8", NAME * ROWS), F("seg_addr", "u64", SEGMENTS), F("seg_len", "u64", SEGMENTS),
    )  # fmt: skip


class DmaUsage(Message):
    """Row `index` of `total` of what clients hold."""

    FIELDS = (
        F("index", "u32"), F("total", "u32"), F("device", "u32"), F("pad", "u32"),
        F("bytes", "u64"), F("bytes_max", "u64"), F("objects", "u64"), F("objects_max", "u64"),
        F("who", "char", NAME),
    )  # fmt: skip


class DmaCheck(Message):
    """Difference `index` of `total` between the mirror and the IOMMU's tables, in words."""

    FIELDS = (F("index", "u32"), F("total", "u32"), F("text", "char", 512))


class IommuPage(Message):
    """`count` leaves of the IOMMU's tables from requester id and bus address on.

    `more` 1: there are others, from the answer's.  Memory addresses are not told.
    """

    FIELDS = (
        F("requester", "u32"), F("more", "u32"), F("addr", "u64"), F("count", "u32"),
        F("pad", "u32"), F("device", "u32", LEAVES), F("direction", "u32", LEAVES),
        F("leaf_addr", "u64", LEAVES), F("leaf_size", "u64", LEAVES),
    )  # fmt: skip


STRUCTURES: dict[Op, type[Message]] = {
    Op.VERSION: Version, Op.LIST: List, Op.CONF_READ: ConfRead, Op.CONF_WRITE: ConfWrite,
    Op.CLAIM: Claim, Op.CLAIM_LIST: ClaimList, Op.RELEASE: Handle,
    Op.WINDOW_MAP: WindowMap, Op.WINDOW_UNMAP: Handle,
    Op.WINDOW_READ: WindowData, Op.WINDOW_WRITE: WindowData, Op.WINDOW_BATCH: WindowBatch,
    Op.WINDOW_ACCESS: WindowAccess, Op.WINDOW_PRESENT: Handle, Op.WINDOW_BARRIER: Handle,
    Op.INTR_COUNT: IntrCount, Op.INTR_ALLOC: IntrAlloc, Op.INTR_ESTABLISH: IntrEstablish,
    Op.INTR_CONTROL: IntrControl, Op.INTR_RELEASE: Handle, Op.INTR_LIST: IntrList,
    Op.DMA_ALLOC: DmaAlloc, Op.DMA_FREE: Handle,
    Op.DMAMAP_LOAD_PIECE: DmamapLoadPiece, Op.DMAMAP_CREATE: DmamapCreate,
    Op.DMAMAP_LOAD: DmamapLoad, Op.DMAMAP_UNLOAD: Handle,
    Op.DMAMAP_DESTROY: Handle, Op.DMA_FAULTS: DmaFaults, Op.DMA_PAGE: DmaPage,
    Op.DMA_USAGE: DmaUsage, Op.DMA_CHECK: DmaCheck, Op.IOMMU_PAGE: IommuPage,
}  # fmt: skip
"""The structure of each operation, in both directions."""


def pack_address(address: Address) -> int:
    """A function's address as 32 bits: segment, bus, device, function."""
    segment, bus, device, function = address
    return segment << 16 | bus << 8 | device << 3 | function


def unpack_address(packed: int) -> Address:
    """What `pack_address` packed."""
    return Address(packed >> 16, packed >> 8 & 0xFF, packed >> 3 & 0x1F, packed & 7)
