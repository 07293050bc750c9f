"""bus_space(9): a device's registers, one call for one access.

Offsets and sizes are in bytes; values are in host order; `datap` is any
buffer of plain bytes or of elements of the function's width.  Functions raise
where C would return an errno or crash:

    OutOfWindow     EFAULT   outside the handle
    BadAccess       EINVAL   misaligned, the wrong tag, a buffer that does not fit
    ReadOnlyWindow  EACCES   a write through BUS_SPACE_MAP_READONLY
    ProtectedRange  EPERM    the MSI-X table
    DeadWindow      ENXIO    after unmap, detach, reset or unplug
    ValueTooWide    ERANGE   a value that the width cannot hold
    MachineDied     EIO      a machine that ended in the middle

The little-endian PCI bus and the hosts supported have one byte order, so the
_stream_ functions are the plain ones.

Source: NetBSD bus_space(9).  Differences: docs/netbsd-map.md.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rumpci import _native
from rumpci._native import (
    BusSpaceHandle as BusSpaceHandle,
    Region,
    bus_space_read_1 as bus_space_read_1,
    bus_space_read_2 as bus_space_read_2,
    bus_space_read_4 as bus_space_read_4,
    bus_space_read_8 as bus_space_read_8,
    bus_space_write_1 as bus_space_write_1,
    bus_space_write_2 as bus_space_write_2,
    bus_space_write_4 as bus_space_write_4,
    bus_space_write_8 as bus_space_write_8,
)
from rumpci.errors import (
    AccessFault,
    BadAccess,
    BadRange,
    NoSuchBar,
    NotClaimed,
    NotSupported,
)
from rumpci.host import Bar, Claim, Space, Window
from rumpci.host_platform import PlatformClaim

if TYPE_CHECKING:
    from typing_extensions import Buffer

if sys.byteorder != "little":
    raise ImportError("rumpci supports little-endian hosts only (docs/netbsd-map.md, bus_space)")

BUS_SPACE_MAP_CACHEABLE = 0x01
BUS_SPACE_MAP_LINEAR = 0x02
BUS_SPACE_MAP_PREFETCHABLE = 0x04
BUS_SPACE_MAP_READONLY = 0x100  # ours: the guard refuses every write
BUS_SPACE_BARRIER_READ = 0x01
BUS_SPACE_BARRIER_WRITE = 0x02


class BusSpaceTag:
    """A bus_space_tag_t: one address space (memory or I/O) of one attached function."""

    def __init__(self, space: Space, name: str) -> None:
        self.space = space
        self.name = name
        self.claim: Claim | PlatformClaim | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.space.value} space>"

    def claimed(self, tried: str) -> Claim | PlatformClaim:
        """The claim behind the tag.  Raises NotClaimed (EPERM) before attach and after detach."""
        if self.claim is None:
            raise NotClaimed(
                f"{tried} through {self!r}",
                "the function is not claimed",
                "map registers in attach, not in match, and not after detach",
            )
        return self.claim


# ---- mapping --------------------------------------------------------------


def bus_space_map(tag: BusSpaceTag, addr: int, size: int, flags: int = 0) -> BusSpaceHandle:
    """Map `size` bytes at bus address `addr`, which must lie in one BAR of the tag's function.

    Raises NoSuchBar (ENXIO) if no BAR holds them, NotSupported (EOPNOTSUPP) for
    BUS_SPACE_MAP_LINEAR where it is no plain memory, NotClaimed, ProtectedRange.
    """
    claim = tag.claimed("bus_space_map")
    for bar in claim.function.bars:
        if bar.space is tag.space and bar.base <= addr and addr + size <= bar.base + bar.size:
            return map_bar(tag, bar, addr - bar.base, size, flags)
    raise NoSuchBar(
        f"bus_space_map of {size:#x} bytes at {addr:#x} through {tag!r}",
        f"no {tag.space.value} BAR of {claim.function.address} holds them",
        "map what pci_mapreg_info reports, or use pci_mapreg_map",
    )


def map_bar(tag: BusSpaceTag, bar: Bar, offset: int, size: int, flags: int) -> BusSpaceHandle:
    """Map part of a BAR: what bus_space_map and pci_mapreg_map have in common."""
    writable = not flags & BUS_SPACE_MAP_READONLY
    window = tag.claimed("bus_space_map").window(bar.index, offset, size, writable=writable)
    handle = BusSpaceHandle(tag, Region(window), 0, size)
    if flags & BUS_SPACE_MAP_LINEAR and not handle.mapped:
        bus_space_unmap(tag, handle, size)
        raise _not_linear("bus_space_map", handle)
    return handle


def bus_space_unmap(tag: BusSpaceTag, handle: BusSpaceHandle, size: int) -> None:
    """Unmap the whole of what bus_space_map returned; its subregions die with it.

    Raises DeadWindow (ENXIO) the second time, BadRange (EINVAL) for a part of it.
    """
    window: Window = handle.window
    _native.check("bus_space_unmap", tag, handle, 0, 0)
    if (handle.start, handle.size) != (0, window.size) or size != window.size:
        raise BadRange(
            f"bus_space_unmap of {size:#x} bytes of {handle!r}",
            f"{window.size:#x} bytes were mapped",
            "unmap the handle and size that were mapped; a subregion needs no unmap",
        )
    handle.kill()
    window.unmap()


def bus_space_subregion(
    tag: BusSpaceTag, handle: BusSpaceHandle, offset: int, size: int
) -> BusSpaceHandle:
    """A handle for `size` bytes at `offset` of `handle`, sharing its mapping.

    Raises OutOfWindow (EFAULT) outside it, BadRange (EINVAL) for a size below 1.
    """
    if size < 1:
        raise BadRange(
            f"bus_space_subregion of {size:#x} bytes of {handle!r}",
            "a subregion has at least one byte",
            "pass its size in bytes",
        )
    _native.check("bus_space_subregion", tag, handle, offset, size)
    return BusSpaceHandle(tag, handle.region, handle.start + offset, size)


def bus_space_vaddr(tag: BusSpaceTag, handle: BusSpaceHandle) -> memoryview:
    """The handle's registers as memory, where the host can map them.

    For memory-like BARs: one use of it is not one bus access, and it outlives the
    window until it is released.  Raises NotSupported (EOPNOTSUPP).
    """
    _native.check("bus_space_vaddr", tag, handle, 0, 0)
    mapping, window = _linear("bus_space_vaddr", handle), handle.window
    start = mapping.fd_offset + handle.start - mapping.start
    skip = start % mmap.ALLOCATIONGRANULARITY
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if window.writable else 0)
    whole = mmap.mmap(mapping.fd, handle.size + skip, prot=protection, offset=start - skip)
    return memoryview(whole)[skip:]


def bus_space_mmap(
    tag: BusSpaceTag, handle: BusSpaceHandle, off: int, prot: int = 0, flags: int = 0
) -> tuple[int, int]:
    """What mmap(2) maps to reach `off` of the handle: (descriptor, offset in it).

    NetBSD takes an address, and returns a cookie for d_mmap.  Raises NotSupported
    (EOPNOTSUPP) where each access is a call.
    """
    del prot, flags
    _native.check("bus_space_mmap", tag, handle, off, 1)
    mapping = _linear("bus_space_mmap", handle)
    return mapping.fd, mapping.fd_offset + handle.start + off - mapping.start


def _not_linear(tried: str, handle: BusSpaceHandle) -> NotSupported:
    return NotSupported(
        f"{tried} of {handle!r}",
        "this host makes every access to it a call",
        "use bus_space_read and write, or a host that maps (rumpci list shows which)",
    )


def _linear(tried: str, handle: BusSpaceHandle) -> _native.Mapping:
    """The memory behind a handle.  Raises NotSupported (EOPNOTSUPP), DeadWindow (ENXIO)."""
    window: Window = handle.window
    mapping = window.mapping
    if not handle.mapped or mapping is None or mapping.fd < 0:
        window.present()  # a dead window has no memory either: it says so itself
        raise _not_linear(tried, handle)
    return mapping


def bus_space_is_equal(tag1: BusSpaceTag, tag2: BusSpaceTag) -> bool:
    """Whether both tags are the same space of the same function."""
    return tag1 is tag2


def bus_space_handle_is_equal(
    tag: BusSpaceTag, handle1: BusSpaceHandle, handle2: BusSpaceHandle
) -> bool:
    """Whether both handles start at the same register of the same mapping."""
    same = handle1.region is handle2.region and handle1.start == handle2.start
    return same and handle1.tag is handle2.tag is tag


def bus_space_barrier(
    tag: BusSpaceTag,
    handle: BusSpaceHandle,
    offset: int,
    length: int,
    flags: int = BUS_SPACE_BARRIER_READ | BUS_SPACE_BARRIER_WRITE,
) -> None:
    """Order accesses before and after it; with BARRIER_WRITE, posted writes have arrived.

    Accesses never overtake each other here.
    """
    _native.check("bus_space_barrier", tag, handle, offset, length)
    _native.fence()
    if flags & BUS_SPACE_BARRIER_WRITE and not handle.mapped:
        handle.window.barrier()


# ---- one access, for who has its width as a number of bytes -------------------

Read = Callable[[BusSpaceTag, BusSpaceHandle, int], int]
Write = Callable[[BusSpaceTag, BusSpaceHandle, int, int], None]

READS: dict[int, Read] = {
    1: bus_space_read_1, 2: bus_space_read_2, 4: bus_space_read_4, 8: bus_space_read_8
}  # fmt: skip
WRITES: dict[int, Write] = {
    1: bus_space_write_1, 2: bus_space_write_2, 4: bus_space_write_4, 8: bus_space_write_8
}  # fmt: skip

# ---- multi, region, set, copy, peek: count accesses, in order ----------------

Many = Callable[[BusSpaceTag, BusSpaceHandle, int, "Buffer", int], None]
SetMany = Callable[[BusSpaceTag, BusSpaceHandle, int, int, int], None]
CopyRegion = Callable[[BusSpaceTag, BusSpaceHandle, int, BusSpaceHandle, int, int], None]
F = TypeVar("F", bound=Callable[..., object])


def _named(function: F, name: str, doc: str) -> F:
    """Give a function made for one width the name and text that the manual page gives it."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}  bus_space(9)."
    return function


