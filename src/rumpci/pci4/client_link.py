"""A client's connection: requests and answers as structures, errors as exceptions.

The other end is not believed: what is no answer to what was asked ends the
connection, and every wait for it has a limit.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rumpci import errors
from rumpci.errors import BadRequest, BadURL, HostRefused, HostUnavailable, MachineDied, RumpciError
from rumpci.pci4 import abi
from rumpci.pci4._channel import Channel
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import Message

log = logging.getLogger("rumpci.pci4")
M = TypeVar("M", bound=Message)
_HANDLE = abi.Handle.LAYOUT
_ROWS = 1 << 16
"""Rows that a listing may have: more are no listing."""


class Connection:
    """To the guard that serves at `path`; each answer may take `limit` seconds.

    `made` is a socket that is connected already.  Raises HostUnavailable (ENOENT or as
    connect(2)), HostRefused (EINVAL), BadURL.
    """

    def __init__(self, path: str, limit: float, made: socket.socket | None = None) -> None:
        self.path = path
        self._socket = made or _connect(path, limit)
        sizes = {int(op): kind.LAYOUT.size for op, kind in abi.STRUCTURES.items()}
        self.channel = Channel(
            self._socket.fileno(),
            magic=abi.MAGIC,
            access=Op.WINDOW_ACCESS,
            sizes=sizes,
            error=abi.Error.LAYOUT.size,
            lost=self.lost,
            refused=refused,
            limit=limit,
        )

    def call(self, op: Op, request: M) -> M:
        """Make an operation; the answer.  Raises what the guard raised, or MachineDied (EIO)."""
        answer, descriptors = self.call_fds(op, request)
        _close_all(descriptors)
        return answer

    def call_fds(self, op: Op, request: M) -> tuple[M, list[int]]:
        """As `call`; and the descriptors beside the answer, which are the caller's."""
        data, descriptors = self.channel.exchange(op, request.pack())
        try:
            return type(request).unpack(data), descriptors
        except ValueError as error:
            _close_all(descriptors)
            raise self.garbage(op, str(error)) from error

    def handle(self, op: Op, handle: int) -> int:
        """Make an operation on a handle; its value."""
        data, descriptors = self.channel.exchange(op, _HANDLE.pack(handle, 0))
        _close_all(descriptors)
        return int(_HANDLE.unpack(data)[1])

    def raw(self, op: Op, request: bytes) -> bytes:
        """Make an operation whose structure the caller packs and unpacks."""
        data, descriptors = self.channel.exchange(op, request)
        _close_all(descriptors)
        return data

    def rows(self, op: Op, kind: type[M]) -> Iterator[M]:
        """A listing, row by row.  Row 0 of an empty one may be refused, as row 5 of five is."""
        index, total = 0, 1
        while index < total:
            try:
                row = self.call(op, kind(index=index))
            except BadRequest:
                if index:
                    raise
                return
            total = row.total
            if total > _ROWS:
                raise self.garbage(op, f"a listing of {total} rows")
            if index < total:
                yield row
            index += 1

    def flush(self) -> None:
        """Settle what was posted; what was refused of it is logged: nobody is left to be told."""
        with contextlib.suppress(MachineDied):
            if error := self.channel.settle():
                log.warning("a posted write was refused: %s", error)

    def lost(self, tried: int | str, why: str) -> MachineDied:
        """The error for a connection that is of no use any more."""
        what = tried if isinstance(tried, str) else _op_name(tried)
        return MachineDied(
            f"{what} at {self.path}", why, "see the guard's log, start it again, open the host anew"
        )

    def garbage(self, tried: int | str, why: str) -> MachineDied:
        """End the connection for an answer that makes no sense; the error."""
        self.channel.close(why)
        return self.lost(tried, why)

    def close(self) -> None:
        """End the connection.  Doing it twice does nothing."""
        self.channel.close("the host was closed")
        with contextlib.suppress(OSError):  # it wakes a thread that waits for an answer
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def packable(refusal: Callable[[str], RumpciError]) -> Iterator[None]:
    """Numbers that no structure can hold are refused as the guard would refuse them."""
    try:
        yield
    except ValueError as error:
        raise refusal(str(error)) from error


def clip(text: str, size: int) -> str:
    """As much of a text as `size` bytes hold: names are for listings only."""
    return text.encode(errors="replace")[:size].decode(errors="ignore").replace("\0", "?")


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


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _op_name(number: int) -> str:
    return Op(number).name.lower()


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
