"""A disk in memory, and a server of it in a thread."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import Buffer

from rumpci.cpu import own_cpu
from rumpci.disk import Disk
from rumpci.errors import BadRange, DriverError
from rumpci.nbd import Server


def pattern(size: int) -> bytes:
    """Bytes that tell their place: each word is its offset."""
    return b"".join(offset.to_bytes(8, "big") for offset in range(1, size, 8))


class RamDisk:
    """A Disk; `fail` is the errno that each operation raises, `log` what it was asked."""

    def __init__(self, block_size: int = 512, blocks: int = 2048, name: str = "ld0") -> None:
        self.disk_name, self.block_size, self.blocks = name, block_size, blocks
        self.disk_readonly = False
        self.data = bytearray(block_size * blocks)
        self.log: list[tuple[str, int, int]] = []
        self.fail: int | None = None
        self.bug: Exception | None = None

    def at(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def _note(self, what: str, lba: int, count: int) -> slice:
        self.log.append((what, lba, count))
        if self.bug:
            raise self.bug
        if self.fail is not None:
            name = errno.errorcode[self.fail]
            raise DriverError(f"{what} of {lba}", f"told to fail: {name}", "", errno=self.fail)
        if lba < 0 or lba + count > self.blocks:
            raise BadRange(f"{what} of {lba}", "not on the disk", "read the size")
        return slice(lba * self.block_size, (lba + count) * self.block_size)

    def read(self, lba: int, count: int) -> bytes:
        return bytes(self.data[self._note("read", lba, count)])

    def write(self, lba: int, data: Buffer) -> None:
        given = bytes(data)
        assert given
        assert len(given) % self.block_size == 0
        self.data[self._note("write", lba, len(given) // self.block_size)] = given

    def flush(self) -> None:
        self._note("flush", 0, 0)

    def discard(self, lba: int, count: int) -> None:
        self._note("discard", lba, count)


@contextmanager
def serving(path: Path, *disks: Disk) -> Iterator[Server]:
    """A server in a thread with a processor of its own; it ends and leaves no socket."""
    named = {disk.disk_name: disk for disk in disks}
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with own_cpu():
                server.serve()
        except BaseException as error:
            raised.append(error)

    with Server(path, named) as server:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()
    assert raised == []
    assert not path.exists()
