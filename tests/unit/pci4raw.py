"""A client of the pci(4) protocol made of nothing but its structures: what a test can bend."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rumpci.guard import Guard
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.policy import Policy
from rumpci.pci4.server import Server
from rumpci.pci4.wire import Message
from tests.waiting import LIMIT_S

HEADER = abi.Header.LAYOUT.size


class Refused(Exception):
    """The answer was an Error."""

    def __init__(self, errno: int, error: Any) -> None:
        super().__init__(f"{error.name} [{errno}] {error.tried}: {error.why}; {error.remedy}")
        self.errno, self.error, self.name = errno, error, error.name


class Raw:
    """A connection; `greet` unless told not."""

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(LIMIT_S)
        self.serial = 0
        self.fds: list[int] = []
        try:
            self.sock.connect(str(path))
            if greet:
                self.ask(Op.VERSION, version=abi.VERSION)
        except BaseException:
            self.close()
            raise

    def send(self, op: int, body: bytes, *, magic: int = abi.MAGIC, errno: int = 0) -> None:
        self.serial += 1
        header = abi.Header(magic=magic, op=op, serial=self.serial, errno=errno)
        self.sock.send(header.pack() + body)

    def receive(self) -> tuple[Any, bytes]:
        data, fds, _, _ = socket.recv_fds(self.sock, 8192, 253)
        self.fds += fds
        if not data:
            raise EOFError
        return abi.Header.unpack(data[:HEADER]), data[HEADER:]

    def answer(self, op: Op) -> Any:
        header, body = self.receive()
        assert (header.op, header.serial) == (op, self.serial)
        if header.errno:
            raise Refused(header.errno, abi.Error.unpack(body))
        return abi.STRUCTURES[op].unpack(body)

    def ask(self, op: Op, message: Message | None = None, **values: Any) -> Any:
        """Ask, and return the answer.  Raises Refused, EOFError, OSError."""
        message = message or abi.STRUCTURES[op](**values)
        self.send(op, message.pack())
        return self.answer(op)

    def closed(self) -> bool:
        """Whether the server has closed it, what it sent before apart."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.sock.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # ---- what most tests need ----------------------------------------------------------

    def functions(self) -> list[Any]:
        total = self.ask(Op.LIST).total
        return [self.ask(Op.LIST, index=index) for index in range(total)]

    def claim(self, id_: int, who: str = "raw", nth: int = 0) -> int:
        found = [f for f in self.functions() if f.id == id_]
        return int(self.ask(Op.CLAIM, address=found[nth].address, who=who).claim)

    def window(self, claim: int, size: int = 0x1000, **more: int) -> int:
        wanted = {"claim": claim, "size": size, "bar": 0, "flags": 1} | more
        return int(self.ask(Op.WINDOW_MAP, abi.WindowMap(**wanted)).window)

    def read(self, window: int, position: int, width: int = 4) -> int:
        got = self.ask(Op.WINDOW_ACCESS, window=window, how=width, position=position)
        return int(got.value)

    def write(self, window: int, position: int, value: int, width: int = 4) -> None:
        self.ask(Op.WINDOW_ACCESS, window=window, how=16 + width, position=position, value=value)


@contextmanager
def serving(guard: Guard, path: Path, policy: Policy | None = None) -> Iterator[Server]:
    """A server in a thread; the guard is closed at the end."""
    server = Server(guard, path, policy)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        server.close()
        guard.close()


def resident() -> int:
    """KiB of memory that this process uses at the moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 10
