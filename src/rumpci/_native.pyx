# cython: language_level=3, boundscheck=False, wraparound=False
# cython: binding=False, always_allow_keywords=False
"""Exact-width access to windows: the hot half of bus_space(9).

A handle reaches its window in one of two ways, chosen per access:

    mapped   a volatile load or store in a `Mapping`, a revocable piece of memory (_access.h)
    trapped  a call of the window's own read or write, which may cross a process

Everything else (who may map what) is decided before a handle exists.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.long cimport PyLong_AsUnsignedLongLong, PyLong_FromUnsignedLongLong
from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memcpy

from rumpci.errors import (
    BadAccess, DeadWindow, OutOfWindow, ReadOnlyWindow, ValueTooWide,
)

cdef extern from "Python.h":
    ctypedef struct PyObject
    ctypedef struct PyTypeObject
    ctypedef struct PyMethodDef:
        const char *ml_name
    object PyCFunction_NewEx(PyMethodDef *, PyObject *, object)
    Py_ssize_t PyNumber_AsSsize_t(object, void *) except? -1  # with NULL: clips, not raises

cdef extern from "_access.h":
    uint64_t access_load(const void *, size_t) nogil
    void access_store(void *, size_t, uint64_t) nogil
    void region_load(char *, const char *, size_t, size_t, size_t) nogil
    void region_store(char *, const char *, size_t, size_t, size_t) nogil
    void access_fence() nogil

    struct access_mapping:
        char *base
        Py_ssize_t low, high

    struct access_region:
        access_mapping *mapping
        Py_ssize_t phase
        bint writable, live

    struct access_handle:
        PyObject *tag
        access_region *region
        Py_ssize_t start, size

    char *access_direct(const access_handle *, object, Py_ssize_t, Py_ssize_t, Py_ssize_t)
    PyMethodDef access_methods[8]
    PyTypeObject *access_handle_type
    size_t access_handle_offset
    object (*access_slow_read)(PyObject *const *, Py_ssize_t, Py_ssize_t)
    object (*access_slow_write)(PyObject *const *, Py_ssize_t, Py_ssize_t)


# what messages call an access, by its width: made once, not at every access
cdef tuple _READ_NAME = tuple(f"bus_space_read_{width}" for width in range(9))
cdef tuple _WRITE_NAME = tuple(f"bus_space_write_{width}" for width in range(9))
cdef tuple _READ_MANY = tuple(f"bus_space_read_multi/region_{width}" for width in range(9))
cdef tuple _WRITE_MANY = tuple(f"bus_space_write_multi/region_{width}" for width in range(9))


cdef class Mapping:
    """Bytes [start, end) of a window as plain memory, until `revoke`.

    `buffer` is any writable buffer (an mmap of a BAR); `fd` and `fd_offset`
    name the same memory for bus_space_mmap, -1 if it has no descriptor.
    """

    cdef access_mapping at
    cdef Py_buffer view
    cdef bint held
    cdef readonly int fd
    cdef readonly long long fd_offset

    def __cinit__(self, buffer, Py_ssize_t start=0, *, int fd=-1, long long fd_offset=0):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.held = True
        self.at = access_mapping(<char *>self.view.buf, start, start + self.view.len)
        self.fd = fd
        self.fd_offset = fd_offset

    @property
    def start(self):
        """The first position of the window that is mapped, in bytes."""
        return self.at.low

    @property
    def end(self):
        """The first position past the mapping, in bytes; `start` once it is revoked."""
        return self.at.high

    @property
    def address(self):
        """Where `start` is in this process, 0 once it is revoked: for other native code."""
        return <uintptr_t>self.at.base

    def read(self, Py_ssize_t position, Py_ssize_t width):
        """`width` bytes (1, 2, 4, 8) there, in one access; None where nothing is mapped, any more."""
        cdef char *p = self._at(position, width)
        return None if p == NULL else PyLong_FromUnsignedLongLong(access_load(p, width))

    def write(self, Py_ssize_t position, Py_ssize_t width, uint64_t value):
        """Write them, in one access; False, and nothing was written, where nothing is mapped."""
        cdef char *p = self._at(position, width)
        if p == NULL:
            return False
        access_store(p, width, value)
        return True

    cdef char *_at(self, Py_ssize_t position, Py_ssize_t width) noexcept:
        if position < self.at.low or position > self.at.high - width:
            return NULL
        return self.at.base + (position - self.at.low)

    def revoke(self):
        """Take the memory away: the next access through any handle finds it gone."""
        self.at.high = self.at.low
        self.at.base = NULL
        if self.held:
            self.held = False
            PyBuffer_Release(&self.view)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


@cython.no_gc_clear  # others point into it
cdef class Region:
    """What one bus_space_map made; its subregions share it and die with it."""

    cdef readonly object window
    cdef Mapping mapping
    cdef access_region at        # its phase: the window's offset in its BAR, for alignment

    def __cinit__(self, window):
        self.window = window
        self.mapping = window.mapping
        self.at = access_region(NULL, window.offset, window.writable, True)
        if self.mapping is not None:
            self.at.mapping = &self.mapping.at


@cython.no_gc_clear  # it points into its region
cdef class BusSpaceHandle:
    """A bus_space_handle_t: `size` bytes of a window, from `start` on."""

    cdef readonly object tag
    cdef readonly Region region
    cdef access_handle at

    def __cinit__(self, tag, Region region not None, Py_ssize_t start, Py_ssize_t size):
        self.tag = tag
        self.region = region
        self.at = access_handle(<PyObject *>tag, &region.at, start, size)
        global access_handle_offset
        access_handle_offset = <char *>&self.at - <char *><PyObject *>self

    @property
    def start(self):
        """Where in the window it begins, in bytes."""
        return self.at.start

    @property
    def size(self):
        """Its bytes."""
        return self.at.size

    @property
    def window(self):
        """The window of the seam that this handle reaches."""
        return self.region.window

    @property
    def live(self):
        """Whether the handle can still be used; False after bus_space_unmap."""
        return bool(self.region.at.live)

    @property
    def mapped(self):
        """Whether all of it is plain memory: no call per access."""
        cdef access_mapping *m = self.region.at.mapping
        return m != NULL and m.low <= self.at.start and self.at.start + self.at.size <= m.high

    def kill(self):
        """End this handle and its subregions (bus_space_unmap)."""
        self.region.at.live = False

    def __repr__(self):
        return f"<{self.region.window.label} [{self.start:#x}, {self.start + self.size:#x})>"


cdef inline Py_ssize_t _clip(object number) except? -1:
    """An offset, span or count as C has it; what no window can hold becomes the nearest limit."""
    return PyNumber_AsSsize_t(number, NULL)


cdef str _tried(str what, BusSpaceHandle h, Py_ssize_t offset):
    return f"{what} at {offset:#x} of {h!r}"


cdef int _refuse(str what, object tag, BusSpaceHandle h, Py_ssize_t offset,
                 Py_ssize_t span, Py_ssize_t width) except -1:
    """Raise for an access that is malformed, whatever it would reach."""
    if tag is not h.tag:
        raise BadAccess(_tried(what, h, offset), "the handle was mapped through another tag",
                        "pass the tag that bus_space_map or pci_mapreg_map returned with it")
    if not h.region.at.live:
        raise DeadWindow(_tried(what, h, offset), "the handle was unmapped",
                         "map it again, or stop using it before bus_space_unmap")
    if span < 0 or offset < 0 or offset > h.at.size - span:
        raise OutOfWindow(_tried(what, h, offset),
                          f"{span} bytes there end outside the {h.at.size:#x} bytes that are mapped",
                          "check the offset against the data sheet, or map more of the BAR")
    if (h.at.start + offset + h.region.at.phase) & (width - 1):
        raise BadAccess(_tried(what, h, offset), f"not a multiple of {width}",
                        "use an aligned offset, or narrower accesses")
    return 0


cdef int _too_wide(str what, BusSpaceHandle h, Py_ssize_t offset, value, width) except -1:
    if not isinstance(value, int):
        raise TypeError(f"{_tried(what, h, offset)}: a value of type int is wanted, "
                        f"not {type(value).__name__}")
    raise ValueTooWide(_tried(what, h, offset), f"value {value:#x} needs more than {width} bytes",
                       "mask it, or write a wider register")


cdef int _value(str what, BusSpaceHandle h, Py_ssize_t offset, object value,
                Py_ssize_t width, uint64_t *out) except -1:
    try:
        out[0] = PyLong_AsUnsignedLongLong(value)
    except (OverflowError, TypeError):
        return _too_wide(what, h, offset, value, width)
    if width < 8 and out[0] >> (8 * width):
        return _too_wide(what, h, offset, value, width)
    return 0


cdef int _check_writable(str what, BusSpaceHandle h, Py_ssize_t offset) except -1:
    if not h.region.at.writable:
        raise ReadOnlyWindow(_tried(what, h, offset), "the window was mapped read-only",
                             "map it without BUS_SPACE_MAP_READONLY")
    return 0


cdef BusSpaceHandle _handle(str what, PyObject *const *args, Py_ssize_t count, Py_ssize_t wanted):
    """The handle among the arguments of an access.  Raises TypeError."""
    if count != wanted:
        raise TypeError(f"{what} takes {wanted} arguments, not {count}")
    if not isinstance(<object>args[1], BusSpaceHandle):
        raise TypeError(f"{what} takes a BusSpaceHandle, not {type(<object>args[1]).__name__}")
    return <BusSpaceHandle>args[1]


cdef object _slow_read(PyObject *const *args, Py_ssize_t count, Py_ssize_t width):
    """What is no plain read of memory: (tag, handle, offset)."""
    cdef str what = _READ_NAME[width]
    cdef BusSpaceHandle h = _handle(what, args, count, 3)
    cdef object tag = <object>args[0]
    cdef Py_ssize_t offset = _clip(<object>args[2])
    cdef char *p = access_direct(&h.at, tag, offset, width, width)
    if p != NULL:
        return PyLong_FromUnsignedLongLong(access_load(p, width))
    _refuse(what, tag, h, offset, width, width)
    return h.region.window.read(h.at.start + offset, width)


cdef object _slow_write(PyObject *const *args, Py_ssize_t count, Py_ssize_t width):
    """What is no plain write to memory: (tag, handle, offset, value)."""
    cdef uint64_t v = 0
    cdef str what = _WRITE_NAME[width]
    cdef BusSpaceHandle h = _handle(what, args, count, 4)
    cdef object tag = <object>args[0]
    cdef Py_ssize_t offset = _clip(<object>args[2])
    _value(what, h, offset, <object>args[3], width, &v)
    cdef char *p = access_direct(&h.at, tag, offset, width, width)
    if p != NULL and h.region.at.writable:
        access_store(p, width, v)
        return None
    _refuse(what, tag, h, offset, width, width)
    _check_writable(what, h, offset)
    h.region.window.write(h.at.start + offset, width, v)
    return None


access_handle_type = <PyTypeObject *>BusSpaceHandle
access_slow_read, access_slow_write = _slow_read, _slow_write
(
    bus_space_read_1, bus_space_read_2, bus_space_read_4, bus_space_read_8,
    bus_space_write_1, bus_space_write_2, bus_space_write_4, bus_space_write_8,
) = [PyCFunction_NewEx(&access_methods[number], NULL, __name__) for number in range(8)]


cdef int _borrow(object datap, Py_buffer *view, Py_ssize_t count, Py_ssize_t width,
                 bint writable, str what) except -1:
    """Take the caller's array: `count` elements of `width` bytes, or plain bytes."""
    cdef int flags = PyBUF_FORMAT | PyBUF_ND
    if count < 0:
        raise BadAccess(what, f"count {count} is negative", "pass how many elements to move")
    try:
        PyObject_GetBuffer(datap, view, flags | PyBUF_WRITABLE if writable else flags)
    except (BufferError, TypeError) as error:
        raise BadAccess(what, f"the data is no usable buffer ({error})",
                        "pass a bytearray, an array.array or a memoryview") from error
    if count > view.len // width or view.itemsize not in (1, width):
        have, item = view.len, view.itemsize
        PyBuffer_Release(view)
        raise BadAccess(what, f"{count} elements of {width} bytes do not fit a buffer of "
                        f"{have} bytes with elements of {item}",
                        f"pass at least {int(count) * width} bytes, as bytes or {width}-byte elements")
    return 0


