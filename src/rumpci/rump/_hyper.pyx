# cython: language_level=3, boundscheck=False, wraparound=False
"""The hypercalls of a rump kernel that are about PCI, as symbols that its libraries find.

    rumpcomp_pci_*      what sys/rump/dev/lib/libpci asks its host for
    rumpns_bus_space_*  map and unmap here, accesses in bus_space.c
    rumpns_pci_intr_*   interrupts that can be disestablished, MSI and MSI-X
    rumpns_config_found_sm_loc   gives each function a DMA tag of its own (see _busdma.pyx)

All of them end in a call of `serve`'s object, which is Python and uses the seam.  None may
raise: what goes wrong is reported there, and the rump kernel gets an errno of NetBSD's, or ones.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset, strcmp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from "sticky.h":
    void hyper_stick() noexcept nogil

cdef extern from "hyper.h":
    struct hyper_window:
        volatile char *base
        uint64_t low, high, size, phase
    hyper_window hyper_windows[4096]
    int HYPER_WINDOWS
    int hyper_unsettled
    uint64_t hyper_handle(unsigned, uint64_t) noexcept nogil
    unsigned hyper_index(uint64_t) noexcept nogil
    uint64_t hyper_offset(uint64_t) noexcept nogil
    bint hyper_is_handle(uint64_t) noexcept nogil
    void *HYPER_CALLER() noexcept nogil

ctypedef int (*Handler)(void *) noexcept nogil
ctypedef void *(*Unschedule)() noexcept nogil
ctypedef void (*Schedule)(void *) noexcept nogil
ctypedef void (*Kthread)() noexcept nogil
ctypedef void *(*Found)(void *, const char *, const int *, void *, void *, void *) noexcept nogil
ctypedef void (*Settle)() noexcept nogil
ctypedef int (*IntrMap)(const void *, uint64_t *) noexcept nogil

cdef object _server = None   # rump/hypercalls.py, Hypercalls
cdef list _windows = [None] * 4096
cdef Schedule _schedule = NULL
cdef Unschedule _unschedule = NULL
cdef Kthread _kthread = NULL, _kthread_release = NULL
cdef Found _found = NULL
cdef IntrMap _intr_map = NULL
cdef Settle _settle = NULL   # of _busdma.pyx


def serve(server):
    """Have `server` answer the hypercalls from now on (None: nobody does)."""
    global _server
    _server = server


def bind(addresses):
    """Where the rump kernel's own functions are, by name: addresses in this process."""
    global _schedule, _unschedule, _kthread, _kthread_release, _found, _intr_map
    _schedule = <Schedule><uintptr_t>addresses["rumpuser_component_schedule"]
    _unschedule = <Unschedule><uintptr_t>addresses["rumpuser_component_unschedule"]
    _kthread = <Kthread><uintptr_t>addresses["rumpuser_component_kthread"]
    _kthread_release = <Kthread><uintptr_t>addresses["rumpuser_component_kthread_release"]
    _found = <Found><uintptr_t>addresses.get("rumpns_config_found_sm_loc", 0)
    _intr_map = <IntrMap><uintptr_t>addresses.get("rumpns_pci_intr_map", 0)


def left_at():
    """Where _busdma.pyx says whether what a driver unloaded is to be unloaded first."""
    return <uintptr_t>&hyper_unsettled


def settle_by(uintptr_t function):
    """What unloads it."""
    global _settle
    _settle = <Settle>function


cdef inline void _before() noexcept nogil:
    if hyper_unsettled:
        _settle()


# ---- windows -----------------------------------------------------------------------------------

def set_window(int index, window):
    """Window `index` (below 4096) is `window` of the seam from now on; None: there is none."""
    cdef hyper_window *w = &hyper_windows[index]
    w.high = w.low = w.size = 0
    _windows[index] = window
    if window is None:
        return
    w.size, w.phase = window.size, window.offset
    mapping = window.mapping
    if mapping is not None and mapping.address:
        w.base = <char *><uintptr_t>mapping.address
        w.low, w.high = mapping.start, mapping.end


def handle_of(int index):
    """The bus_space_handle_t of a window's start."""
    return hyper_handle(index, 0)