def _where(step: bool) -> str:
    return "successive registers from `offset` on" if step else "one register at `offset`"


def _many(verb: str, width: int, *, step: bool) -> Many:
    native = _native.read_many if verb == "read" else _native.write_many

    def move(t: BusSpaceTag, h: BusSpaceHandle, offset: int, datap: Buffer, count: int) -> None:
        native(t, h, offset, datap, count, width, step)

    return _named(
        move,
        f"bus_space_{verb}_{'region' if step else 'multi'}_{width}",
        f"{verb.title()} `count` values of {8 * width} bits, {_where(step)}, using `datap`.",
    )


def _set_many(width: int, *, step: bool) -> SetMany:
    name = f"bus_space_set_{'region' if step else 'multi'}_{width}"

    def fill(t: BusSpaceTag, h: BusSpaceHandle, offset: int, value: int, count: int) -> None:
        data = _native.pack(name, h, offset, value, width)
        if step and count > 0:  # before the data grows to what no window holds
            _native.check(name, t, h, offset, count * width, width)
        _native.write_many(t, h, offset, data * max(count, 0), count, width, step)

    return _named(fill, name, f"Write `value` of {8 * width} bits `count` times: {_where(step)}.")


def _copy_region(width: int, read: Read, write: Write) -> CopyRegion:
    name = f"bus_space_copy_region_{width}"

    def copy(
        t: BusSpaceTag, srch: BusSpaceHandle, srco: int, dsth: BusSpaceHandle, dsto: int, count: int
    ) -> None:
        if count < 0:
            raise BadAccess(name, f"count {count} is negative", "pass how many values to copy")
        _native.check(name, t, srch, srco, count * width, width)
        _native.check(name, t, dsth, dsto, count * width, width, write=True)
        backward = srch.start + srco < dsth.start + dsto
        for i in reversed(range(count)) if backward else range(count):
            write(t, dsth, dsto + i * width, read(t, srch, srco + i * width))

    return _named(copy, name, f"Copy `count` values of {8 * width} bits; ranges may overlap.")


