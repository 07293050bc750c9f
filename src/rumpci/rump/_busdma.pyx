# cython: language_level=3, boundscheck=False, wraparound=False
"""The maps of bus_dma(9) in a rump kernel, in the place of its own: each is a map of the seam.

They are made, loaded and unloaded in dma.py, with the rules of rumpci.bus_dma; sync is here,
without Python.  Chains of mbufs and uios are walked by libpci's own functions, which ask
rumpcomp_pci_virt_to_mach for each piece: so nothing here knows what an mbuf looks like.
Memory and tags are in _dmamem.pyx.
"""

from cpython.ref cimport PyObject, Py_INCREF, Py_DECREF
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, realloc

cdef extern from "sticky.h":
    void hyper_stick() noexcept nogil

cdef extern from "hyper.h":
    struct hyper_segment:
        unsigned long ds_addr, ds_len, ds_vacookie, ds_sizecookie
    void *HYPER_CALLER() noexcept nogil

cdef extern from "busdma.h":
    struct hyper_map:
        unsigned long _dm_size
        int _dm_segcnt
        unsigned long _dm_maxmaxsegsz, _dm_boundary
        int _dm_flags
        unsigned long dm_maxsegsz, dm_mapsize
        int dm_nsegs
        hyper_segment dm_segs[1]
    struct hyper_copy:
        uint64_t start, end
        char *here
        char *there
    struct hyper_shadow:
        void *owner
        hyper_copy *copies
        size_t ncopies
        int copying, synced, announced, shared
        char *bounce
        unsigned long loaded, limit
        int flags, nsegs
        hyper_map map
    hyper_shadow *hyper_shadow_of(hyper_map *) noexcept nogil
    hyper_shadow *hyper_shadow_new(int) noexcept nogil
    const char *hyper_sync_wrong(const hyper_shadow *, unsigned long, unsigned long, int) noexcept nogil
    struct hyper_shared:
        uintptr_t base, size
        uint64_t bus
    int hyper_load_shared(const hyper_shared *, hyper_map *, const hyper_segment *,
                          size_t) noexcept nogil
    hyper_map *hyper_scratch() noexcept nogil
    bint hyper_walking(int) noexcept nogil
    void hyper_sync(hyper_shadow *, unsigned long, unsigned long, int) noexcept nogil
    void hyper_lock() noexcept nogil
    void hyper_unlock() noexcept nogil
    void hyper_mark(int *) noexcept nogil
    hyper_shadow *hyper_leave(hyper_shadow *) noexcept nogil
    hyper_shadow *hyper_peek() noexcept nogil
    void hyper_note_range(uintptr_t, uintptr_t) noexcept nogil
    bint hyper_keep_pieces(hyper_shadow *, const hyper_segment *, size_t) noexcept nogil
    bint hyper_again(hyper_shadow *, const hyper_segment *, size_t, int) noexcept nogil

ctypedef int (*LoadMbuf)(void *, hyper_map *, void *, int) noexcept nogil

cdef object _dma = None   # rump/dma.py, Dma
cdef LoadMbuf _load_mbuf = NULL, _load_uio = NULL

cdef hyper_shared _heap

cdef int EINVAL = 22, ENOMEM = 12, EFBIG = 27
_SEGMENTS_MOST = 1 << 16


def serve(dma):
    """Have `dma` do it from now on (None: nobody does)."""
    global _dma
    _dma = dma


def bind(addresses):
    """Where libpci's own functions are, by name: addresses in this process."""
    global _load_mbuf, _load_uio
    _load_mbuf = <LoadMbuf><uintptr_t>addresses.get("rumpns_bus_dmamap_load_mbuf", 0)
    _load_uio = <LoadMbuf><uintptr_t>addresses.get("rumpns_bus_dmamap_load_uio", 0)


# ---- what is unloaded ----------------------------------------------------------------------------
#
# A driver that takes a buffer from a ring unloads its map and loads another buffer into it, of the
# same size: for the device nothing changes, as what bounces stays where it is.  So what is unloaded
# is left as it is until the next call; if that loads as much into the same map, no Python is asked.
# Any other call, of any function here or for a register, and the end of a handler, unload it first.
# Lock order: hyper_lock, then the GIL.

def mark_at(uintptr_t mark):
    """Where _hyper.pyx wants to find whether `settle` has anything to do; `settle` itself."""
    hyper_mark(<int *>mark)
    return <uintptr_t>&settle_now


def settle():
    """Unload what was left."""
    with nogil:
        settle_now()


cdef void settle_now() noexcept nogil:
    if hyper_peek() != NULL:
        hyper_lock()
        _end(hyper_leave(NULL))
        hyper_unlock()


cdef void _end(hyper_shadow *left) noexcept nogil:
    if left == NULL:
        return
    hyper_stick()
    with gil:
        try:
            (<object>left.owner).unload(0)
        except BaseException as error:
            failed(error, NULL)