def read_many(tag, BusSpaceHandle handle not None, offset, datap, count,
              Py_ssize_t width, bint step):
    """`count` reads of `width` bytes into `datap`: one register, or `step` through a region."""
    cdef Py_buffer view
    cdef char *p
    cdef Py_ssize_t start = _clip(offset), n = _clip(count), span
    cdef str what = _READ_MANY[width]
    _borrow(datap, &view, n, width, True, what)
    try:
        if n == 0:
            return
        span = width * n if step else width
        p = access_direct(&handle.at, tag, start, span, width)
        if p != NULL:
            region_load(<char *>view.buf, p, n, width, width if step else 0)
            return
        _refuse(what, tag, handle, start, span, width)
        data = handle.region.window.read_many(
            handle.at.start + start, width, n, width if step else 0)
        if len(data) != n * width:
            raise AssertionError("the host returned another length than was asked")
        memcpy(view.buf, PyBytes_AS_STRING(data), n * width)
    finally:
        PyBuffer_Release(&view)


def write_many(tag, BusSpaceHandle handle not None, offset, datap, count,
               Py_ssize_t width, bint step):
    """`count` writes of `width` bytes from `datap`: one register, or `step` through a region."""
    cdef Py_buffer view
    cdef char *p
    cdef Py_ssize_t start = _clip(offset), n = _clip(count), span
    cdef str what = _WRITE_MANY[width]
    _borrow(datap, &view, n, width, False, what)
    try:
        if n == 0:
            return
        span = width * n if step else width
        p = access_direct(&handle.at, tag, start, span, width)
        if p != NULL and handle.region.at.writable:
            region_store(p, <char *>view.buf, n, width, width if step else 0)
            return
        _refuse(what, tag, handle, start, span, width)
        _check_writable(what, handle, start)
        handle.region.window.write_many(
            handle.at.start + start, width, width if step else 0,
            PyBytes_FromStringAndSize(<char *>view.buf, n * width))
    finally:
        PyBuffer_Release(&view)


def check(str what, tag, BusSpaceHandle handle not None, offset, span, Py_ssize_t width=1,
          bint write=False):
    """Raise as an access of `span` bytes at `offset` would, without making one."""
    cdef Py_ssize_t start = _clip(offset)
    _refuse(what, tag, handle, start, _clip(span), width)
    if write:
        _check_writable(what, handle, start)


def pack(str what, BusSpaceHandle handle not None, offset, value, Py_ssize_t width):
    """The `width` little-endian bytes of `value`.  Raises ValueTooWide (ERANGE)."""
    cdef uint64_t v
    _value(what, handle, _clip(offset), value, width, &v)
    return int(v).to_bytes(width, "little")


def fence():
    """Order this processor's earlier loads and stores before its later ones."""
    access_fence()
