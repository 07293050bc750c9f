"""BARs of a function as the files `resourceN` of sysfs.

Memory is mapped: the kernel has no other way.  Ports are read and written by pread and pwrite,
one access of the width that is asked (1, 2, 4), so they need no I/O privilege.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path

from rumpci import _native
from rumpci._native import BusSpaceHandle, Mapping, Region
from rumpci.host import Bar, Space
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.model.access import Registers
from rumpci.machines.uio import errors

_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV)
_READS = {
    1: _native.bus_space_read_1, 2: _native.bus_space_read_2,
    4: _native.bus_space_read_4, 8: _native.bus_space_read_8,
}  # fmt: skip
_WRITES = {
    1: _native.bus_space_write_1, 2: _native.bus_space_write_2,
    4: _native.bus_space_write_4, 8: _native.bus_space_write_8,
}  # fmt: skip


class PortBar(Registers):
    """A BAR in I/O space."""

    def __init__(self, path: Path, tried: str) -> None:
        self._fd = open_file(path, tried)

    def read(self, offset: int, width: int) -> int:
        """See BarAccess.  What is not decoded, or gone, reads as ones."""
        try:
            data = os.pread(self._fd, width, offset)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            data = b""
        return int.from_bytes(data, "little") if len(data) == width else (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        """See BarAccess."""
        try:
            os.pwrite(self._fd, value.to_bytes(width, "little"), offset)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def map(self, offset: int, size: int, *, at: int, writable: bool) -> Mapping | None:
        """See Machine.map_bar: ports are never memory."""
        del offset, size, at, writable
        return None

    def close(self) -> None:
        """Close the file.  Doing it twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class MemoryBar(Registers):
    """Registers in memory: `size` bytes, `skip` into what `fd` maps at `offset` (whole pages).

    It takes the descriptors: `fd` and one that is for reading only.
    """

    def __init__(self, fd: int, readonly: int, size: int, *, offset: int = 0, skip: int = 0):
        self._fds = [fd, readonly]
        self._fd, self._readonly, self._start = fd, readonly, offset
        self._skip, self._size = skip, size
        length = -(-(skip + size) // PAGE_SIZE) * PAGE_SIZE
        self._map = mmap.mmap(fd, length, offset=offset)
        self._view = memoryview(self._map)[skip : skip + size]
        self._mapping = Mapping(self._view)
        self._handle = BusSpaceHandle(self, Region(_Whole(self._mapping, size)), 0, size)

    @classmethod
    def of(cls, path: Path, bar: Bar, tried: str) -> MemoryBar:
        """A BAR by its file.  One that is smaller than a page begins somewhere in its page."""
        fd = open_file(path, tried)
        try:
            readonly = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return cls(fd, readonly, bar.size, skip=bar.base % PAGE_SIZE)
        except OSError as error:
            os.close(fd)
            raise errors.cannot_open(tried, path, error) from error

    def read(self, offset: int, width: int) -> int:
        """See BarAccess."""
        return _READS[width](self, self._handle, offset)

    def write(self, offset: int, width: int, value: int) -> None:
        """See BarAccess."""
        _WRITES[width](self, self._handle, offset, value)

    def map(self, offset: int, size: int, *, at: int, writable: bool) -> Mapping | None:
        """See Machine.map_bar."""
        fd = self._fd if writable else self._readonly
        start = self._start + self._skip + offset
        return Mapping(self._view[offset : offset + size], at, fd=fd, fd_offset=start)

    def close(self) -> None:
        """Close the files; what is mapped stays until nobody has it.  Twice does nothing."""
        fds, self._fds = self._fds, []
        self._mapping.revoke()
        with contextlib.suppress(BufferError):  # somebody still has it mapped
            self._view.release()
            self._map.close()
        for fd in fds:
            os.close(fd)


class _Whole:
    """All of a BAR as a window, for the native accessors."""

    offset, writable = 0, True

    def __init__(self, mapping: Mapping, size: int) -> None:
        self.mapping, self.size = mapping, size


Resource = PortBar | MemoryBar


def open_bar(directory: Path, bar: Bar, tried: str) -> Resource:
    """A BAR of the function in `directory`.  Raises HostUnavailable, HostRefused."""
    path = directory / f"resource{bar.index}"
    return PortBar(path, tried) if bar.space is Space.IO else MemoryBar.of(path, bar, tried)


def open_file(path: Path, tried: str) -> int:
    """A file of sysfs, for reading and writing.  Raises HostUnavailable, HostRefused."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise errors.cannot_open(tried, path, error) from error
