# cython: language_level=3
"""rumpuser_malloc and rumpuser_free of --dma=shared: found before librumpuser's if loaded before."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **, size_t, size_t)

cdef extern from "heap.h" nogil:
    int heap_open(char *, uint64_t, size_t)
    void *heap_take(size_t, size_t)
    bint heap_has(const void *, size_t)
    void heap_give(void *)

cdef size_t _LEAST = 1024   # less is never a buffer for a device


def open_heap(uintptr_t base, uint64_t bus, size_t size):
    """Have `size` bytes at `base`, which the device finds at `bus`, be the heap."""
    if heap_open(<char *>base, bus, size):
        raise MemoryError


cdef public int rumpuser_malloc(size_t size, int alignment, void **to) noexcept nogil:
    cdef size_t align = sizeof(void *) if alignment < <int>sizeof(void *) else alignment
    if size < _LEAST:
        return posix_memalign(to, align, size)
    to[0] = heap_take(size, align)
    return ENOMEM if to[0] == NULL else 0


cdef public void rumpuser_free(void *what, size_t size) noexcept nogil:
    if heap_has(what, 0):
        heap_give(what)
    else:
        free(what)
