"""bus_dma(9): maps, and what is loaded into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import TYPE_CHECKING

from rumpci import _native
from rumpci._dma import Flat
from rumpci.bus_dma.bounce import (
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_POSTWRITE,
    BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE,
    Copy,
    copy_bounced,
    place,
    take_bounce,
)
from rumpci.bus_dma.direct import Adoption, load_direct
from rumpci.bus_dma.mem import BusDmaMemSegment
from rumpci.bus_dma.tag import (
    BUS_DMA_ALLOCNOW,
    BUS_DMA_READ,
    BUS_DMA_WRITE,
    BusDmaTag,
    check_flags,
    check_tag,
)
from rumpci.errors import BadDma, DeadDma, DmaBusy
from rumpci.host_dma import (
    Adopter,
    Direction,
    DmaMap,
    DmaMemory,
    MapSpec,
    Piece,
    Segment as BusDmaSegment,
)
from rumpci.mbuf import Mbuf

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PRE = BUS_DMASYNC_PREREAD | BUS_DMASYNC_PREWRITE
_POST = BUS_DMASYNC_POSTREAD | BUS_DMASYNC_POSTWRITE
_SYNCS = frozenset(
    {_PRE, _POST, BUS_DMASYNC_PREREAD, BUS_DMASYNC_PREWRITE}
    | {BUS_DMASYNC_POSTREAD, BUS_DMASYNC_POSTWRITE}
)
_COPYING = {
    Direction.BOTH: BUS_DMASYNC_PREWRITE | BUS_DMASYNC_POSTREAD,
    Direction.READ: BUS_DMASYNC_POSTREAD,
    Direction.WRITE: BUS_DMASYNC_PREWRITE,
}
"""Which syncs copy what bounces, by what the device may do."""
_DIRECTIONS = {0: Direction.BOTH, BUS_DMA_READ: Direction.READ, BUS_DMA_WRITE: Direction.WRITE}


class BusDmamap:
    """A bus_dmamap_t: `dm_segs` are where the device finds what is loaded.

    `dm_mapsize` is how much that is, 0 when nothing is; `dm_maxsegsz` as it was created.
    """

    __slots__ = (
        "adopter",
        "adoption",
        "bounce",
        "bounce_view",
        "copies",
        "copying",
        "dm_mapsize",
        "dm_maxsegsz",
        "dm_nsegs",
        "dm_segs",
        "held",
        "live",
        "map",
        "tag",
    )

    def __init__(self, tag: BusDmaTag, inner: DmaMap, adopter: Adopter | None = None) -> None:
        self.tag, self.map = tag, inner
        self.dm_maxsegsz = inner.spec.maxsegsz
        self.adopter = adopter
        self.adoption: Adoption | None = None
        self.bounce: DmaMemory | None = None
        self.bounce_view = memoryview(b"")
        self.live = True
        self.clear()

    def clear(self) -> None:
        """Forget what was loaded."""
        self.dm_mapsize = self.dm_nsegs = 0
        self.dm_segs: Sequence[BusDmaSegment] = ()
        self.copying = 0
        self.copies: Sequence[Copy] = ()
        self.held: Sequence[object] = ()

    def __repr__(self) -> str:
        return f"<dmamap {self.map.spec.name!r}>"


def bus_dmamap_create(
    tag: BusDmaTag,
    size: int,
    nsegments: int,
    maxsegsz: int,
    boundary: int,
    flags: int = 0,
    *,
    name: str = "",
) -> BusDmamap:
    """A map for transfers of at most `size` bytes in `nsegments` segments.

    Each has at most `maxsegsz` bytes and crosses no multiple of `boundary` (0: none).
    `name` is for listings and faults.  Raises BadDma, DmaQuota, NoDmaMemory (with
    BUS_DMA_ALLOCNOW).
    """
    check_flags("bus_dmamap_create", flags)
    claim = tag.root.claimed("bus_dmamap_create")
    name = name or tag.root.a_name("dmamap")
    spec = MapSpec(size, nsegments, maxsegsz, boundary, tag.low, tag.high, name)
    adopter = claim if isinstance(claim, Adopter) else None
    dmam = BusDmamap(tag, claim.dma_map(spec), adopter)
    if flags & BUS_DMA_ALLOCNOW:
        try:
            take_bounce(dmam, size)
        except BaseException:
            dmam.map.destroy()
            raise
    return dmam


def bus_dmamap_destroy(tag: BusDmaTag, dmam: BusDmamap) -> None:
    """Give a map up.  Raises DmaBusy (EBUSY) while it is loaded, DeadDma (ENXIO) if it is gone."""
    check_tag("bus_dmamap_destroy", tag, dmam)
    dmam.map.destroy()
    dmam.live = False
    if dmam.adoption is not None:
        dmam.adoption.forget()
    if dmam.bounce is not None:
        dmam.bounce.free()
        dmam.bounce = None


def bus_dmamap_load(
    tag: BusDmaTag,
    dmam: BusDmamap,
    buf: Buffer,
    buflen: int | None = None,
    p: None = None,
    flags: int = 0,
) -> None:
    """Let the device reach the first `buflen` bytes (None: all) of a C-contiguous buffer.

    `p` is None: there is one address space.  A read-only buffer needs BUS_DMA_WRITE.
    Raises DmaBusy (EBUSY) if loaded, BadDma (EINVAL) if it is larger than the map,
    TooManySegments (EFBIG), NoDmaMemory and DmaQuota (ENOMEM) if it must bounce.
    """
    del p
    _load("bus_dmamap_load", tag, dmam, [(buf, buflen)], flags)


def bus_dmamap_load_uio(
    tag: BusDmaTag, dmam: BusDmamap, uio: Iterable[Buffer], flags: int = 0
) -> None:
    """Load several buffers, one after the other; empty ones are skipped.  See bus_dmamap_load."""
    _load("bus_dmamap_load_uio", tag, dmam, [(buf, None) for buf in uio], flags)


def bus_dmamap_load_mbuf(tag: BusDmaTag, dmam: BusDmamap, chain: Mbuf, flags: int = 0) -> None:
    """Load a chain of mbufs; empty ones are skipped.  See bus_dmamap_load."""
    _load("bus_dmamap_load_mbuf", tag, dmam, [(m.m_data, m.m_len) for m in chain], flags)


def bus_dmamap_load_raw(
    tag: BusDmaTag,
    dmam: BusDmamap,
    segs: Sequence[BusDmaMemSegment],
    size: int,
    flags: int = 0,
) -> None:
    """Load the first `size` bytes of what bus_dmamem_alloc returned, mapped or not.

    Unlike a buffer it never bounces: it must lie where the tag reaches.  See bus_dmamap_load.
    """
    tried = "bus_dmamap_load_raw"
    direction = _check_load(tried, tag, dmam, size, flags)
    left = size
    pieces: list[Piece] = []
    for segment in segs:
        if left > 0:
            pieces.append(Piece(segment.memory, segment.offset, min(left, segment.ds_len)))
            left -= segment.ds_len
    if left > 0:
        raise BadDma(f"{tried} of {size} bytes", f"the segments lack {left}", "load what is there")
    _loaded(dmam, size, dmam.map.load(pieces, direction))


def load_bounce(tag: BusDmaTag, dmam: BusDmamap, size: int, flags: int = 0) -> int:
    """Load `size` bytes of a map's own memory; where they are in this process.

    For who copies by itself what bounces there.  See bus_dmamap_load.
    """
    direction = _check_load("bus_dmamap_load", tag, dmam, size, flags)
    bounce = take_bounce(dmam, size)
    _loaded(dmam, size, dmam.map.load([Piece(bounce, 0, size)], direction))
    dmam.copying = _COPYING[direction]
    return bounce.view.address


def bus_dmamap_unload(tag: BusDmaTag, dmam: BusDmamap) -> None:
    """Take what was loaded from the device; nothing is copied.

    Raises BadDma (EINVAL) if nothing is loaded.
    """
    check_tag("bus_dmamap_unload", tag, dmam)
    dmam.map.unload()
    dmam.clear()


def bus_dmamap_sync(tag: BusDmaTag, dmam: BusDmamap, offset: int, len: int, ops: int) -> None:  # noqa: A002
    """Make [offset, offset + len) of what is loaded the same for device and driver.

    Before the device reads, PREWRITE; after it wrote, POSTREAD; before it writes,
    PREREAD; after it read, POSTWRITE.  Only here is a buffer that bounces copied:
    to the device by PREWRITE, from it by POSTREAD, unless BUS_DMA_READ or WRITE said
    that there is no such transfer.  Raises BadDma (EINVAL) outside the map, and for PRE
    mixed with POST.
    """
    if (
        offset < 0 or len < 0 or offset + len > dmam.dm_mapsize or ops not in _SYNCS
        or dmam.tag.root is not tag.root or tag.root.claim is None or not dmam.dm_mapsize
    ):  # fmt: skip
        raise _bad_sync(tag, dmam, offset, len, ops)
    _native.fence()
    if ops & dmam.copying:
        copy_bounced(dmam.copies, offset, offset + len, ops)
        _native.fence()


def _load(
    tried: str,
    tag: BusDmaTag,
    dmam: BusDmamap,
    buffers: Iterable[tuple[Buffer, int | None]],
    flags: int,
) -> None:
    flats: list[tuple[Flat, int]] = []
    size, readonly = 0, False
    for buffer, length in buffers:
        flat, length = _flat(tried, buffer, length)  # noqa: PLW2901
        if length:
            flats.append((flat, length))
            size, readonly = size + length, readonly or flat.readonly
    direction = _check_load(tried, tag, dmam, size, flags)
    if readonly and direction is not Direction.WRITE:
        raise _readonly(tried, dmam)
    direct = None
    if dmam.adopter is not None and size >= dmam.adopter.adopt_min:
        direct = load_direct(dmam, flats, direction)
    if direct is not None:
        segments, copies = direct
    else:
        pieces, copies = place(dmam, flats)
        segments = dmam.map.load(pieces, direction)
    _loaded(dmam, size, segments)
    dmam.held = flats
    if copies:
        dmam.copies, dmam.copying = copies, _COPYING[direction]


def _readonly(tried: str, dmam: BusDmamap) -> BadDma:
    return BadDma(
        f"{tried} into {dmam!r}",
        "the buffer is read-only, and the device could write it",
        "pass BUS_DMA_WRITE, or a bytearray",
    )


def _flat(tried: str, buffer: Buffer, length: int | None) -> tuple[Flat, int]:
    """A buffer as bytes, and how many of them.  Raises BadDma (EINVAL)."""
    try:
        flat = Flat(buffer)
        length = flat.size if length is None else index(length)
    except (BufferError, TypeError, ValueError) as error:
        raise BadDma(
            tried, str(error), "pass a C-contiguous buffer, such as a bytearray"
        ) from error
    if not 0 <= length <= flat.size:
        raise BadDma(f"{tried} of {length} bytes", f"the buffer has {flat.size}", "load less")
    return flat, length


def _check_load(tried: str, tag: BusDmaTag, dmam: BusDmamap, size: int, flags: int) -> Direction:
    check_flags(tried, flags)
    check_tag(tried, tag, dmam)
    tag.root.claimed(tried)
    if not dmam.live:
        raise DeadDma(f"{tried} into {dmam!r}", "it was destroyed", "use a map until then")
    if dmam.dm_mapsize:
        raise DmaBusy(f"{tried} into {dmam!r}", "it is loaded", "bus_dmamap_unload it first")
    if not 0 < size <= dmam.map.spec.size:
        raise BadDma(
            f"{tried} of {size} bytes into {dmam!r}",
            f"it was created for 1 to {dmam.map.spec.size}",
            "create it for the largest transfer",
        )
    wanted = flags & (BUS_DMA_READ | BUS_DMA_WRITE)
    return _DIRECTIONS.get(wanted, Direction.BOTH)


def _loaded(dmam: BusDmamap, size: int, segments: Sequence[BusDmaSegment]) -> None:
    dmam.dm_segs, dmam.dm_nsegs, dmam.dm_mapsize = segments, len(segments), size


def _bad_sync(tag: BusDmaTag, dmam: BusDmamap, offset: int, length: int, ops: int) -> Exception:
    """The error for a bus_dmamap_sync that was refused."""
    tried = f"bus_dmamap_sync of [{offset:#x}, {offset + length:#x}) of {dmam!r}"
    if not dmam.dm_mapsize:
        return BadDma(tried, "nothing is loaded", "load it first")
    if tag.root.claim is None:
        return DeadDma(tried, "the device was detached", "use DMA from attach to detach only")
    if dmam.tag.root is not tag.root:
        return BadDma(tried, f"it is not {tag!r}'s", "use the tag it was made with")
    if not 0 < ops <= _PRE | _POST:
        return BadDma(f"{tried} with {ops:#x}", "no operation", "use BUS_DMASYNC_*")
    if ops & _PRE and ops & _POST:
        return BadDma(f"{tried} with {ops:#x}", "PRE is mixed with POST", "make two calls")
    return BadDma(tried, f"{dmam.dm_mapsize:#x} bytes are loaded", "sync inside them")
