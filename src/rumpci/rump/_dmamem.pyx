# cython: language_level=3, boundscheck=False, wraparound=False
"""Memory and tags of bus_dma(9) in a rump kernel: dma.py has them, here are the symbols.

And the hypercalls that a bus_dma(9) which is not ours makes.
"""

from libc.stdint cimport uintptr_t

from rumpci.rump._busdma cimport failed, note_mapped, note_unmapped, settle_now

cdef extern from "sticky.h":
    void hyper_stick() noexcept nogil

cdef extern from "hyper.h":
    struct hyper_segment:
        unsigned long ds_addr, ds_len, ds_vacookie, ds_sizecookie
    void *HYPER_CALLER() noexcept nogil

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *, Py_ssize_t, int)

cdef object _dma = None   # rump/dma.py, Dma

cdef int EINVAL = 22


def serve(dma):
    """Have `dma` do it from now on (None: nobody does)."""
    global _dma
    _dma = dma


def memory_at(uintptr_t address, Py_ssize_t size):
    """`size` bytes of this process from `address` on: whose they are is the caller's business."""
    return PyMemoryView_FromMemory(<char *>address, size, 0x200)


# ---- memory --------------------------------------------------------------------------------------

cdef public int rumpns_bus_dmamem_alloc(void *tag, unsigned long size, unsigned long alignment,
                                        unsigned long boundary, hyper_segment *segs, int nsegs,
                                        int *rsegs, int flags) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    settle_now()
    hyper_stick()
    with gil:
        try:
            got = _dma.alloc(<uintptr_t>tag, size, alignment, boundary, nsegs, flags)
            for i, (address, length, cookie) in enumerate(got):
                segs[i].ds_addr, segs[i].ds_len = address, length
                segs[i].ds_vacookie, segs[i].ds_sizecookie = cookie, size
            rsegs[0] = len(got)
            return 0
        except BaseException as error:
            return failed(error, caller)


cdef public void rumpns_bus_dmamem_free(void *tag, hyper_segment *segs, int nsegs) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    settle_now()
    hyper_stick()
    with gil:
        try:
            _dma.free(segs[0].ds_vacookie if nsegs else 0)
        except BaseException as error:
            failed(error, caller)


cdef public int rumpns_bus_dmamem_map(void *tag, hyper_segment *segs, int nsegs, size_t size,
                                      void **kva, int flags) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    settle_now()
    hyper_stick()
    with gil:
        try:
            kva[0] = <void *><uintptr_t>_dma.map(segs[0].ds_vacookie if nsegs else 0, size)
        except BaseException as error:
            return failed(error, caller)
    note_mapped(kva[0], size)
    return 0


cdef public void rumpns_bus_dmamem_unmap(void *tag, void *kva, size_t size) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    settle_now()
    note_unmapped(kva)
    hyper_stick()
    with gil:
        try:
            _dma.unmap(<uintptr_t>kva, size)
        except BaseException as error:
            failed(error, caller)


cdef public long rumpns_bus_dmamem_mmap(void *tag, hyper_segment *segs, int nsegs, long offset,
                                        int prot, int flags) noexcept nogil:
    return -1  # no process of the rump kernel's has an address space to map it into


# ---- tags ----------------------------------------------------------------------------------------

cdef public int rumpns_bus_dmatag_subregion(void *tag, unsigned long low, unsigned long high,
                                            void **to, int flags) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    settle_now()
    hyper_stick()
    with gil:
        try:
            to[0] = <void *><uintptr_t>_dma.subregion(<uintptr_t>tag, low, high, flags)
            return 0
        except BaseException as error:
            return failed(error, caller)


cdef public void rumpns_bus_dmatag_destroy(void *tag) noexcept nogil:
    pass  # tags are few, and live as long as the rump kernel


# ---- what a bus_dma(9) that is not ours would ask for --------------------------------------------

cdef public int rumpcomp_pci_dmalloc(size_t size, size_t alignment, unsigned long *pa,
                                     unsigned long *va) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            pa[0], va[0] = _dma.dmalloc(size, alignment)
            return 0
        except BaseException as error:
            return failed(error, caller)


cdef public void rumpcomp_pci_dmafree(unsigned long va, size_t size) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            _dma.dmafree(va)
        except BaseException as error:
            failed(error, caller)


cdef struct dmaseg:
    unsigned long ds_pa, ds_len, ds_vacookie


cdef public int rumpcomp_pci_dmamem_map(dmaseg *segs, size_t nsegs, size_t size,
                                        void **kva) noexcept nogil:
    if nsegs != 1:
        return EINVAL  # dmalloc gives one
    kva[0] = <void *>segs[0].ds_vacookie
    return 0