cdef bint _again(hyper_shadow *shadow, const hyper_segment *pieces, size_t count,
                 int flags) noexcept nogil:
    """Whether that could be loaded in the place of what was unloaded; else that is unloaded."""
    cdef bint done = False
    if hyper_peek() != NULL:
        hyper_lock()
        if hyper_peek() == shadow and hyper_again(shadow, pieces, count, flags):
            hyper_leave(NULL)
            done = True
        else:
            _end(hyper_leave(NULL))
        hyper_unlock()
    return done


cdef void note_mapped(void *start, size_t size) noexcept nogil:
    hyper_note_range(<uintptr_t>start, <uintptr_t>start + size)


cdef void note_unmapped(void *start) noexcept nogil:
    hyper_note_range(<uintptr_t>start, 0)


def share(uintptr_t base, uint64_t bus, uintptr_t size):
    """--dma=shared: what is of these bytes of this process need not be asked for (heap.py)."""
    _heap.base, _heap.bus, _heap.size = base, bus, size


cdef int failed(object error, void *caller) noexcept:
    try:
        return _dma.errno_of(error, <uintptr_t>caller)
    except BaseException:  # nobody to tell
        return EINVAL


# ---- maps ----------------------------------------------------------------------------------------

cdef public int rumpns_bus_dmamap_create(void *tag, unsigned long size, int nsegments,
                                         unsigned long maxsegsz, unsigned long boundary, int flags,
                                         hyper_map **mapp) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef hyper_shadow *shadow = NULL
    settle_now()
    hyper_stick()
    with gil:
        try:
            owner = _dma.create(<uintptr_t>tag, size, nsegments, maxsegsz, boundary, flags)
            shadow = hyper_shadow_new(nsegments)
            if shadow == NULL:
                owner.destroy()
                return ENOMEM
        except BaseException as error:
            return failed(error, caller)
        Py_INCREF(owner)
        shadow.owner = <void *>owner
    shadow.map._dm_size, shadow.map._dm_segcnt = size, nsegments
    shadow.map._dm_maxmaxsegsz = shadow.map.dm_maxsegsz = maxsegsz
    shadow.map._dm_boundary, shadow.map._dm_flags = boundary, flags
    mapp[0] = &shadow.map
    return 0


cdef public void rumpns_bus_dmamap_destroy(void *tag, hyper_map *map) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef hyper_shadow *shadow = hyper_shadow_of(map)
    settle_now()
    hyper_stick()
    with gil:
        owner = <object>shadow.owner
        try:
            owner.destroy()
        except BaseException as error:
            failed(error, caller)
        Py_DECREF(owner)
    free(shadow.copies)
    free(shadow)


cdef public int rumpns_bus_dmamap_load(void *tag, hyper_map *map, void *buffer,
                                       unsigned long length, void *proc, int flags) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef hyper_segment piece
    piece.ds_addr, piece.ds_len = <unsigned long>buffer, length
    return _load(map, &piece, 1, flags, caller)


cdef public int rumpns_bus_dmamap_load_mbuf(void *tag, hyper_map *map, void *chain,
                                            int flags) noexcept nogil:
    return _walk(_load_mbuf, tag, map, chain, flags, HYPER_CALLER())


cdef public int rumpns_bus_dmamap_load_uio(void *tag, hyper_map *map, void *uio,
                                           int flags) noexcept nogil:
    return _walk(_load_uio, tag, map, uio, flags, HYPER_CALLER())


cdef int _walk(LoadMbuf walk, void *tag, hyper_map *map, void *chain, int flags,
               void *caller) noexcept nogil:
    """libpci's own function fills a map of ours, with addresses of this process."""
    cdef hyper_map *own = hyper_scratch()
    cdef int error
    if walk == NULL or own == NULL:
        return EINVAL
    own._dm_size = map._dm_size
    hyper_walking(1)
    error = walk(tag, own, chain, flags)
    hyper_walking(0)
    if error:
        return error
    return _load(map, own.dm_segs, own.dm_nsegs, flags, caller)


cdef public unsigned long rumpcomp_pci_virt_to_mach(void *va) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    if hyper_walking(-1):
        return <unsigned long>va
    hyper_stick()
    with gil:
        try:
            return _dma.virt_to_mach(<uintptr_t>va)
        except BaseException as error:
            failed(error, caller)
    return <unsigned long>-1


cdef int _load(hyper_map *map, const hyper_segment *pieces, size_t count, int flags,
               void *caller) noexcept nogil:
    cdef hyper_shadow *shadow = hyper_shadow_of(map)
    cdef size_t i
    cdef int error
    if _heap.size and (shadow.shared or map.dm_mapsize == 0):
        error = hyper_load_shared(&_heap, map, pieces, count)
        if error >= 0:
            shadow.shared, shadow.ncopies, shadow.copying = 1, 0, 0
            shadow.synced = shadow.announced = 0xf
            return error
        shadow.shared = 0
    if _again(shadow, pieces, count, flags):
        return 0
    hyper_stick()
    with gil:
        try:
            owner = <object>shadow.owner
            asked = [(pieces[i].ds_addr, pieces[i].ds_len) for i in range(count) if pieces[i].ds_len]
            map.dm_mapsize = map.dm_nsegs = 0
            shadow.bounce, shadow.limit, shadow.flags = NULL, map.dm_maxsegsz, flags
            segments, copies, bounce = owner.load(asked, flags, map.dm_maxsegsz, <uintptr_t>caller)
            _keep_copies(shadow, copies)
            shadow.bounce = <char *><uintptr_t>bounce
            if bounce and not hyper_keep_pieces(shadow, pieces, count):
                owner.unload(0)
                return ENOMEM
            _show(shadow, owner, segments)
            return 0
        except BaseException as failure:
            return failed(failure, caller)


