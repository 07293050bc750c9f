"""A client's connection: requests and answers as structures, errors as exceptions.

client_socket.py   over a Unix socket, to a guard in another process
client_node.py     by ioctl(2) of a device node, to a kernel
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from rumpci.errors import BadRequest, MachineDied, RumpciError
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import Message

log = logging.getLogger("rumpci.pci4")
M = TypeVar("M", bound=Message)
_HANDLE = abi.Handle.LAYOUT
_ROWS = 1 << 16
"""Rows that a listing may have: more are no listing."""


class Channel(Protocol):
    """How requests get there: a socket's (_channel.pyx), or a device node's (client_node.py)."""

    def read(self, window: int, position: int, width: int, /) -> int:
        """Make one access, a read, and return its value."""

    def post(self, window: int, position: int, width: int, value: int, /) -> None:
        """Make one write.  It may be refused later, by whatever comes next."""

    def post_request(self, op: int, body: bytes, /) -> None:
        """Make any request that way."""

    def exchange(self, op: int, body: bytes, /) -> tuple[bytes, list[int]]:
        """Make a request: its answer, and the descriptors beside it, which are the caller's."""

    def settle(self) -> Exception | None:
        """Return when every posted request was answered; the first error of one, or None."""

    def close(self, why: str, /) -> None:
        """Refuse every later request for this reason."""


class Source(Protocol):
    """Where the events of one interrupt come from."""

    def fileno(self) -> int:
        """A descriptor that polls readable when there is one."""

    def ready(self) -> bool:
        """Whether `take` would find something, be it an error or the end."""

    def take(self) -> bytes:
        """Whole records; none if there are none.

        Raises OSError, EOFError at the end, ValueError for what are no records.
        """

    def close(self) -> None:
        """Let it go."""


class Connection(ABC):
    """To the guard at `path`, whatever carries the requests: `channel` does.

    `wordless`: its refusals are numbers, and do not say who or why.
    """

    wordless = False

    def __init__(self, path: str, channel: Channel) -> None:
        self.path, self.channel = path, channel

    @abstractmethod
    def sources(self, indices: Sequence[int], descriptors: list[int]) -> list[Source]:
        """Where the events of interrupts that were just taken come from, in order.

        It takes the descriptors.  Raises MachineDied (EIO) for what are none.
        """

    @abstractmethod
    def for_claim(self) -> Connection:
        """A connection for one more claim: this one, or another to the same guard."""

    @abstractmethod
    def close(self) -> None:
        """End the connection.  Doing it twice does nothing."""

    def call(self, op: Op, request: M) -> M:
        """Make an operation; the answer.  Raises what the guard raised, or MachineDied (EIO)."""
        answer, descriptors = self.call_fds(op, request)
        close_all(descriptors)
        return answer

    def call_fds(self, op: Op, request: M) -> tuple[M, list[int]]:
        """As `call`; and the descriptors beside the answer, which are the caller's."""
        data, descriptors = self.channel.exchange(op, request.pack())
        try:
            return type(request).unpack(data), descriptors
        except ValueError as error:
            close_all(descriptors)
            raise self.garbage(op, str(error)) from error

    def handle(self, op: Op, handle: int) -> int:
        """Make an operation on a handle; its value."""
        data, descriptors = self.channel.exchange(op, _HANDLE.pack(handle, 0))
        close_all(descriptors)
        return int(_HANDLE.unpack(data)[1])

    def raw(self, op: Op, request: bytes) -> bytes:
        """Make an operation whose structure the caller packs and unpacks."""
        data, descriptors = self.channel.exchange(op, request)
        close_all(descriptors)
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


def holds(descriptor: int, start: int, size: int) -> bool:
    """Whether a file has these bytes: beyond its end is memory that kills whoever touches it."""
    status = os.fstat(descriptor)
    return not stat.S_ISREG(status.st_mode) or start + size <= status.st_size


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def _op_name(number: int) -> str:
    return Op(number).name.lower()
