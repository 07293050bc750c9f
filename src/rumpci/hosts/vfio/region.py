"""Regions of a device: BARs and configuration space, through its descriptor or mapped.

What is not mapped is read and written by pread and pwrite: the kernel makes one access
of the width that is asked (1, 2 or 4 bytes), in memory and I/O space, so ports need no
privilege.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from rumpci._native import Mapping, fence
from rumpci.errors import NotSupported
from rumpci.host_dma import PAGE_SIZE
from rumpci.hosts.vfio import abi
from rumpci.hosts.vfio.abi import Request
from rumpci.machines.machine import BarAccess

_ANSWER = 4096
Range = tuple[int, int]


class MappedBar:
    """A BAR by a window's own mapping of it, from `offset` on; elsewhere, and later, by `bar`.

    Who is served the window has each of its accesses made here: in one, of 8 bytes, too.
    """

    def __init__(self, mapping: Mapping, bar: BarAccess, offset: int) -> None:
        self._mapping, self._bar, self._offset = mapping, bar, offset

    def read(self, offset: int, width: int) -> int:
        """See machine.BarAccess."""
        value = self._mapping.read(offset - self._offset, width)
        return self._bar.read(offset, width) if value is None else value

    def write(self, offset: int, width: int, value: int) -> None:
        """See machine.BarAccess."""
        if not self._mapping.write(offset - self._offset, width, value):
            self._bar.write(offset, width, value)

    def read_many(self, offset: int, width: int, count: int, step: int) -> bytes:
        """See machine.BarAccess."""
        return read_each(self.read, offset, width, count, step)

    def write_many(self, offset: int, width: int, step: int, data: bytes) -> None:
        """See machine.BarAccess."""
        write_each(self.write, offset, width, step, data)

    def barrier(self) -> None:
        """See machine.BarAccess."""
        fence()
        self._bar.barrier()


def read_each(
    read: Callable[[int, int], int], offset: int, width: int, count: int, step: int
) -> bytes:
    """See machine.BarAccess.read_many, by single reads."""
    return b"".join(read(offset + i * step, width).to_bytes(width, "little") for i in range(count))


def write_each(
    write: Callable[[int, int, int], None], offset: int, width: int, step: int, data: bytes
) -> None:
    """See machine.BarAccess.write_many, by single writes."""
    for i in range(len(data) // width):
        value = int.from_bytes(data[i * width : (i + 1) * width], "little")
        write(offset + i * step, width, value)


@dataclass(frozen=True)
class Region:
    """One region: `size` bytes at `offset` of the descriptor `fd`; `areas` can be mapped."""

    fd: int
    size: int
    offset: int
    flags: int
    areas: tuple[Range, ...] = field(default=())

    @classmethod
    def of(cls, fd: int, index: int) -> Region:
        """What the kernel says of region `index` of a device.  Raises OSError."""
        answer = bytearray(_ANSWER)
        abi.RegionInfo.from_buffer(answer).argsz = _ANSWER
        abi.RegionInfo.from_buffer(answer).index = index
        fcntl.ioctl(fd, Request.DEVICE_GET_REGION_INFO, answer)
        info = abi.RegionInfo.from_buffer_copy(answer)
        areas = [(0, info.size)] if info.flags & abi.REGION_MMAP else []
        if info.flags & abi.REGION_CAPS:
            for capid, at in abi.capabilities(answer, info.cap_offset):
                if capid == abi.REGION_CAP_SPARSE and info.flags & abi.REGION_MMAP:
                    areas = abi.sparse_areas(answer, at)
        return cls(fd, info.size, info.offset, info.flags, tuple(areas))

    def read(self, offset: int, width: int) -> int:
        """See machine.BarAccess.  What is not decoded, or gone, reads as ones."""
        self._check_width(width, offset)
        try:
            data = os.pread(self.fd, width, self.offset + offset)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENXIO, errno.ENODEV):
                raise
            data = b""
        return int.from_bytes(data, "little") if len(data) == width else (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        """See machine.BarAccess.  What is not decoded, or gone, takes nothing."""
        self._check_width(width, offset)
        try:
            os.pwrite(self.fd, value.to_bytes(width, "little"), self.offset + offset)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENXIO, errno.ENODEV):
                raise

    def read_many(self, offset: int, width: int, count: int, step: int) -> bytes:
        """See machine.BarAccess."""
        return read_each(self.read, offset, width, count, step)

    def write_many(self, offset: int, width: int, step: int, data: bytes) -> None:
        """See machine.BarAccess."""
        write_each(self.write, offset, width, step, data)

    def barrier(self) -> None:
        """See machine.BarAccess: a pwrite has left the processor when it returns.

        What the bus still holds, a read of the same function pushes; that is the driver's.
        """

    def _check_width(self, width: int, offset: int) -> None:
        if width == 8:  # kernels before 6.10 would make two accesses of it
            raise NotSupported(
                f"an access of 8 bytes at {offset:#x}",
                "the kernel makes accesses of at most 4 bytes where a BAR cannot be mapped",
                "make two of 4 bytes",
            )

    def mappable(self, offset: int, size: int) -> Range | None:
        """The largest [start, end) of [offset, offset + size) that can be mapped; None: nothing.

        Where pages begin and end is mmap's business: a BAR smaller than a page can be mapped
        when it has its page for itself, which the kernel says.
        """
        parts = ((max(offset, low), min(offset + size, high)) for low, high in self.areas)
        found = max(parts, key=lambda part: part[1] - part[0], default=None)
        return found if found and found[0] < found[1] else None

    def map(self, offset: int, size: int, *, at: int) -> Mapping | None:
        """See machine.Machine.map_bar."""
        found = self.mappable(offset, size)
        if found is None:
            return None
        start, end = found
        base = start & -PAGE_SIZE
        try:
            memory = mmap.mmap(
                self.fd, end - base, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE,
                offset=self.offset + base,
            )  # fmt: skip
        except OSError:
            return None  # it works through the descriptor, too
        return Mapping(memoryview(memory)[start - base :], at + start - offset)
