# cython: language_level=3, boundscheck=False, wraparound=False
"""A client's end of the protocol: requests sent in order, answers taken in order.

Who waits for an answer first looks again and again, giving the processor away at each
turn: a guard answers sooner than a sleep would end.  A posted request is sent at once and
its answer taken later, in order; at most DEPTH are outstanding, so that neither side can
block the other on a full socket.  What is no answer to what was asked ends the connection.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock,
    PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
)
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

cdef extern from "../_endian.h" nogil:
    uint32_t htole32(uint32_t)
    uint32_t le32toh(uint32_t)
    uint64_t htole64(uint64_t)
    uint64_t le64toh(uint64_t)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, MSG_CMSG_CLOEXEC
    enum: SOL_SOCKET, SCM_RIGHTS
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *)
    cmsghdr *CMSG_NXTHDR(msghdr *, cmsghdr *)
    unsigned char *CMSG_DATA(cmsghdr *)
    size_t CMSG_LEN(size_t)
    ssize_t send(int, const void *, size_t, int)
    ssize_t recvmsg(int, msghdr *, int)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum: POLLIN, POLLOUT
    int poll(pollfd *, unsigned long, int)

cdef enum:
    DEPTH = 64           # outstanding answers: so many small packets fit any socket's buffer
    HEADER = 16
    LIMIT = 4096         # bytes of a structure, see wire.py
    MOST_FDS = 253       # descriptors that one message can carry
    CONTROL = 2048
    SPIN_NS = 100000     # how long a wait looks before it sleeps
    WRITES = 16          # in WindowAccess.how

cdef enum Fate:
    GOOD = 0
    GONE = 1
    SILENT = 2
    GARBAGE = 3
    REFUSED = 4          # an answer, which is an error
    INTERRUPTED = 5      # a signal arrived, or may have: let Python look

cdef packed struct Head:
    uint32_t magic
    uint32_t op
    uint32_t serial
    int32_t errno_

cdef packed struct Access:
    Head head
    uint32_t window
    uint32_t how
    uint64_t position
    uint64_t value


cdef inline uint64_t _now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef class Channel:
    """Requests over the connected SOCK_SEQPACKET socket `fd`, which stays the caller's.

    `magic` and `access` are the protocol's numbers, `sizes` the bytes of each operation's
    structure, `error` those of an error.  `lost(tried, why)` makes the exception for a
    connection that is of no use any more, `refused(errno, data)` that for an answer that is
    an error.  An answer may take `limit` seconds.
    """

    cdef int fd
    cdef uint32_t magic, access_op, error_size
    cdef uint64_t limit, until
    cdef dict sizes
    cdef object lost, refused
    cdef object pending          # the error of a posted request, until somebody can be told
    cdef object death            # why it is of no use any more
    cdef PyThread_type_lock lock
    cdef uint32_t serial         # of the last request
    cdef uint32_t outstanding
    cdef uint32_t ops[DEPTH]
    cdef uint32_t expected[DEPTH]
    cdef bint told[DEPTH]        # whether an error is to be told to whoever comes next
    cdef char inbuf[HEADER + LIMIT + 8]
    cdef size_t have
    cdef char control[CONTROL]
    cdef int fds[MOST_FDS]
    cdef int nfds

    def __cinit__(self, int fd, *, uint32_t magic, uint32_t access, dict sizes, uint32_t error,
                  lost, refused, double limit):
        self.fd, self.magic, self.access_op, self.sizes = fd, magic, access, sizes
        self.error_size = error
        self.lost, self.refused = lost, refused
        self.limit = <uint64_t>(limit * 1e9)
        self.lock = PyThread_allocate_lock()

    def __dealloc__(self):
        self._drop()
        PyThread_free_lock(self.lock)

    # ---- what a client calls -----------------------------------------------------------

    def read(self, uint32_t window, uint64_t position, uint32_t width):
        """Make one access, a read, and return its value."""
        cdef Access *answer
        self._enter()
        try:
            self._send_access(window, width, position, 0, False)
            self._await("a register read")
            self._tell()
            answer = <Access *>self.inbuf
            return le64toh(answer.value)
        finally:
            PyThread_release_lock(self.lock)

    def post(self, uint32_t window, uint64_t position, uint32_t width, uint64_t value):
        """Send one write; its answer is looked at later."""
        self._enter()
        try:
            self._send_access(window, width | WRITES, position, value, True)
        finally:
            PyThread_release_lock(self.lock)

    def post_request(self, uint32_t op, bytes body not None):
        """Send any request that way."""
        self._enter()
        try:
            self._send(op, body, True)
        finally:
            PyThread_release_lock(self.lock)

    def exchange(self, uint32_t op, bytes body not None):
        """Send one request: its answer, and the list of the descriptors beside it.

        What was posted is settled first: if some of it was refused, that is raised and
        nothing is sent.
        """
        self._enter()
        try:
            self._settle_all("settling writes")
            self._tell()
            self._send(op, body, False)
            self._await(op)
            fds = [self.fds[i] for i in range(self.nfds)]
            self.nfds = 0
            return PyBytes_FromStringAndSize(self.inbuf + HEADER, self.have - HEADER), fds
        finally:
            PyThread_release_lock(self.lock)

    def settle(self):
        """Return when every posted request was answered; the first error of one, or None."""
        self._enter()
        try:
            self._settle_all("settling writes")
            error, self.pending = self.pending, None
            return error
        finally:
            PyThread_release_lock(self.lock)

    def close(self, str why not None):
        """Refuse every later request for this reason: the caller is about to close the socket."""
        self._enter()
        if self.death is None:
            self.death = why
        PyThread_release_lock(self.lock)

    # ---- how -----------------------------------------------------------------------------

    cdef void _enter(self) noexcept:
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)

    cdef int _tell(self) except -1:
        """Raise what a posted request met."""
        if self.pending is not None:
            error, self.pending = self.pending, None
            raise error
        return 0

    cdef int _send_access(self, uint32_t window, uint32_t how, uint64_t position,
                          uint64_t value, bint posted) except -1:
        cdef Access request
        request.window, request.how = htole32(window), htole32(how)
        request.position, request.value = htole64(position), htole64(value)
        return self._transmit(self.access_op, <char *>&request, sizeof(Access), posted)

    cdef int _send(self, uint32_t op, bytes body, bint posted) except -1:
        cdef char request[HEADER + LIMIT]
        cdef size_t n = PyBytes_GET_SIZE(body)
        if n != self.sizes[op]:
            raise ValueError(f"operation {op} has {self.sizes[op]} bytes, not {n}")
        memcpy(request + HEADER, PyBytes_AS_STRING(body), n)
        return self._transmit(op, request, HEADER + n, posted)

    cdef int _transmit(self, uint32_t op, char *request, size_t n, bint posted) except -1:
        """Send a request, after the answers that there is no room to wait for."""
        cdef Head *head = <Head *>request
        cdef Fate fate
        cdef uint32_t slot
        if self.death is not None:
            raise self.lost(op, self.death)
        self.until = _now() + self.limit
        while self.outstanding >= DEPTH:
            self._take(op, True)
        head.magic, head.op = htole32(self.magic), htole32(op)
        head.serial, head.errno_ = htole32(self.serial + 1), 0
        fate = INTERRUPTED
        while fate != GOOD:
            with nogil:
                fate = self._push(request, n)
            self._judge(fate, op)
        self.serial += 1
        slot = self.serial % DEPTH
        self.ops[slot], self.expected[slot] = op, self.sizes[op]
        self.told[slot] = posted
        self.outstanding += 1
        return 0

    cdef Fate _push(self, const char *request, size_t n) noexcept nogil:
        cdef pollfd p
        while True:
            if send(self.fd, request, n, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0:
                return GOOD
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                return GONE
            if _now() > self.until:
                return SILENT
            p.fd, p.events, p.revents = self.fd, POLLOUT, 0
            if poll(&p, 1, 100) <= 0:
                return INTERRUPTED

    cdef int _settle_all(self, tried) except -1:
        if self.death is not None:
            raise self.lost(tried, self.death)
        self.until = _now() + self.limit
        while self.outstanding:
            self._take(tried, True)
        return 0

    cdef int _await(self, tried) except -1:
        """Take answers up to that of the last request, and raise if that is an error."""
        cdef Fate fate
        self.until = _now() + self.limit
        while self.outstanding > 1:
            self._take(tried, True)
        fate = self._take(tried, False)
        if fate == REFUSED:
            raise self._refusal()
        return 0

    cdef Fate _take(self, tried, bint posted) except *:
        """Take one answer.  A posted one's error is kept, its descriptors are dropped."""
        cdef Fate fate
        cdef uint32_t slot
        fate = INTERRUPTED
        while fate == INTERRUPTED:
            with nogil:
                fate = self._receive()
            if fate != REFUSED:
                self._judge(fate, tried)  # after a signal's exception the answer is dropped
        slot = (self.serial - self.outstanding + 1) % DEPTH
        self.outstanding -= 1
        if posted or fate == REFUSED:
            self._drop()
        if fate == REFUSED and self.told[slot] and self.pending is None:
            self.pending = self._refusal()
        self.until = _now() + self.limit
        return fate

    cdef object _refusal(self):
        cdef Head *head = <Head *>self.inbuf
        data = PyBytes_FromStringAndSize(self.inbuf + HEADER, self.have - HEADER)
        try:
            return self.refused(<int32_t>le32toh(<uint32_t>head.errno_), data)
        except ValueError as error:
            self.death = f"an error that is none: {error}"
            return self.lost("taking an answer", self.death)

    cdef int _judge(self, Fate fate, tried) except -1:
        """Go on, or raise: look for signals, or end the connection."""
        if fate == GOOD:
            return 0
        if fate == INTERRUPTED:
            return PyErr_CheckSignals()
        if fate == GONE:
            self.death = "the connection ended"
        elif fate == SILENT:
            self.death = f"no answer within {self.limit / 1e9:g} s"
        else:
            self.death = "what arrived is no answer to what was asked"
        raise self.lost(tried, self.death)

    cdef Fate _receive(self) noexcept nogil:
        """Wait for a message: look while an answer is likely to come soon, then sleep."""
        cdef uint64_t start = _now(), now
        cdef pollfd p
        cdef ssize_t n
        while True:
            n = self._look()
            if n > 0:
                return self._check(n)
            if n == 0 or errno not in (EAGAIN, EINTR):
                return GONE
            now = _now()
            if now - start < SPIN_NS:
                sched_yield()
                continue
            if now > self.until:
                return SILENT
            p.fd, p.events, p.revents = self.fd, POLLIN, 0
            if poll(&p, 1, 100) <= 0:
                return INTERRUPTED     # one that came while looking ends no poll

    cdef ssize_t _look(self) noexcept nogil:
        cdef msghdr message
        cdef iovec vector
        cdef ssize_t n
        vector.iov_base, vector.iov_len = self.inbuf, HEADER + LIMIT + 8
        memset(&message, 0, sizeof(message))
        message.msg_iov, message.msg_iovlen = &vector, 1
        message.msg_control, message.msg_controllen = self.control, CONTROL
        n = recvmsg(self.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
        if n >= 0:
            self.have = n
            self._gather(&message)
        return n

    cdef void _gather(self, msghdr *message) noexcept nogil:
        """Note the descriptors, which are ours from now on, whatever they came with."""
        cdef cmsghdr *one = CMSG_FIRSTHDR(message) if message.msg_controllen else NULL
        cdef size_t count, i
        self._drop()
        while one != NULL:
            if one.cmsg_level == SOL_SOCKET and one.cmsg_type == SCM_RIGHTS:
                count = (one.cmsg_len - CMSG_LEN(0)) // sizeof(int)
                for i in range(count):
                    if self.nfds < MOST_FDS:
                        self.fds[self.nfds] = (<int *>CMSG_DATA(one))[i]
                        self.nfds += 1
            one = CMSG_NXTHDR(message, one)

    cdef void _drop(self) noexcept nogil:
        while self.nfds:
            self.nfds -= 1
            close(self.fds[self.nfds])

    cdef Fate _check(self, size_t n) noexcept nogil:
        """Whether what arrived is the answer that is due."""
        cdef Head *head = <Head *>self.inbuf
        cdef uint32_t serial = self.serial - self.outstanding + 1
        cdef uint32_t slot = serial % DEPTH
        cdef uint32_t size = self.expected[slot]
        if n < HEADER or le32toh(head.magic) != self.magic:
            return GARBAGE
        if le32toh(head.serial) != serial or le32toh(head.op) != self.ops[slot]:
            return GARBAGE
        if head.errno_:
            return REFUSED if n == HEADER + self.error_size else GARBAGE
        return GOOD if n == HEADER + size else GARBAGE