def index_of(uint64_t handle):
    """The window that a handle is of, or None if it is none."""
    if hyper_is_handle(handle) and _windows[hyper_index(handle)] is not None:
        return hyper_index(handle)
    return None


cdef object _window_of(uint64_t handle):
    if hyper_is_handle(handle):
        return _windows[hyper_index(handle)]
    return None


cdef public uint64_t hyper_read(uint64_t handle, uint64_t offset, int width,
                                void *caller) noexcept nogil:
    _before()
    hyper_stick()
    with gil:
        try:
            window = _window_of(handle)
            if window is None:
                _server.no_handle("read", handle, offset, width, <uintptr_t>caller)
            else:
                return window.read(hyper_offset(handle) + offset, width)
        except BaseException as error:
            _failed(error, caller)
    return <uint64_t>-1


cdef public void hyper_write(uint64_t handle, uint64_t offset, int width, uint64_t value,
                             void *caller) noexcept nogil:
    _before()
    hyper_stick()
    with gil:
        try:
            window = _window_of(handle)
            if window is None:
                _server.no_handle("write", handle, offset, width, <uintptr_t>caller)
            else:
                window.write(hyper_offset(handle) + offset, width, value)
        except BaseException as error:
            _failed(error, caller)


cdef public int hyper_read_many(uint64_t handle, uint64_t offset, int width, int step, void *to,
                                uint64_t count, void *caller) noexcept nogil:
    if count == 0:
        return 0
    _before()
    hyper_stick()
    with gil:
        try:
            window = _window_of(handle)
            if window is None:
                _server.no_handle("read", handle, offset, width, <uintptr_t>caller)
            else:
                _copy_out(window.read_many(hyper_offset(handle) + offset, width, count, step), to)
                return 0
        except BaseException as error:
            _failed(error, caller)
    memset(to, 0xff, count * width)
    return -1


cdef public int hyper_write_many(uint64_t handle, uint64_t offset, int width, int step,
                                 const void *source, uint64_t count, void *caller) noexcept nogil:
    if count == 0:
        return 0
    _before()
    hyper_stick()
    with gil:
        try:
            window = _window_of(handle)
            if window is None:
                _server.no_handle("write", handle, offset, width, <uintptr_t>caller)
            else:
                data = PyBytes_FromStringAndSize(<const char *>source, count * width)
                window.write_many(hyper_offset(handle) + offset, width, step, data)
                return 0
        except BaseException as error:
            _failed(error, caller)
    return -1


cdef void _copy_out(bytes data, void *to):
    memcpy(to, PyBytes_AS_STRING(data), len(data))


cdef void _failed(error, void *caller):
    try:
        _server.failed(error, <uintptr_t>caller)
    except BaseException:  # nobody to tell
        pass


cdef public int rumpns_bus_space_map(uint64_t tag, uint64_t address, uint64_t size, int flags,
                                     uint64_t *handle) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            handle[0] = _server.map(tag, address, size)
            return 0
        except BaseException as error:
            return _server.errno_of(error, <uintptr_t>caller)


cdef public void rumpns_bus_space_unmap(uint64_t tag, uint64_t handle,
                                        uint64_t size) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            _server.unmap(handle)
        except BaseException as error:
            _failed(error, caller)


cdef public void *rumpcomp_pci_map(unsigned long address, unsigned long size) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            return <void *><uintptr_t>_server.map(1, address, size)
        except BaseException as error:
            _failed(error, caller)
    return NULL


cdef public int rumpcomp_pci_iospace_init() noexcept nogil:
    return 0  # ports are reached through the seam: nobody's privilege is raised


# ---- configuration space ---------------------------------------------------------------------

cdef public int rumpcomp_pci_confread(unsigned bus, unsigned device, unsigned function, int reg,
                                      unsigned *value) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    value[0] = 0xffffffff  # nobody looks at what this returns
    hyper_stick()
    with gil:
        try:
            value[0] = _server.conf_read(bus, device, function, reg)
            return 0
        except BaseException as error:
            return _server.errno_of(error, <uintptr_t>caller)


cdef public int rumpcomp_pci_confwrite(unsigned bus, unsigned device, unsigned function, int reg,
                                       unsigned value) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            _server.conf_write(bus, device, function, reg, value)
            return 0
        except BaseException as error:
            return _server.errno_of(error, <uintptr_t>caller)


