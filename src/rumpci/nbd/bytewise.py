"""A disk as bytes: requests that are no whole blocks are read, changed and written back."""

from __future__ import annotations

from collections.abc import Iterator

from rumpci.disk import Disk
from rumpci.errors import DriverError

ZERO_BYTES = 1 << 20
"""Zeros are written in pieces of about this size, so that others have their turn."""


class Bytewise:
    """Bytes `offset` to `offset + length` of a disk; the caller keeps them on the disk.

    Each method raises what the disk raises.  One thread uses it, so what reads and
    writes back is not interrupted by another request.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.size = disk.blocks * disk.block_size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes.  Raises DriverError (EIO) if the disk returns fewer or more than asked."""
        if not length:
            return b""
        block = self.disk.block_size
        first, last = offset // block, -(-(offset + length) // block)
        data = self.disk.read(first, last - first)
        if len(data) != (last - first) * block:
            raise DriverError(
                f"reading {last - first} blocks of {self.disk.disk_name} from {first} on",
                f"the driver returned {len(data)} bytes",
                f"a block has {block}; mend the driver's read",
            )
        start = offset - first * block
        return data if len(data) == length else data[start : start + length]

    def write(self, offset: int, data: bytes) -> None:
        """Write the bytes, and around them what was there."""
        if not data:
            return
        block, end = self.disk.block_size, offset + len(data)
        before, after = offset % block, -end % block
        if before or after:
            head, tail = self.read(offset - before, before), self.read(end, after)
            data = b"".join((head, data, tail))
        self.disk.write((offset - before) // block, data)

    def zero(self, offset: int, length: int) -> Iterator[None]:
        """Write zeros, a piece a turn."""
        piece = -(-ZERO_BYTES // self.disk.block_size) * self.disk.block_size
        end = offset + length
        while offset < end:
            stop = min(end, (offset // piece + 1) * piece)
            self.write(offset, bytes(stop - offset))
            offset = stop
            yield

    def trim(self, offset: int, length: int) -> None:
        """Discard the blocks that lie in the bytes whole; it is a hint, so the edges stay."""
        block = self.disk.block_size
        first, last = -(-offset // block), (offset + length) // block
        if last > first:
            self.disk.discard(first, last - first)

    def flush(self) -> None:
        """Return when everything written has reached the medium."""
        self.disk.flush()
