"""Many accesses of one call: one register, or `step` through a region; see _native.pyx."""

from __future__ import annotations

import struct
from operator import index
from typing import TYPE_CHECKING

from rumpci.errors import BadAccess
from rumpci.plain.access import CODES, BusSpaceHandle, direct, refuse, refuse_write

if TYPE_CHECKING:
    from typing_extensions import Buffer


def _borrow(datap: Buffer, count: int, width: int, what: str, *, write: bool) -> memoryview:
    """The caller's array as bytes: `count` elements of `width` bytes, or plain bytes."""
    if count < 0:
        raise BadAccess(what, f"count {count} is negative", "pass how many elements to move")
    try:
        view = memoryview(datap)
        flat = _flat(view, write=write)
    except (BufferError, TypeError, ValueError) as error:
        raise BadAccess(
            what,
            f"the data is no usable buffer ({error})",
            "pass a bytearray, an array.array or a memoryview",
        ) from error
    if count > view.nbytes // width or view.itemsize not in (1, width):
        raise BadAccess(
            what,
            f"{count} elements of {width} bytes do not fit a buffer of {view.nbytes} bytes with "
            f"elements of {view.itemsize}",
            f"pass at least {count * width} bytes, as bytes or {width}-byte elements",
        )
    return flat


def _flat(view: memoryview, *, write: bool) -> memoryview:
    if write and view.readonly:
        raise BufferError("it is read-only")
    if not view.c_contiguous:
        raise BufferError("it is not C-contiguous")
    return view if (view.format, view.ndim) == ("B", 1) else view.cast("B")


def read_many(
    tag: object,
    handle: BusSpaceHandle,
    offset: int,
    datap: Buffer,
    count: int,
    width: int,
    step: bool,
) -> None:
    """`count` reads of `width` bytes into `datap`: one register, or `step` through a region."""
    what = f"bus_space_read_multi/region_{width}"
    offset, count = index(offset), index(count)
    data = _borrow(datap, count, width, what, write=True)
    if count == 0:
        return
    span = width * count if step else width
    memory = direct(tag, handle, offset, span, width)
    if memory is not None:
        view, at = memory
        values = [view[at + n] for n in range(count)] if step else [view[at] for _ in range(count)]
        data[: count * width] = struct.pack(f"<{count}{CODES[width]}", *values)
        return
    refuse(what, tag, handle, offset, span, width)
    window = handle.region.window
    found = window.read_many(handle.start + offset, width, count, width if step else 0)
    if len(found) != count * width:
        raise AssertionError("the host returned another length than was asked")
    data[: count * width] = found


def write_many(
    tag: object,
    handle: BusSpaceHandle,
    offset: int,
    datap: Buffer,
    count: int,
    width: int,
    step: bool,
) -> None:
    """`count` writes of `width` bytes from `datap`: one register, or `step` through a region."""
    what = f"bus_space_write_multi/region_{width}"
    offset, count = index(offset), index(count)
    data = bytes(_borrow(datap, count, width, what, write=False)[: max(count, 0) * width])
    if count == 0:
        return
    span = width * count if step else width
    memory = direct(tag, handle, offset, span, width)
    if memory is not None and handle.region.writable:
        view, at = memory
        for value in struct.unpack(f"<{count}{CODES[width]}", data):
            view[at] = value
            at += step
        return
    refuse(what, tag, handle, offset, span, width)
    refuse_write(what, handle, offset)
    handle.region.window.write_many(handle.start + offset, width, width if step else 0, data)