def _no_answer(name: str, handle: BusSpaceHandle, offset: int) -> AccessFault:
    return AccessFault(
        f"{name} at {offset:#x} of {handle!r}",
        "no device answered",
        "the device is unplugged, powered down, or its decoding is off (PCI_COMMAND_STATUS_REG)",
    )


def _peek(width: int, read: Read) -> Read:
    name = f"bus_space_peek_{width}"

    def peek(t: BusSpaceTag, h: BusSpaceHandle, offset: int) -> int:
        value = read(t, h, offset)
        if value == (1 << 8 * width) - 1 and not h.window.present():
            raise _no_answer(name, h, offset)
        return value

    return _named(peek, name, f"Read {8 * width} bits; AccessFault (EFAULT) if nothing answers.")


def _poke(width: int, write: Write) -> Write:
    name = f"bus_space_poke_{width}"

    def poke(t: BusSpaceTag, h: BusSpaceHandle, offset: int, value: int) -> None:
        _native.check(name, t, h, offset, width, width)
        if not h.window.present():
            raise _no_answer(name, h, offset)
        write(t, h, offset, value)

    return _named(poke, name, f"Write {8 * width} bits; AccessFault (EFAULT) if nothing answers.")


bus_space_read_multi_1 = _many("read", 1, step=False)
bus_space_read_multi_2 = _many("read", 2, step=False)
bus_space_read_multi_4 = _many("read", 4, step=False)
bus_space_read_multi_8 = _many("read", 8, step=False)
bus_space_read_region_1 = _many("read", 1, step=True)
bus_space_read_region_2 = _many("read", 2, step=True)
bus_space_read_region_4 = _many("read", 4, step=True)
bus_space_read_region_8 = _many("read", 8, step=True)
bus_space_write_multi_1 = _many("write", 1, step=False)
bus_space_write_multi_2 = _many("write", 2, step=False)
bus_space_write_multi_4 = _many("write", 4, step=False)
bus_space_write_multi_8 = _many("write", 8, step=False)
bus_space_write_region_1 = _many("write", 1, step=True)
bus_space_write_region_2 = _many("write", 2, step=True)
bus_space_write_region_4 = _many("write", 4, step=True)
bus_space_write_region_8 = _many("write", 8, step=True)
bus_space_set_multi_1 = _set_many(1, step=False)
bus_space_set_multi_2 = _set_many(2, step=False)
bus_space_set_multi_4 = _set_many(4, step=False)
bus_space_set_multi_8 = _set_many(8, step=False)
bus_space_set_region_1 = _set_many(1, step=True)
bus_space_set_region_2 = _set_many(2, step=True)
bus_space_set_region_4 = _set_many(4, step=True)
bus_space_set_region_8 = _set_many(8, step=True)
bus_space_copy_region_1 = _copy_region(1, bus_space_read_1, bus_space_write_1)
bus_space_copy_region_2 = _copy_region(2, bus_space_read_2, bus_space_write_2)
bus_space_copy_region_4 = _copy_region(4, bus_space_read_4, bus_space_write_4)
bus_space_copy_region_8 = _copy_region(8, bus_space_read_8, bus_space_write_8)
bus_space_peek_1 = _peek(1, bus_space_read_1)
bus_space_peek_2 = _peek(2, bus_space_read_2)
bus_space_peek_4 = _peek(4, bus_space_read_4)
bus_space_peek_8 = _peek(8, bus_space_read_8)
bus_space_poke_1 = _poke(1, bus_space_write_1)
bus_space_poke_2 = _poke(2, bus_space_write_2)
bus_space_poke_4 = _poke(4, bus_space_write_4)
bus_space_poke_8 = _poke(8, bus_space_write_8)