cdef public void *rumpns_config_found_sm_loc(void *parent, const char *attribute,
                                             const int *locators, void *aux, void *print_,
                                             void *submatch) noexcept nogil:
    """autoconf(9): before a driver sees a function, the function gets DMA tags of its own."""
    if attribute != NULL and strcmp(attribute, "pci") == 0:
        hyper_stick()
        with gil:
            try:
                _server.found(<uintptr_t>aux)
            except BaseException as error:
                _failed(error, NULL)
    return _found(parent, attribute, locators, aux, print_, submatch)


# ---- interrupts --------------------------------------------------------------------------------

cdef public int rumpcomp_pci_irq_map(unsigned bus, unsigned device, unsigned function, int line,
                                     unsigned cookie) noexcept nogil:
    hyper_stick()
    with gil:
        try:
            _server.intr_map(bus, device, function, cookie)
            return 0
        except BaseException as error:
            return _server.errno_of(error, 0)


cdef public void *rumpcomp_pci_irq_establish(unsigned cookie, void *handler,
                                             void *arg) noexcept nogil:
    hyper_stick()
    with gil:
        try:
            return <void *><uintptr_t>_server.establish(cookie, <uintptr_t>handler, <uintptr_t>arg)
        except BaseException as error:
            _failed(error, <char *>handler + 1)  # where it begins, not what is before it
    return NULL


cdef public void rumpns_pci_intr_disestablish(void *chipset, void *established) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    cdef void *held = _unschedule()  # its handler may be waiting for what we hold
    hyper_stick()
    with gil:
        try:
            _server.disestablish(<uintptr_t>established)
        except BaseException as error:
            _failed(error, caller)
    _schedule(held)


cdef public int rumpns_pci_intr_type(void *chipset, uint64_t handle) noexcept nogil:
    hyper_stick()
    with gil:
        try:
            return _server.intr_type(handle & 0xffffffff)
        except BaseException as error:
            _failed(error, NULL)
    return 0


cdef public const char *rumpns_pci_intr_string(void *chipset, uint64_t handle, char *to,
                                               size_t size) noexcept nogil:
    if size == 0:
        return to
    to[0] = 0
    hyper_stick()
    with gil:
        try:
            _copy_out(_server.intr_string(handle & 0xffffffff).encode()[:size - 1] + b"\0", to)
        except BaseException as error:
            _failed(error, NULL)
    return to


cdef public int rumpns_pci_intr_alloc(const void *pa, uint64_t **handles, int *counts,
                                      int most) noexcept nogil:
    """pci_intr_alloc(9): which function `pa` is, pci_intr_map of libpci tells rumpcomp_pci_irq_map."""
    cdef uint64_t cookie[2]
    cdef int error
    cookie[0] = cookie[1] = 0
    error = _intr_map(pa, cookie)
    if error:
        return error
    hyper_stick()
    with gil:
        try:
            wanted = None if counts == NULL else [counts[i] for i in range(3)]
            address, got = _server.intr_alloc(cookie[0] & 0xffffffff, wanted, most)
            handles[0] = <uint64_t *><uintptr_t>address
            if counts != NULL:
                for i in range(3):
                    counts[i] = got[i]
            return 0
        except BaseException as failure:
            return _server.errno_of(failure, 0)


cdef public void rumpns_pci_intr_release(void *chipset, uint64_t *handles,
                                         int count) noexcept nogil:
    cdef void *caller = HYPER_CALLER()
    hyper_stick()
    with gil:
        try:
            _server.intr_release(<uintptr_t>handles)
        except BaseException as error:
            _failed(error, caller)


def become_kthread():
    """Make this thread one of the rump kernel's; it has no CPU of it yet."""
    with nogil:
        _kthread()


def leave_kthread():
    """Give what become_kthread made back, before the thread ends."""
    if _kthread_release != NULL:
        with nogil:
            _kthread_release()


def call_handler(uintptr_t handler, uintptr_t arg):
    """Call an interrupt handler of the rump kernel's, with its big lock held; what it returned."""
    cdef int claimed
    with nogil:
        _schedule(<void *>1)
        claimed = (<Handler>handler)(<void *>arg)
        _before()
        _unschedule()
    return claimed
