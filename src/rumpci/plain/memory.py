"""Memory that a driver shares with its devices, without native code; see _dma.pyx.

Where a buffer is in this process cannot be asked for in Python.  What can be: whether it is
all of what `SharedMemory` gave.  So that is loaded as it is, and a part of it bounces, as
memory of the driver's own does: a driver that syncs sees no difference.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FIRST, _APART = 1 << 40, 1 << 40
_addresses = itertools.count(_FIRST, _APART)


class SharedMemory(mmap.mmap):
    """A range of the file `fd` as memory, until `revoke`.

    `address` is a number that no other memory has.  Ranges that are not adjacent cannot be
    had as one (OSError, EOPNOTSUPP).  Views of what was revoked are not to be used: what
    they show is the file's business.
    """

    fd: int
    ranges: tuple[tuple[int, int], ...]
    live: bool
    address: int
    _start: int
    _size: int
    _parts: list[_Part]

    def __new__(cls, fd: int, ranges: Iterable[tuple[int, int]]) -> Self:
        """Map it."""
        told = tuple(ranges)
        start, length = _joined(told)
        made = super().__new__(cls, fd, length, offset=start)
        made.fd, made.ranges, made.live = fd, told, True
        made.address = next(_addresses)
        made._start, made._size, made._parts = start, length, []
        return made

    @property
    def size(self) -> int:  # type: ignore[override]  # of a file, by the class above
        """Its bytes."""
        return self._size

    def first(self, size: int) -> memoryview:
        """The first `size` bytes, so that they can be told from a part of them later."""
        if size == len(self):
            return memoryview(self)
        part = _Part(self.fd, size, offset=self._start)
        part.whole = self
        self._parts.append(part)
        return memoryview(part)

    def revoke(self) -> None:
        """Give the memory back, unless somebody still has a view.  Twice does nothing."""
        self.live = False
        for mapped in (*self._parts, self):
            with contextlib.suppress(BufferError):
                mapped.close()
        self._parts = []


class _Part(mmap.mmap):
    """The first bytes of `whole`, mapped once more."""

    whole: SharedMemory


class Flat:
    """A buffer as plain bytes, whatever its shape and format: `view`, `size`, `readonly`.

    `address` is 0 unless it is all of what a SharedMemory gave.  Raises BufferError for one
    that is not C-contiguous, ValueError for a format with a byte order, TypeError for what
    is none.
    """

    def __init__(self, buffer: Buffer) -> None:
        view = memoryview(buffer)
        if not view.c_contiguous:
            raise BufferError("the buffer is not C-contiguous")
        self._held = view  # what is loaded keeps its size
        if not view.nbytes:
            self.view = memoryview(b"")
        else:
            self.view = view if (view.format, view.ndim) == ("B", 1) else view.cast("B")
        self.size, self.readonly = view.nbytes, view.readonly
        self.address = _address(view)


def _address(view: memoryview) -> int:
    owner: object = view.obj
    if isinstance(owner, _Part) and view.nbytes == len(owner):
        return owner.whole.address
    if isinstance(owner, SharedMemory) and view.nbytes == len(owner):
        return owner.address
    return 0


def _joined(ranges: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Adjacent ranges as one: (offset, length).  Raises OSError (EOPNOTSUPP)."""
    start, length = ranges[0][0], 0
    for offset, size in ranges:
        if offset != start + length:
            raise OSError(
                errno.EOPNOTSUPP, "memory that is not in one piece needs rumpci's native modules"
            )
        length += size
    return start, length


def populate(address: int, size: int, /) -> bool:
    """False: memory that was not allocated is not given to devices as it is."""
    del address, size
    return False
