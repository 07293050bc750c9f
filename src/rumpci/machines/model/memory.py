"""The memory of a model machine: a file in memory, at physical addresses from 0."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from rumpci.host_dma import PAGE_SIZE

DEFAULT_SIZE = 64 << 20
OWN = 64 << 10
"""The first bytes are the machine's own, as the bare QEMU machine keeps them for its relay."""


class ModelMemory:
    """See machine.Memory.  `size` is rounded up to whole pages.

    `words` is all of it as 64-bit words, for who programs the IOMMU.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self.size = -(-size // PAGE_SIZE) * PAGE_SIZE
        self.usable: Sequence[tuple[int, int]] = [(OWN, self.size)] if self.size > OWN else []
        self.fd = os.memfd_create("rumpci-model-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.size)
        self._bytes = mmap.mmap(self.fd, self.size)
        self.words = memoryview(self._bytes).cast("Q")

    def holds(self, addr: int, size: int) -> bool:
        """Whether there is memory at all of [addr, addr + size)."""
        return addr >= 0 and addr + size <= self.size

    def read(self, addr: int, size: int) -> bytes | None:
        """`size` bytes; None where there is no memory."""
        return self._bytes[addr : addr + size] if self.holds(addr, size) else None

    def write(self, addr: int, data: bytes) -> bool:
        """Write `data`; False, and nothing is written, where there is no memory."""
        if not self.holds(addr, len(data)):
            return False
        self._bytes[addr : addr + len(data)] = data
        return True

    def close(self) -> None:
        """Give it back.  Closing twice does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.words.release()
            self._bytes.close()
            os.close(fd)
