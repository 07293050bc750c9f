"""Exact-width access to windows without native code: what `_native.pyx` is, in Python.

A load or a store is an item of a memoryview of that width, which is one access of the
processor: slices, and formats with a byte order, are several, or of bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rumpci.errors import BadAccess, DeadWindow, OutOfWindow, ReadOnlyWindow, ValueTooWide

if TYPE_CHECKING:
    from typing_extensions import Buffer

CODES: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""What memoryview and struct call an element of so many bytes."""
_LOCK = threading.Lock()
F = TypeVar("F", bound=Callable[..., Any])


class Mapping:
    """Bytes [start, end) of a window as plain memory, until `revoke`; see _native.pyx."""

    def __init__(self, buffer: Buffer, start: int = 0, *, fd: int = -1, fd_offset: int = 0) -> None:
        view = memoryview(buffer)
        if view.readonly:
            raise BufferError("the memory cannot be written")
        self._bytes = view.cast("B")
        self.start, self.end = start, start + self._bytes.nbytes
        self.fd, self.fd_offset = fd, fd_offset
        self.address = 0
        self._views: dict[tuple[int, int], memoryview] = {}

    def read(self, position: int, width: int, /) -> int | None:
        """`width` bytes there, in one access; None where nothing is mapped."""
        if position < self.start or position > self.end - width:
            return None
        view, at = self.place(position, width)
        return int(view[at])

    def write(self, position: int, width: int, value: int, /) -> bool:
        """Write them, in one access; False, and nothing was written, where nothing is mapped."""
        if position < self.start or position > self.end - width:
            return False
        view, at = self.place(position, width)
        view[at] = value
        return True

    def place(self, position: int, width: int) -> tuple[memoryview, int]:
        """Elements of `width` bytes, and which of them is at a position that is mapped."""
        at, phase = divmod(position - self.start, width)
        view = self._views.get((width, phase))
        if view is None:
            whole = (self._bytes.nbytes - phase) // width * width
            view = self._bytes[phase : phase + whole].cast(CODES[width])
            self._views[width, phase] = view
        return view, at

    def revoke(self) -> None:
        """Take the memory away: the next access through any handle finds it gone."""
        self.end = self.start
        while self._views:
            self._views.popitem()[1].release()
        self._bytes.release()


class Region:
    """What one bus_space_map made; its subregions share it and die with it."""

    def __init__(self, window: Any) -> None:
        self.window = window
        self.mapping: Mapping | None = window.mapping
        self.phase: int = window.offset
        self.writable = bool(window.writable)
        self.live = True


class BusSpaceHandle:
    """A bus_space_handle_t: `size` bytes of a window, from `start` on."""

    def __init__(self, tag: object, region: Region, start: int, size: int) -> None:
        self.tag, self.region, self.start, self.size = tag, region, start, size

    @property
    def window(self) -> Any:
        """The window of the seam that this handle reaches."""
        return self.region.window

    @property
    def live(self) -> bool:
        """Whether the handle can still be used; False after bus_space_unmap."""
        return self.region.live

    @property
    def mapped(self) -> bool:
        """Whether all of it is plain memory: no call per access."""
        mapping = self.region.mapping
        if mapping is None:
            return False
        return mapping.start <= self.start and self.start + self.size <= mapping.end

    def kill(self) -> None:
        """End this handle and its subregions (bus_space_unmap)."""
        self.region.live = False

    def __repr__(self) -> str:
        label = self.region.window.label
        return f"<{label} [{self.start:#x}, {self.start + self.size:#x})>"


def direct(
    tag: object, h: BusSpaceHandle, offset: int, span: int, width: int
) -> tuple[memoryview, int] | None:
    """The memory behind a well-formed access, or None: not memory, or not well-formed."""
    region, position = h.region, h.start + offset
    mapping = region.mapping
    if mapping is None or tag is not h.tag or not region.live:
        return None
    if offset < 0 or offset > h.size - span or (position + region.phase) & (width - 1):
        return None
    if position < mapping.start or position > mapping.end - span:
        return None
    return mapping.place(position, width)


def _tried(what: str, h: BusSpaceHandle, offset: int) -> str:
    return f"{what} at {offset:#x} of {h!r}"


