# cython: language_level=3, boundscheck=False, wraparound=False
"""The flight recorder's ring: fixed memory, one store of a few words for each operation."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef struct Entry:
    int64_t when
    uint64_t where
    uint64_t size
    uint64_t value
    uint32_t kind
    uint32_t source
    uint32_t unit


cdef class Ring:
    """The last `size` operations; `total` counts all that ever were."""

    cdef Entry *entries
    cdef readonly uint64_t total
    cdef readonly uint32_t size

    def __cinit__(self, uint32_t size):
        if not size:
            raise ValueError("a ring has at least one entry")
        self.entries = <Entry *>calloc(size, sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError
        self.size = size

    def __dealloc__(self):
        free(self.entries)

    def note(self, uint32_t kind, uint32_t source, uint32_t unit, uint64_t where, uint64_t size,
             uint64_t value):
        """Record an operation.  What the numbers mean is recorder.py's business."""
        cdef Entry *entry = &self.entries[self.total % self.size]
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        entry.when = <int64_t>now.tv_sec * 1000000000 + now.tv_nsec
        entry.kind, entry.source, entry.unit = kind, source, unit
        entry.where, entry.size, entry.value = where, size, value
        self.total += 1

    def last(self, uint32_t count):
        """The last `count` operations, the oldest first, as tuples: when (ns), then as noted."""
        cdef uint64_t number
        cdef uint64_t have = min(min(self.total, <uint64_t>self.size), <uint64_t>count)
        cdef Entry *e
        found = []
        for number in range(self.total - have, self.total):
            e = &self.entries[number % self.size]
            found.append((e.when, e.kind, e.source, e.unit, e.where, e.size, e.value))
        return found