# ---- stream variants: no byte-order conversion, hence the same functions ------

bus_space_read_stream_1, bus_space_read_stream_2 = bus_space_read_1, bus_space_read_2
bus_space_read_stream_4, bus_space_read_stream_8 = bus_space_read_4, bus_space_read_8
bus_space_write_stream_1, bus_space_write_stream_2 = bus_space_write_1, bus_space_write_2
bus_space_write_stream_4, bus_space_write_stream_8 = bus_space_write_4, bus_space_write_8
bus_space_read_multi_stream_1 = bus_space_read_multi_1
bus_space_read_multi_stream_2 = bus_space_read_multi_2
bus_space_read_multi_stream_4 = bus_space_read_multi_4
bus_space_read_multi_stream_8 = bus_space_read_multi_8
bus_space_write_multi_stream_1 = bus_space_write_multi_1
bus_space_write_multi_stream_2 = bus_space_write_multi_2
bus_space_write_multi_stream_4 = bus_space_write_multi_4
bus_space_write_multi_stream_8 = bus_space_write_multi_8
bus_space_read_region_stream_1 = bus_space_read_region_1
bus_space_read_region_stream_2 = bus_space_read_region_2
bus_space_read_region_stream_4 = bus_space_read_region_4
bus_space_read_region_stream_8 = bus_space_read_region_8
bus_space_write_region_stream_1 = bus_space_write_region_1
bus_space_write_region_stream_2 = bus_space_write_region_2
bus_space_write_region_stream_4 = bus_space_write_region_4
bus_space_write_region_stream_8 = bus_space_write_region_8
