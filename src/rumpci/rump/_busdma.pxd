"""What _dmamem.pyx shares with _busdma.pyx."""

cdef int failed(object error, void *caller) noexcept
cdef void settle_now() noexcept nogil
cdef void note_mapped(void *start, size_t size) noexcept nogil
cdef void note_unmapped(void *start) noexcept nogil
