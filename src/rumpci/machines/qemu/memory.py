"""The machine's memory: a file that QEMU and Python share; offset = physical address.

0x0000_0000   the relay's and the IOMMU's own (firmware.py)
0x0001_0000   usable, up to where VGA and the option ROMs are on a PC
0x0010_0000   usable, up to the end

Banks are not in this file: each has its own, at addresses above all RAM.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import Bank

LOW = 0x10000
"""Bytes at the start that are the relay's and the IOMMU's."""
_HOLE = (0xA0000, 0x10_0000)


class QemuMemory:
    """See machine.Memory: `size` bytes in the file `fd`, which stays the caller's, as `banks`.

    `words` is all of it as 64-bit words, for the IOMMU's tables.
    """

    def __init__(self, fd: int, size: int, banks: Sequence[Bank] = ()) -> None:
        self.fd: int = fd
        self.size: int = size
        self.banks: Sequence[Bank] = banks
        end = size & -PAGE_SIZE
        ranges = ((LOW, min(_HOLE[0], end)), (_HOLE[1], end))
        self.usable: Sequence[tuple[int, int]] = [r for r in ranges if r[0] < r[1]]
        self._map = mmap.mmap(fd, size & -8)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Let the memory go.  Closing twice does nothing."""
        self.words.release()
        self._map.close()
