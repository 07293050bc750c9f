# cython: language_level=3, boundscheck=False, wraparound=False
"""A client's end of an interrupt: its records, from a socket of its own."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport strerror

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT, MSG_PEEK
    ssize_t recv(int, void *, size_t, int)

cdef enum:
    ROOM = 4096          # bytes of a message, and some more


cdef class Events:
    """An interrupt's records from the connected SOCK_SEQPACKET socket `fd`, the caller's.

    Each message is one record of `size` bytes, or several.  Nothing here waits, and that
    there is nothing is no exception: a driver that waits asks again and again.
    """

    cdef int fd
    cdef ssize_t size

    def __cinit__(self, int fd, Py_ssize_t size):
        if not 0 < size < ROOM:
            raise ValueError(f"a record of {size} bytes")
        self.fd, self.size = fd, size

    def ready(self):
        """Whether there is something to take, be it an error or the end."""
        cdef char one
        return recv(self.fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 or errno not in (EAGAIN, EINTR)

    def take(self, int most):
        """The bytes of at most `most` messages.

        Raises OSError, EOFError at the end, and ValueError for one that is no whole records.
        """
        cdef char message[ROOM]
        cdef ssize_t n
        taken = b""
        for _ in range(most):
            n = recv(self.fd, message, ROOM, MSG_DONTWAIT)
            if n > 0:
                if n == ROOM or n % self.size:
                    raise ValueError(f"{n} bytes")
                taken += PyBytes_FromStringAndSize(message, n)
            elif n == 0:
                raise EOFError
            elif errno == EAGAIN:
                break
            elif errno != EINTR:
                raise OSError(errno, strerror(errno).decode())
        return taken
