# cython: language_level=3, boundscheck=False, wraparound=False
"""The qtest wire: one line a command, one line a reply, in order (QEMU's docs: qtest).

A read sends its command and waits for the reply; it first spins, giving the
processor away at each turn, because QEMU answers sooner than a sleep would
end.  A write is posted: its command is sent at once and its reply is taken
from the stream later, before the reply of whatever came after it.  So the
order on the wire is the order of the calls, and at most DEPTH replies are
outstanding, so that neither side can block the other on a full socket.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock,
    PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
)
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtoull
from libc.string cimport memchr, memcmp, memcpy, memmove, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport pid_t

from rumpci.errors import MachineDied

cdef extern from "string.h" nogil:
    size_t strnlen(const char *, size_t)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "sys/socket.h" nogil:
    enum: MSG_DONTWAIT, MSG_NOSIGNAL
    ssize_t send(int, const void *, size_t, int)
    ssize_t recv(int, void *, size_t, int)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum: POLLIN
    int poll(pollfd *, unsigned long, int)

cdef extern from "signal.h" nogil:
    enum: SIGKILL

cdef extern from "sys/prctl.h" nogil:
    enum: PR_SET_PDEATHSIG
    int prctl(int, unsigned long)

cdef enum:
    DEPTH = 128          # outstanding replies: 128 small packets fit any socket buffer
    LINE = 64            # the longest command, with room to spare
    BUFFER = 65536
    SPIN_NS = 200000     # how long a reader spins before it sleeps

cdef enum Fate:
    GOOD = 0
    GONE = 1             # end of file: QEMU has ended
    SILENT = 2           # no reply within the limit
    REFUSED = 3          # a reply that is no OK
    INTERRUPTED = 4      # a signal arrived, or may have: let Python look

cdef dict _SUFFIX = {1: ord("b"), 2: ord("w"), 4: ord("l"), 8: ord("q")}


def die_with_parent():
    """Ask the kernel to kill this process when the thread that started it ends."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)


cdef inline uint64_t _now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef bytes _first_line(const char *data):
    """The command, or the first of several, for messages."""
    return data[:strnlen(data, LINE)].split(b"\n")[0]


