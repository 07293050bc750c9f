"""A guard at the other end of a socket, made of the protocol's structures alone.

It has one device with a BAR of registers that keep what is written.  `answers` replaces
operations: a function of the request gives the answer, bytes as they are to be sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.wire import Message
from tests.waiting import LIMIT_S

PLACE = Address(0, 0, 2, 0)
BAR_SIZE, RAM_SIZE = 0x1000, 0x8000
Answer = Callable[[Any], Any]


class Raw(bytes):
    """An answer that is sent as it is, without a header of ours."""


class Fake:
    """A server for one client at a time; `seen` are the operations that arrived."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, list[Op]()
        self.answers: dict[Op, Answer] = {}
        self.die_at: int | None = None
        self.registers: dict[int, int] = {}
        self.refuse = set[int]()  # positions whose writes are refused
        self.ram = os.memfd_create("ram")
        os.truncate(self.ram, RAM_SIZE)
        self.events: list[socket.socket] = []
        self._fds: Sequence[int] = ()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        self._listener.close()
        for event in self.events:
            event.close()
        os.close(self.ram)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                while self._answer(client):
                    pass

    def _answer(self, client: socket.socket) -> bool:
        data = client.recv(8192)
        if not data or (self.die_at is not None and len(self.seen) >= self.die_at):
            return False
        head: Any = abi.Header.unpack(data[:16])
        op = Op(head.op)
        self.seen.append(op)
        message = abi.STRUCTURES[op].unpack(data[16:])
        self._fds = ()
        answer = self.answers.get(op, getattr(self, op.name.lower(), lambda m: m))(message)
        for packet in answer if isinstance(answer, list) else [answer]:
            self._send(client, head, packet)
        return True

    def _send(self, client: socket.socket, head: Any, answer: Any) -> None:
        if not isinstance(answer, Raw):
            head.errno = 22 if isinstance(answer, abi.Error) else 0
            answer = head.pack() + (answer.pack() if isinstance(answer, Message) else answer)
        socket.send_fds(client, [answer], list(self._fds))

    def fire(self) -> None:
        """Have the vector that was allocated last fire."""
        self.events[-2].send(abi.Event.LAYOUT.pack(1, 1, 0, 0, 0, 0, 0, 0))

    # ---- operations ------------------------------------------------------------------------

    def version(self, m: Any) -> Any:
        m.features = 1
        return m

    def list(self, m: Any) -> Any:
        m.total, m.address, m.id, m.secondary = 1, abi.pack_address(PLACE), 0x11E8_1234, -1
        m.bar_size, m.bar_base, m.bar_flags = (BAR_SIZE,), (0xFE00_0000,), (0,)
        return m

    def claim(self, m: Any) -> Any:
        m.claim = 7
        return m

    def window_map(self, m: Any) -> Any:
        m.window = 9
        return m

    def window_access(self, m: Any) -> Any:
        if m.how < 16:
            m.value = self.registers.get(m.position, 0)
        elif m.position in self.refuse:
            return abi.Error(name="DeadWindow", tried="write", why="it was reset", remedy="wait")
        else:
            self.registers[m.position] = m.value
        return m

    def intr_count(self, m: Any) -> Any:
        m.count = 4
        return m

    def intr_alloc(self, m: Any) -> Any:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(m.count)]
        self.events += [end for pair in pairs for end in pair]
        self._fds = [theirs.fileno() for _, theirs in pairs]
        m.intr, m.unit = tuple(range(30, 30 + m.count)), "msix3"
        return m

    def dma_alloc(self, m: Any) -> Any:
        self._fds = [self.ram]
        m.memory, m.count, m.nranges = 11, 1, 1
        m.seg_addr, m.seg_len = (0x10000,), (m.size,)
        m.range_offset, m.range_len = (0x1000,), (m.size,)
        return m

    def dmamap_load(self, m: Any) -> Any:
        m.count, m.seg_addr, m.seg_len = 1, (0x10000,), (m.length[0],)
        return m

    def dmamap_load_piece(self, m: Any) -> Any:
        m.count, m.seg_addr, m.seg_len = 1, (0x10000,), (m.length,)
        return m

    def dma_page(self, m: Any) -> Any:
        m.total = m.count = 1
        m.device, m.nsegs = (abi.pack_address(PLACE),), (1,)
        m.name, m.seg_addr, m.seg_len = b"ring", (0x10000,), (4096,)
        return m

    def iommu_page(self, m: Any) -> Any:
        m.count, m.more = 1, 0
        m.device, m.leaf_addr, m.leaf_size = (abi.pack_address(PLACE),), (0x10000,), (4096,)
        m.direction = (3,)
        return m


@contextlib.contextmanager
def fake_guard(path: Path) -> Iterator[Fake]:
    made = Fake(path)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def opened(fake: Fake, limit: float = LIMIT_S) -> Iterator[Pci4Host]:
    with contextlib.closing(open_host(f"pci4:{fake.path}?limit={limit}")) as host:
        assert isinstance(host, Pci4Host)
        yield host
