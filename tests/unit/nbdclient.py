"""An NBD client of bytes, written from the protocol's document and not from the server."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import NamedTuple, Self

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO, OPT_STRUCTURED = 1, 2, 3, 6, 7, 8
ACK, SERVER, INFO = 1, 2, 3
ERR_UNSUP, ERR_INVALID, ERR_UNKNOWN, ERR_TOO_BIG = ((1 << 31) + n for n in (1, 3, 6, 9))
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA = 1


class Reply(NamedTuple):
    option: int
    kind: int
    data: bytes


class Client:
    """A connection; `flags` are the client's handshake flags."""

    def __init__(self, path: Path, flags: int | None = 3) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(path))
        self.greeting = self.take(18)
        if flags is not None:
            self.send(struct.pack(">I", flags))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes; fewer if the server closed."""
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except ConnectionError:
                break
            if not piece:
                break
            data += piece
        return bytes(data)

    def closed(self) -> bool:
        return self.take(1) == b""

    def option(self, option: int, data: bytes = b"", length: int | None = None) -> None:
        size = len(data) if length is None else length
        self.send(b"IHAVEOPT" + struct.pack(">II", option, size) + data)

    def reply(self) -> Reply:
        magic, option, kind, length = struct.unpack(">QIII", self.take(20))
        assert magic == 0x3E889045565A9
        return Reply(option, kind, self.take(length))

    def replies(self) -> list[Reply]:
        """To the acknowledgement or an error."""
        got = [self.reply()]
        while got[-1].kind in (SERVER, INFO):
            got.append(self.reply())
        return got

    def go(self, name: bytes = b"", option: int = OPT_GO, wishes: bytes = b"") -> list[Reply]:
        count = struct.pack(">H", len(wishes) // 2)
        self.option(option, struct.pack(">I", len(name)) + name + count + wishes)
        return self.replies()

    def request(
        self, command: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0
    ) -> None:
        header = struct.pack(">IHHQQI", 0x25609513, flags, command, 0xC00C1E, offset, length)
        self.send(header + data)

    def answer(self, length: int = 0) -> tuple[int, bytes]:
        """The error and, if there is none, `length` bytes of data."""
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert (magic, cookie) == (0x67446698, 0xC00C1E)
        return error, b"" if error else self.take(length)

    def read(self, offset: int, length: int) -> tuple[int, bytes]:
        self.request(READ, offset, length)
        return self.answer(length)

    def write(self, offset: int, data: bytes, flags: int = 0) -> int:
        self.request(WRITE, offset, len(data), data, flags)
        return self.answer()[0]

    def do(self, command: int, offset: int = 0, length: int = 0, flags: int = 0) -> int:
        self.request(command, offset, length, flags=flags)
        return self.answer()[0]


def connected(path: Path) -> Client:
    """A client that is past the options."""
    client = Client(path)
    assert client.go()[-1].kind == ACK
    return client