cdef class Wire:
    """A qtest connection over the connected socket `fd`, which stays the caller's.

    `explain(command, why)` makes the exception for a machine that died, with
    QEMU's last words; `limit` is how many seconds a reply may take.
    """

    cdef int fd
    cdef object explain
    cdef double limit
    cdef PyThread_type_lock lock
    cdef char inbuf[BUFFER]
    cdef size_t have, used
    cdef int outstanding
    cdef uint64_t value
    cdef bint number     # whether the last reply had a value
    cdef uint64_t until  # when the next reply is late
    cdef bint dead
    cdef char command[LINE]
    cdef char last[LINE]
    cdef readonly list irq_lines

    def __cinit__(self, int fd, explain, double limit=10.0):
        self.fd = fd
        self.explain = explain
        self.limit = limit
        self.lock = PyThread_allocate_lock()
        self.irq_lines = []

    def __dealloc__(self):
        PyThread_free_lock(self.lock)

    cdef void _enter(self) noexcept:
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)

    cdef Fate _fill(self) noexcept nogil:
        """Wait for bytes: spin while QEMU is likely to answer soon, then sleep."""
        cdef uint64_t start = _now()
        cdef pollfd p
        cdef ssize_t n
        if self.used:
            memmove(self.inbuf, self.inbuf + self.used, self.have - self.used)
            self.have -= self.used
            self.used = 0
        while True:
            n = recv(self.fd, self.inbuf + self.have, BUFFER - self.have, MSG_DONTWAIT)
            if n > 0:
                self.have += n
                return GOOD
            if n == 0 or errno not in (EAGAIN, EINTR):
                return GONE
            if _now() - start < SPIN_NS:
                sched_yield()
                continue
            if _now() > self.until:
                return SILENT
            p.fd, p.events, p.revents = self.fd, POLLIN, 0
            if poll(&p, 1, 100) <= 0:
                return INTERRUPTED     # one that came while spinning ends no poll

    cdef Fate _reply(self) noexcept nogil:
        """Take one reply off the stream into `value`; set aside the lines that are none."""
        cdef char *line
        cdef char *end
        cdef char *rest
        cdef Fate fate
        cdef bint late = False
        while True:
            line = self.inbuf + self.used
            end = <char *>memchr(line, c'\n', self.have - self.used)
            if end == NULL:
                if late:
                    return SILENT      # there were bytes, but no reply
                fate = self._fill()
                late = _now() > self.until
                if fate != GOOD:
                    return fate
                continue
            end[0] = 0
            self.used = end + 1 - self.inbuf
            if memcmp(line, b"IRQ", 3) == 0:
                with gil:
                    self.irq_lines.append(line[:end - line].decode("ascii", "replace"))
                continue
            self.outstanding -= 1
            memcpy(self.last, line, min(<size_t>(end - line) + 1, <size_t>LINE - 1))
            if memcmp(line, b"OK", 2) != 0 or (line[2] != 0 and line[2] != c' '):
                return REFUSED
            rest = line
            self.value = strtoull(line + 3, &rest, 16) if line[2] == c' ' else 0
            self.number = rest == end
            return GOOD

    cdef Fate _settle(self, int most) noexcept nogil:
        """Take replies until at most `most` are outstanding."""
        cdef Fate fate = GOOD
        while self.outstanding > most and fate == GOOD:
            fate = self._reply()
            if fate == GOOD:
                self._set_limit()
        return fate

    cdef void _set_limit(self) noexcept nogil:
        self.until = _now() + <uint64_t>(self.limit * 1e9)

    cdef Fate _send(self, const char *data, size_t n, int replies) noexcept nogil:
        cdef ssize_t sent
        cdef Fate fate = self._settle(DEPTH - replies)
        if fate != GOOD:
            return fate
        while n:
            sent = send(self.fd, data, n, MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                return GONE
            data += sent
            n -= sent
        self.outstanding += replies
        return GOOD

    cdef int _judge(self, Fate fate, bytes command) except -1:
        """Turn a fate into its exception; 1 means try again after a signal."""
        if fate == GOOD:
            return 0
        if fate == INTERRUPTED:
            PyErr_CheckSignals()
            return 1
        if fate == REFUSED:
            why = f"QEMU answered {self.last.decode('ascii', 'replace')!r}"
        elif fate == SILENT:
            why = f"no reply within {self.limit:g} s"
        else:
            why = "the connection ended"
        self.dead = True
        raise self.explain(command.decode("ascii", "replace").strip(), why)

    cdef int _check_alive(self, bytes command) except -1:
        if self.dead:
            raise self.explain(command.decode("ascii", "replace").strip(), "it is dead already")
        return 0

    cdef int _post(self, const char *data, size_t n, int replies) except -1:
        """Send commands without waiting for their replies (only until there is room)."""
        cdef Fate fate
        cdef bytes command = data[:min(n, <size_t>LINE)]
        self._check_alive(command)
        self._set_limit()
        while True:
            with nogil:
                fate = self._send(data, n, replies)
            if not self._judge(fate, command):
                return 0

    cdef int _await(self, int most, const char *data) except -1:
        """Take replies until `most` are outstanding; a signal's exception gets out."""
        cdef Fate fate
        self._set_limit()
        while True:
            with nogil:
                fate = self._settle(most)
            if fate == GOOD:
                return 0
            self._judge(fate, _first_line(data))

    cdef int _demand_number(self, const char *data) except -1:
        """A reply to a read that has no value is no reply."""
        if not self.number:
            self._judge(REFUSED, _first_line(data))
        return 0

    def ask(self, bytes command not None):
        """Send one command line and return the number in its reply (0 if there is none)."""
        self._enter()
        try:
            self._post(PyBytes_AS_STRING(command), len(command), 1)
            self._await(0, PyBytes_AS_STRING(command))
            return self.value
        finally:
            PyThread_release_lock(self.lock)

    def settle(self):
        """Return when QEMU has carried out every command that was sent."""
        self._enter()
        try:
            self._check_alive(b"a barrier")
            self._await(0, b"a barrier")
        finally:
            PyThread_release_lock(self.lock)

    def close(self):
        """Refuse every later command: the caller is about to close the socket."""
        self._enter()
        self.dead = True
        PyThread_release_lock(self.lock)

    cdef object _read(self, const char *verb, char suffix, uint64_t address):
        cdef int n
        self._enter()
        try:
            n = snprintf(self.command, LINE, b"%s%c 0x%lx\n", verb, suffix, address)
            self._post(self.command, n, 1)
            self._await(0, self.command)
            self._demand_number(self.command)
            return self.value
        finally:
            PyThread_release_lock(self.lock)

    cdef object _write(self, const char *verb, char suffix, uint64_t address, uint64_t value):
        cdef int n
        self._enter()
        try:
            n = snprintf(self.command, LINE, b"%s%c 0x%lx 0x%lx\n", verb, suffix, address, value)
            self._post(self.command, n, 1)
        finally:
            PyThread_release_lock(self.lock)


cdef class Bar:
    """`size` bytes of memory or I/O space at `base`, through a wire.

    While `decoding` is false nothing answers there: reads give ones, as on a
    bus, and writes go nowhere.  (qtest itself would read zeros.)
    """

    cdef Wire wire
    cdef readonly uint64_t base
    cdef readonly uint64_t size
    cdef readonly bint io
    cdef public bint decoding

    def __cinit__(self, Wire wire not None, uint64_t base, uint64_t size, *, bint io=False):
        self.wire = wire
        self.base = base
        self.size = size
        self.io = io
        self.decoding = True

    def read(self, uint64_t offset, int width):
        """Make one read of `width` bytes (1, 2, 4; in memory also 8)."""
        if not self.decoding:
            return ~<uint64_t>0 >> (64 - 8 * width)
        return self.wire._read(b"in" if self.io else b"read", _SUFFIX[width], self.base + offset)

    def write(self, uint64_t offset, int width, uint64_t value):
        """Post one write of `width` bytes."""
        if self.decoding:
            self.wire._write(b"out" if self.io else b"write", _SUFFIX[width],
                             self.base + offset, value)

    def read_many(self, uint64_t offset, int width, Py_ssize_t count, Py_ssize_t step):
        """Make `count` reads, `step` bytes apart, pipelined, in order."""
        cdef Wire wire = self.wire
        cdef bytes out = PyBytes_FromStringAndSize(NULL, count * width)
        cdef char *to = PyBytes_AS_STRING(out)
        cdef char suffix = _SUFFIX[width]
        cdef Py_ssize_t done = 0, batch
        if not self.decoding:
            memset(to, 0xff, count * width)
            return out
        wire._enter()
        try:
            wire._check_alive(b"a pipelined read")
            wire._await(0, b"posted writes")
            while done < count:
                batch = min(count - done, <Py_ssize_t>DEPTH)
                self._ask_batch(offset + done * step, suffix, batch, step)
                for _ in range(batch):
                    wire._await(wire.outstanding - 1, b"a pipelined read")
                    wire._demand_number(b"a pipelined read")
                    memcpy(to, &wire.value, width)      # little-endian hosts only
                    to += width
                done += batch
            return out
        finally:
            PyThread_release_lock(wire.lock)

    cdef int _ask_batch(self, uint64_t offset, char suffix, Py_ssize_t n, Py_ssize_t step) except -1:
        cdef char lines[DEPTH * 32]
        cdef size_t used = 0
        cdef Py_ssize_t i
        cdef const char *verb = b"in" if self.io else b"read"
        for i in range(n):
            used += snprintf(lines + used, 32, b"%s%c 0x%lx\n", verb, suffix,
                             self.base + offset + i * step)
        return self.wire._post(lines, used, n)

    def write_many(self, uint64_t offset, int width, Py_ssize_t step, bytes data not None):
        """Post one write per `width` bytes of `data`, `step` bytes apart, in order."""
        cdef Py_ssize_t count = len(data) // width, done = 0, batch
        cdef const char *source = PyBytes_AS_STRING(data)
        cdef Wire wire = self.wire
        if not self.decoding:
            return
        wire._enter()
        try:
            while done < count:
                batch = min(count - done, <Py_ssize_t>DEPTH)
                self._post_batch(offset + done * step, width, source + done * width, batch, step)
                done += batch
        finally:
            PyThread_release_lock(wire.lock)

    cdef int _post_batch(self, uint64_t offset, int width, const char *source, Py_ssize_t n,
                         Py_ssize_t step) except -1:
        cdef char lines[DEPTH * LINE]
        cdef size_t used = 0
        cdef Py_ssize_t i
        cdef uint64_t value
        cdef char suffix = _SUFFIX[width]
        cdef const char *verb = b"out" if self.io else b"write"
        for i in range(n):
            value = 0
            memcpy(&value, source + i * width, width)   # little-endian hosts only
            used += snprintf(lines + used, LINE, b"%s%c 0x%lx 0x%lx\n", verb, suffix,
                             self.base + offset + i * step, value)
        return self.wire._post(lines, used, n)

    def barrier(self):
        """Return when every posted write has reached QEMU's device."""
        self.wire.settle()