def refuse(what: str, tag: object, h: BusSpaceHandle, offset: int, span: int, width: int) -> None:
    """Raise for an access that is malformed, whatever it would reach."""
    if tag is not h.tag:
        raise BadAccess(
            _tried(what, h, offset),
            "the handle was mapped through another tag",
            "pass the tag that bus_space_map or pci_mapreg_map returned with it",
        )
    if not h.region.live:
        raise DeadWindow(
            _tried(what, h, offset),
            "the handle was unmapped",
            "map it again, or stop using it before bus_space_unmap",
        )
    if span < 0 or offset < 0 or offset > h.size - span:
        raise OutOfWindow(
            _tried(what, h, offset),
            f"{span} bytes there end outside the {h.size:#x} bytes that are mapped",
            "check the offset against the data sheet, or map more of the BAR",
        )
    if (h.start + offset + h.region.phase) & (width - 1):
        raise BadAccess(
            _tried(what, h, offset),
            f"not a multiple of {width}",
            "use an aligned offset, or narrower accesses",
        )


def refuse_write(what: str, h: BusSpaceHandle, offset: int) -> None:
    """Raise ReadOnlyWindow (EACCES) where nothing may be written."""
    if not h.region.writable:
        raise ReadOnlyWindow(
            _tried(what, h, offset),
            "the window was mapped read-only",
            "map it without BUS_SPACE_MAP_READONLY",
        )


def _check_value(what: str, h: BusSpaceHandle, offset: int, value: object, width: int) -> int:
    if not isinstance(value, int):
        raise TypeError(
            f"{_tried(what, h, offset)}: a value of type int is wanted, not {type(value).__name__}"
        )
    if value < 0 or value >> (8 * width):
        raise ValueTooWide(
            _tried(what, h, offset),
            f"value {value:#x} needs more than {width} bytes",
            "mask it, or write a wider register",
        )
    return value


def _check_handle(what: str, h: object) -> None:
    if not isinstance(h, BusSpaceHandle):
        raise TypeError(f"{what} takes a BusSpaceHandle, not {type(h).__name__}")


def _reader(width: int) -> Callable[[object, BusSpaceHandle, int], int]:
    what = f"bus_space_read_{width}"

    def read(tag: object, handle: BusSpaceHandle, offset: int, /) -> int:
        _check_handle(what, handle)
        offset = index(offset)
        memory = direct(tag, handle, offset, width, width)
        if memory is not None:
            return int(memory[0][memory[1]])
        refuse(what, tag, handle, offset, width, width)
        return int(handle.region.window.read(handle.start + offset, width))

    return _named(read, what, f"Read {8 * width} bits at `offset`")


def _writer(width: int) -> Callable[[object, BusSpaceHandle, int, int], None]:
    what = f"bus_space_write_{width}"

    def write(tag: object, handle: BusSpaceHandle, offset: int, value: int, /) -> None:
        _check_handle(what, handle)
        offset = index(offset)
        value = _check_value(what, handle, offset, value, width)
        memory = direct(tag, handle, offset, width, width)
        if memory is not None and handle.region.writable:
            memory[0][memory[1]] = value
            return
        refuse(what, tag, handle, offset, width, width)
        refuse_write(what, handle, offset)
        handle.region.window.write(handle.start + offset, width, value)

    return _named(write, what, f"Write {8 * width} bits at `offset`")


def _named(function: F, name: str, text: str) -> F:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}, in one access.  bus_space(9)."
    return function


bus_space_read_1, bus_space_read_2 = _reader(1), _reader(2)
bus_space_read_4, bus_space_read_8 = _reader(4), _reader(8)
bus_space_write_1, bus_space_write_2 = _writer(1), _writer(2)
bus_space_write_4, bus_space_write_8 = _writer(4), _writer(8)


def check(
    what: str,
    tag: object,
    handle: BusSpaceHandle,
    offset: int,
    span: int,
    width: int = 1,
    write: bool = False,
) -> None:
    """Raise as an access of `span` bytes at `offset` would, without making one."""
    offset = index(offset)
    refuse(what, tag, handle, offset, index(span), width)
    if write:
        refuse_write(what, handle, offset)


def pack(what: str, handle: BusSpaceHandle, offset: int, value: int, width: int) -> bytes:
    """The `width` little-endian bytes of `value`.  Raises ValueTooWide (ERANGE)."""
    return _check_value(what, handle, index(offset), value, width).to_bytes(width, "little")


def fence() -> None:
    """Order this processor's earlier loads and stores before its later ones.

    Taking a lock is an instruction that does, on the processors that NetBSD's ports with
    PCI commonly have (amd64: any locked one).
    """
    with _LOCK:
        pass