cdef int _show(hyper_shadow *shadow, owner, list segments) except -1:
    """Have the driver see what is loaded: segments, which are all of it."""
    cdef hyper_map *map = &shadow.map
    cdef size_t i
    cdef unsigned long total = 0
    shadow.copying, shadow.announced, shadow.synced = owner.copying, owner.announced, 0
    for i in range(len(segments)):
        map.dm_segs[i].ds_addr, map.dm_segs[i].ds_len = segments[i]
        total += map.dm_segs[i].ds_len
    map.dm_nsegs, map.dm_mapsize = <int>len(segments), total
    return 0


cdef int _keep_copies(hyper_shadow *shadow, list copies) except -1:
    cdef hyper_copy *grown
    cdef size_t i, n = len(copies)
    if n:
        grown = <hyper_copy *>realloc(shadow.copies, n * sizeof(hyper_copy))
        if grown == NULL:
            raise MemoryError
        shadow.copies = grown
    for i in range(n):
        start, end, here, there = copies[i]
        shadow.copies[i].start, shadow.copies[i].end = start, end
        shadow.copies[i].here = <char *><uintptr_t>here
        shadow.copies[i].there = <char *><uintptr_t>there
    shadow.ncopies = n
    return 0


cdef public int rumpns_bus_dmamap_load_raw(void *tag, hyper_map *map, hyper_segment *segs, int nsegs,
                                           unsigned long size, int flags) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef hyper_shadow *shadow = hyper_shadow_of(map)
    cdef int i
    settle_now()
    shadow.bounce = NULL
    hyper_stick()
    with gil:
        try:
            asked = [(segs[i].ds_vacookie, segs[i].ds_addr, segs[i].ds_len) for i in range(nsegs)]
            map.dm_mapsize = map.dm_nsegs = 0
            owner = <object>shadow.owner
            segments = owner.load_raw(asked, size, flags, map.dm_maxsegsz, <uintptr_t>caller)
            shadow.ncopies = 0
            _show(shadow, owner, segments)
            return 0
        except BaseException as error:
            return failed(error, caller)


cdef public void rumpns_bus_dmamap_unload(void *tag, hyper_map *map) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef hyper_shadow *shadow = hyper_shadow_of(map)
    cdef bint leave = shadow.bounce != NULL and map.dm_mapsize != 0
    shadow.loaded, shadow.nsegs = map.dm_mapsize, map.dm_nsegs
    map.dm_maxsegsz = map._dm_maxmaxsegsz
    map.dm_mapsize = map.dm_nsegs = 0
    shadow.ncopies = 0
    if shadow.shared:
        shadow.shared = 0
        return
    if leave:
        hyper_lock()
        _end(hyper_leave(shadow))
        hyper_unlock()
        return
    settle_now()
    hyper_stick()
    with gil:
        try:
            (<object>shadow.owner).unload(<uintptr_t>caller)
        except BaseException as error:
            failed(error, caller)


cdef public void rumpns_bus_dmamap_sync(void *tag, hyper_map *map, unsigned long offset,
                                        unsigned long length, int ops) noexcept nogil:
    cdef hyper_shadow *shadow = hyper_shadow_of(map)
    cdef const char *wrong = hyper_sync_wrong(shadow, offset, length, ops)
    settle_now()
    if wrong != NULL:
        _wrong(shadow, wrong, offset, length, ops, HYPER_CALLER())
        if offset > map.dm_mapsize:
            offset = map.dm_mapsize
        if length > map.dm_mapsize - offset:
            length = map.dm_mapsize - offset
    hyper_sync(shadow, offset, length, ops)


cdef void _wrong(hyper_shadow *shadow, const char *why, unsigned long offset, unsigned long length,
                 int ops, void *caller) noexcept nogil:
    """Tell it; what was loaded for one direction is loaded for both if the other is used."""
    hyper_stick()
    with gil:
        try:
            owner = <object>shadow.owner
            owner.wrong(f"bus_dmamap_sync of [{offset:#x}, {offset + length:#x}) with {ops:#x}",
                        why.decode(), <uintptr_t>caller)
            if shadow.map.dm_mapsize and ops & ~shadow.announced:
                owner.widen()
                shadow.copying, shadow.announced = owner.copying, owner.announced
        except BaseException as error:
            failed(error, caller)
