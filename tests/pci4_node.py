"""A device node that is none: what a kernel would do with it, a guard behind a socket does.

So all of the client's way by ioctl(2) is tried on every machine.  The node's places of mmap(2)
are above 2**62, as a kernel's are; its errors are numbers.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from rumpci.errors import HostUnavailable, RumpciError
from rumpci.guard import Guard
from rumpci.hosts import pci4
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client_socket import SocketConnection
from rumpci.pci4.node import Node, command
from tests.pci4_served import served

PLACES = 1 << 62
"""Where places begin; each file has so much room:"""
ROOM = 1 << 40
_LIMIT = 20.0


class FakeNode(Node):
    """The node at `path`, whose guard is served beside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._guard = SocketConnection(f"{path}.socket", _LIMIT)
        except HostUnavailable as error:
            raise HostUnavailable(f"opening {path}", error.why, "-", errno=error.errno) from error
        self._files: list[int] = []
        self._events: dict[int, list[socket.socket]] = {}
        self._poll = select.epoll()

    def again(self) -> FakeNode:
        return FakeNode(self.path)

    def ioctl(self, op: int, structure: bytearray) -> None:
        assert command(op, len(structure)) & 0xFF == op
        try:
            data, fds = self._guard.channel.exchange(op, bytes(structure))
        except RumpciError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from error
        structure[:] = data
        if op == Op.INTR_ALLOC:
            self._take_events(structure, fds)
        elif fds:
            self._take_memory(op, structure, fds)
        elif op in (Op.INTR_RELEASE, Op.RELEASE):
            self._drop(abi.Handle.unpack(bytes(structure)).handle)

    def _take_events(self, structure: bytearray, fds: list[int]) -> None:
        claim = abi.IntrAlloc.unpack(bytes(structure)).claim
        self._events[claim] = [socket.socket(fileno=fd) for fd in fds]
        for events in self._events[claim]:
            self._poll.register(events, select.EPOLLIN)

    def _drop(self, claim: int) -> None:
        for events in self._events.pop(claim, ()):
            self._poll.unregister(events)
            events.close()

    def _take_memory(self, op: int, structure: bytearray, fds: Sequence[int]) -> None:
        """Descriptors become places of the node's mmap(2)."""
        base = PLACES + len(self._files) * ROOM
        self._files += fds
        answer: Any = abi.STRUCTURES[Op(op)].unpack(bytes(structure))
        if op == Op.WINDOW_MAP:
            answer.fd_offset += base
        else:
            answer.range_offset = [base + at for at in answer.range_offset[: answer.nranges]]
        structure[:] = answer.pack()

    def read(self) -> bytes:
        found = b""
        for fd, _ in self._poll.poll(0):
            for events in (e for its in self._events.values() for e in its if e.fileno() == fd):
                found += events.recv(4096, socket.MSG_DONTWAIT)
        return found

    def readable(self) -> bool:
        return bool(self._poll.poll(0))

    def fileno(self) -> int:
        return self._poll.fileno()

    def share(self, place: int) -> tuple[int, int]:
        number, offset = divmod(place - PLACES, ROOM)
        return os.dup(self._files[number]), offset

    def close(self) -> None:
        for claim in list(self._events):
            self._drop(claim)
        self._poll.close()
        for fd in self._files:
            os.close(fd)
        self._guard.close()


@contextlib.contextmanager
def noded(guard: Guard) -> Iterator[str]:
    """The URL of a node of this guard, which stays open."""
    with served(guard) as url, mock.patch.object(pci4, "Node", FakeNode):
        served_at = Path(url.removeprefix("pci4:"))
        node = served_at.with_name("node")
        node.symlink_to("/dev/null")
        Path(f"{node}.socket").symlink_to(served_at)
        yield f"pci4:{node}"
