"""A client's connection over a Unix socket.

The other end is not believed: what is no answer to what was asked ends the
connection, and every wait for it has a limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

from rumpci import errors
from rumpci.errors import BadURL, HostRefused, HostUnavailable, RumpciError
from rumpci.pci4 import abi
from rumpci.pci4._channel import Channel
from rumpci.pci4._events import Events
from rumpci.pci4.abi import Op
from rumpci.pci4.client_link import Connection, Source

_MOST = 1024
"""Messages that are taken at once: whoever sends without end does not hold a reader for ever."""


class SocketConnection(Connection):
    """To the guard that serves at `path`; each answer may take `limit` seconds.

    `made` is a socket that is connected already.  Raises HostUnavailable (ENOENT or as
    connect(2)), HostRefused (EINVAL), BadURL.
    """

    def __init__(self, path: str, limit: float, made: socket.socket | None = None) -> None:
        self._socket = made or _connect(path, limit)
        sizes = {int(op): kind.LAYOUT.size for op, kind in abi.STRUCTURES.items()}
        channel = Channel(
            self._socket.fileno(),
            magic=abi.MAGIC,
            access=Op.WINDOW_ACCESS,
            sizes=sizes,
            error=abi.Error.LAYOUT.size,
            lost=self.lost,
            refused=refused,
            limit=limit,
        )
        super().__init__(path, channel)

    def sources(self, indices: Sequence[int], descriptors: list[int]) -> list[Source]:
        """See Connection: each has a socket of its own."""
        if len(descriptors) != len(indices):
            raise self.garbage(Op.INTR_ALLOC, f"{len(descriptors)} descriptors of {len(indices)}")
        made = list[Source]()
        with contextlib.ExitStack() as failed:
            for _ in indices:
                made.append(self._source(descriptors))
                failed.callback(made[-1].close)
            failed.pop_all()
        return made

    def for_claim(self) -> Connection:
        """See Connection."""
        return self

    def close(self) -> None:
        """See Connection."""
        self.channel.close("the host was closed")
        with contextlib.suppress(OSError):  # it wakes a thread that waits for an answer
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _source(self, descriptors: list[int]) -> Source:
        """The first descriptor as a socket that keeps messages apart."""
        try:
            events = socket.socket(fileno=descriptors[0])
        except OSError as error:
            raise self.garbage(Op.INTR_ALLOC, f"no socket: {error}") from error
        descriptors.pop(0)
        if events.type not in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
            events.close()
            raise self.garbage(Op.INTR_ALLOC, "a socket that does not keep messages apart")
        return SocketSource(events)


class SocketSource:
    """An interrupt's own socket."""

    def __init__(self, events: socket.socket) -> None:
        self._events = events
        self._records = Events(events.fileno(), abi.Event.LAYOUT.size)
        self.fileno, self.ready, self.close = events.fileno, self._records.ready, events.close

    def take(self) -> bytes:
        """See Source."""
        return self._records.take(_MOST)


def refused(number: int, data: bytes) -> RumpciError:
    """The exception that an `Error` is.  Raises ValueError for bytes that are none."""
    told: Any = abi.Error.unpack(data)
    kind = getattr(errors, told.name, RumpciError)
    if not (isinstance(kind, type) and issubclass(kind, RumpciError)):
        kind = RumpciError
    made = kind(told.tried, told.why, told.remedy, errno=number)
    step = re.fullmatch(r"shim step ([0-9]{1,4})", told.tried)
    if isinstance(made, errors.BadShim) and step:  # the only thing besides that an error knows
        made.step = int(step[1])
    return made


def _connect(path: str, limit: float) -> socket.socket:
    tried = f"connecting to {path}"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(limit)
        made.connect(path)
    except OSError as error:
        made.close()
        raise _unavailable(tried, error) from error
    return made


def _unavailable(tried: str, error: OSError) -> RumpciError:
    if error.errno is None:  # Python itself refuses a path that is too long, and waits that end
        if isinstance(error, TimeoutError):
            return HostRefused(tried, "nobody accepts", "see the guard's log")
        return BadURL(tried, str(error), "use a shorter path")
    why = os.strerror(error.errno)
    if error.errno in (errno.EPROTOTYPE, errno.ENOTSOCK):
        return HostRefused(tried, f"no guard: {why}", "name the socket of `rumpci serve`")
    remedy = "start `rumpci serve`, or name its socket"
    if error.errno == errno.EACCES:
        remedy = "be in the group that may use the socket"
    return HostUnavailable(tried, why, remedy, errno=error.errno)
