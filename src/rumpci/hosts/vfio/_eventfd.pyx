# cython: language_level=3, boundscheck=False, wraparound=False
"""An eventfd that is asked again and again: nothing here waits, and nothing to take is no error."""

from libc.errno cimport errno
from libc.stdint cimport uint64_t
from libc.string cimport strerror
from posix.unistd cimport close, read, write

cdef extern from "<sys/eventfd.h>" nogil:
    enum: EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int, int)

cdef extern from "<poll.h>" nogil:
    enum: POLLIN
    struct pollfd:
        int fd
        short events, revents
    int poll(pollfd *, unsigned long, int)


cdef class EventFd:
    """The eventfd `fd`, new.  Raises OSError.

    `ready` takes what it counted, for `take` to return: one system call for both.  Until
    then, or `arm`, the descriptor may be silent.
    """

    cdef readonly int fd
    cdef uint64_t kept

    def __cinit__(self):
        self.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.fd < 0:
            raise OSError(errno, strerror(errno).decode())

    cdef uint64_t more(self):
        cdef uint64_t count = 0
        return count if read(self.fd, &count, 8) == 8 else 0

    def ready(self):
        """Whether `take` would find something."""
        if not self.kept:
            self.kept = self.more()
        return self.kept > 0

    def arm(self):
        """Let the descriptor tell again; whether it does."""
        cdef pollfd asked
        if self.kept:
            self.add(self.kept)
            self.kept = 0
            return True
        asked.fd, asked.events = self.fd, POLLIN
        return poll(&asked, 1, 0) > 0

    def take(self):
        """How often it was signalled since the last time, or a part of that; 0: not at all."""
        cdef uint64_t count = self.kept
        self.kept = 0
        return count or self.more()

    def drain(self):
        """All that it has counted; it counts from 0 again."""
        cdef uint64_t count = self.kept
        self.kept = 0
        return count + self.more()

    cpdef add(self, uint64_t count):
        """Signal it so often."""
        write(self.fd, &count, 8)

    def close(self):
        """Close it.  Doing it twice does nothing."""
        if self.fd >= 0:
            close(self.fd)
        self.fd, self.kept = -1, 0

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
