# cython: language_level=3, boundscheck=False, wraparound=False
"""Memory that a driver shares with its devices, and the address of any buffer.

    SharedMemory   ranges of a file as one contiguous piece of memory, until `revoke`
    Flat           any C-contiguous buffer as bytes, with its address
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.errno cimport errno
from libc.stdint cimport uintptr_t

import os

cdef extern from "<sys/mman.h>":
    void *mmap(void *, size_t, int, int, int, long long) nogil
    int munmap(void *, size_t) nogil
    int PROT_NONE, PROT_READ, PROT_WRITE
    int MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE
    void *MAP_FAILED
    int madvise(void *, size_t, int) nogil

cdef enum:
    MADV_POPULATE_WRITE = 23  # from Linux 5.14 on; in no header of ours


cdef class SharedMemory:
    """Ranges (offset, length) of the file `fd`, in their order, as contiguous memory.

    All are multiples of the page size.  It has the buffer interface.  After
    `revoke` it is scrap: zeros at first, and what is written reaches nobody; so a
    stale view of it crashes nothing.  Raises OSError if it cannot be mapped.
    """

    cdef char *base
    cdef readonly Py_ssize_t size
    cdef readonly int fd
    cdef readonly tuple ranges
    cdef readonly bint live

    def __cinit__(self, int fd, ranges):
        cdef Py_ssize_t at = 0, length
        cdef long long offset
        self.fd, self.ranges = fd, tuple(ranges)
        self.size = sum([length for _, length in self.ranges])
        self.base = <char *>mmap(NULL, self.size, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if self.base == MAP_FAILED:
            self.base = NULL
            raise _os_error("reserving memory")
        for offset, length in self.ranges:
            if mmap(self.base + at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                    fd, offset) == MAP_FAILED:
                raise _os_error("mapping memory")
            at += length
        self.live = True

    @property
    def address(self):
        """Where it is in this process."""
        return <uintptr_t>self.base

    def first(self, Py_ssize_t size):
        """The first `size` bytes."""
        return memoryview(self)[:size]

    def revoke(self):
        """Take the memory away; views of it see scrap.  Doing it twice does nothing."""
        if not self.live:
            return
        if not self._scrap():
            _give_spare()  # the process has as many mappings as it may: now it has one less
            if not self._scrap():
                raise _os_error("revoking memory")
        self.live = False
        _take_spare()

    cdef bint _scrap(self):
        return mmap(self.base, self.size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.base, self.size, 0, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass

    def __len__(self):
        return self.size

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    def __repr__(self):
        return f"<SharedMemory of {self.size:#x} bytes{'' if self.live else ', revoked'}>"


cdef class Flat:
    """A buffer as plain bytes, whatever its shape and format: `view`, `address`, `size`, `readonly`.

    Raises BufferError for one that is not C-contiguous, TypeError for what is none.
    """

    cdef Py_buffer held
    cdef bint holds
    cdef readonly bint readonly

    def __cinit__(self, buffer):
        try:
            PyObject_GetBuffer(buffer, &self.held, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
        except (BufferError, ValueError):
            PyObject_GetBuffer(buffer, &self.held, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self.holds = True
        self.readonly = self.held.readonly

    @property
    def view(self):
        """The bytes."""
        return memoryview(self)

    @property
    def address(self):
        """Where it is in this process."""
        return <uintptr_t>self.held.buf

    @property
    def size(self):
        """Its bytes."""
        return self.held.len

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.held.buf, self.held.len, self.readonly, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass

    def __dealloc__(self):
        if self.holds:
            PyBuffer_Release(&self.held)


def populate(uintptr_t address, size_t size):
    """Have whole pages of this process in memory as if they were written; whether they can be.

    So they are its own: no page of zeros, and none that it shares since a fork, which the
    next write would replace.
    """
    return madvise(<void *>address, size, MADV_POPULATE_WRITE) == 0


cdef void *_spare = NULL


cdef void _take_spare() noexcept:
    """Have a mapping to give up when a mapping has to be replaced and no more are allowed."""
    global _spare
    if _spare == NULL:
        _spare = mmap(NULL, 4096, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        if _spare == MAP_FAILED:
            _spare = NULL


cdef void _give_spare() noexcept:
    global _spare
    if _spare != NULL:
        munmap(_spare, 4096)
        _spare = NULL


_take_spare()


cdef object _os_error(what):
    return OSError(errno, f"{what}: {os.strerror(errno)}")
