"""Memory that stays where it is, and where that is.

A file in memory is mapped and its pages are

    collapsed   where the kernel can (6.1 and later), into blocks of 2 MiB that are contiguous
    pinned      as a buffer of an io_uring: the kernel moves no page that is pinned for long
    locked      (mlock) where there is no io_uring: then pages stay in memory, but compaction,
                NUMA balancing and memory hot-plug may move them to another place of it
    found       in /proc/self/pagemap, which tells root where each page is

Source: Linux, Documentation/core-api/pin_user_pages.rst, case 2; io_uring_register(2);
madvise(2), MADV_COLLAPSE; Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
from collections.abc import Iterable, Iterator

from rumpci.errors import NoDmaMemory
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.bank import bank_file
from rumpci.machines.machine import Extent
from rumpci.machines.uio import errors

HUGE = 2 << 20
_COLLAPSE, _POPULATE_WRITE = 25, 23  # madvise(2)
_IO_URING_SETUP, _IO_URING_REGISTER, _REGISTER_BUFFERS = 425, 427, 0
_PARAMS, _BUFFER_MAX = 120, 1 << 30
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1
_FIXED = 0x10
_FINDING = "finding where memory for DMA is"
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class WiredPages:
    """The `size` bytes (a multiple of 2 MiB) of the file `fd`.

    `pinned` says that no page can move; `extents` is where they are.  Raises NoDmaMemory.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._resources = contextlib.ExitStack()
        self.fd = bank_file(self._resources, "rumpci-uio", size)
        try:
            self._base = self._map()
            self._pagemap = self._open_pagemap()
            self._fill()
            self.pinned = self._pin()
            if not self.pinned:
                self._lock()
            self.extents = list(_joined(enumerate(self._frames(0, size))))
        except BaseException:
            self.close()
            raise

    def _map(self) -> int:
        """Map the file where blocks of 2 MiB can be blocks."""
        nothing = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        place = _mmap(None, self.size + HUGE, 0, nothing, -1)
        self._resources.callback(_libc.munmap, ctypes.c_void_p(place), self.size + HUGE)
        base = -(-place // HUGE) * HUGE
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        return _mmap(base, self.size, rights, mmap.MAP_SHARED | _FIXED, self.fd)

    def _open_pagemap(self) -> int:
        """The kernel's word on where pages are.  Raises NoDmaMemory if it has none for us."""
        try:
            fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.no_pagemap(_FINDING) from error
        self._resources.callback(os.close, fd)
        own = ctypes.create_string_buffer(b"here", PAGE_SIZE)
        (entry,) = _entries(fd, ctypes.addressof(own), 1)
        if not entry & _FRAME:
            raise errors.no_pagemap(_FINDING)
        return fd

    def _fill(self) -> None:
        """Have all pages, in blocks where that can be: it is no error if it cannot."""
        for at in range(self._base, self._base + self.size, HUGE):
            self._advise(at, HUGE, _POPULATE_WRITE)
            self._advise(at, HUGE, _COLLAPSE)

    @staticmethod
    def _advise(at: int, size: int, advice: int) -> None:
        _libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), advice)

    def _pin(self) -> bool:
        """Make the pages buffers of an io_uring, which holds them until it is closed."""
        params = ctypes.create_string_buffer(_PARAMS)
        ring = _libc.syscall(_IO_URING_SETUP, 1, params)
        if ring < 0:
            return False
        self._resources.callback(os.close, ring)
        starts = range(0, self.size, _BUFFER_MAX)
        buffers = (_Vector * len(starts))(
            *(_Vector(self._base + at, min(_BUFFER_MAX, self.size - at)) for at in starts)
        )
        done = _libc.syscall(_IO_URING_REGISTER, ring, _REGISTER_BUFFERS, buffers, len(buffers))
        return bool(done == 0)

    def _lock(self) -> None:
        if _libc.mlock(ctypes.c_void_p(self._base), ctypes.c_size_t(self.size)):
            limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
            raise errors.not_wired("taking memory for DMA", self.size, limit)

    def _frames(self, offset: int, size: int) -> list[int]:
        """The physical addresses of the pages of [offset, offset + size) of the file."""
        entries = _entries(self._pagemap, self._base + offset, size // PAGE_SIZE)
        if not all(entry & _PRESENT and entry & _FRAME for entry in entries):
            raise errors.no_pagemap(_FINDING)
        return [(entry & _FRAME) * PAGE_SIZE for entry in entries]

    def stays(self, extent: Extent) -> bool:
        """Whether the pages of an extent are still where it says."""
        frames = self._frames(extent.offset, extent.size)
        return frames == list(range(extent.start, extent.start + extent.size, PAGE_SIZE))

    def close(self) -> None:
        """Let the memory go.  Closing twice does nothing."""
        self._resources.close()


def _entries(pagemap: int, address: int, count: int) -> memoryview:
    """The pagemap's words on `count` pages of this process."""
    data = os.pread(pagemap, count * 8, address // PAGE_SIZE * 8)
    return memoryview(data.ljust(count * 8, b"\0")).cast("Q")


def _mmap(at: int | None, size: int, rights: int, flags: int, fd: int) -> int:
    place = _libc.mmap(at, size, rights, flags, fd, 0)
    if place in (None, ctypes.c_void_p(-1).value):
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        raise NoDmaMemory("mapping memory for DMA", str(error), "free some, or ask for less")
    return int(place)


def _joined(frames: Iterable[tuple[int, int]]) -> Iterator[Extent]:
    """(page of the file, physical address) of each page as extents, in the file's order."""
    found: Extent | None = None
    for page, start in frames:
        if found and found.start + found.size == start:
            found = found._replace(size=found.size + PAGE_SIZE)
            continue
        if found:
            yield found
        found = Extent(start, page * PAGE_SIZE, PAGE_SIZE)
    if found:
        yield found
