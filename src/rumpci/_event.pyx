# cython: language_level=3
"""The seam's record of an interrupt; native, as one is made before each call of a handler."""


cdef class Event:
    """One record of an interrupt.

    `sequence` counts the records of this interrupt from 1; `vector` is its
    index in the function; `count` is how often it fired since the last record;
    `status` are the words that the shim kept.
    """

    cdef public object sequence, vector, count
    cdef public tuple status

    __match_args__ = ("sequence", "vector", "count", "status")

    def __cinit__(self, sequence, vector, count, tuple status=()):
        self.sequence, self.vector, self.count, self.status = sequence, vector, count, status

    def __eq__(self, other):
        if type(other) is not Event:
            return NotImplemented
        return _fields(self) == _fields(other)

    __hash__ = None

    def __repr__(self):
        return (f"Event(sequence={self.sequence!r}, vector={self.vector!r}, "
                f"count={self.count!r}, status={self.status!r})")


cdef tuple _fields(Event event):
    return event.sequence, event.vector, event.count, event.status
