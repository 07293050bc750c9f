"""The memory of a model machine: a file in memory, at physical addresses from 0."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Sequence

from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.bank import make_banks
from rumpci.machines.machine import Bank

DEFAULT_SIZE = 64 << 20
OWN = 64 << 10
"""The first bytes are the machine's own, as the bare QEMU machine keeps them for its relay."""


class ModelMemory:
    """See machine.Memory.  `size` is rounded up to whole pages.

    `words` is all of the RAM as 64-bit words, for who programs the IOMMU.
    """

    def __init__(self, size: int = DEFAULT_SIZE, banks: int = 0) -> None:
        self.size = -(-size // PAGE_SIZE) * PAGE_SIZE
        self.usable: Sequence[tuple[int, int]] = [(OWN, self.size)] if self.size > OWN else []
        self.fd = os.memfd_create("rumpci-model-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.size)
        self._bytes = mmap.mmap(self.fd, self.size)
        self.words = memoryview(self._bytes).cast("Q")
        self._resources = contextlib.ExitStack()
        self.banks: Sequence[Bank] = make_banks(self._resources, banks)
        self._maps = [
            self._resources.enter_context(mmap.mmap(bank.fd, bank.size)) for bank in self.banks
        ]

    def holds(self, addr: int, size: int) -> bool:
        """Whether there is RAM at all of [addr, addr + size)."""
        return addr >= 0 and addr + size <= self.size

    def read(self, addr: int, size: int) -> bytes | None:
        """`size` bytes; None where there is no memory."""
        if self.holds(addr, size):
            return self._bytes[addr : addr + size]
        data, at = self._bank(addr, size)
        return None if data is None else data[at : at + size]

    def write(self, addr: int, data: bytes) -> bool:
        """Write `data`; False, and nothing is written, where there is no memory."""
        if self.holds(addr, len(data)):
            self._bytes[addr : addr + len(data)] = data
            return True
        bank, at = self._bank(addr, len(data))
        if bank is None:
            return False
        bank[at : at + len(data)] = data
        return True

    def _bank(self, addr: int, size: int) -> tuple[mmap.mmap | None, int]:
        """The bank that has all of [addr, addr + size), and where in it."""
        for bank, data in zip(self.banks, self._maps, strict=True):
            if bank.start <= addr and addr + size <= bank.start + bank.size:
                return data, addr - bank.start
        return None, 0

    def close(self) -> None:
        """Give it back.  Closing twice does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.words.release()
            self._bytes.close()
            os.close(fd)
            self._resources.close()
