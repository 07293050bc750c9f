"""A function's configuration space by its file of sysfs, and its line's mask in there."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from rumpci import pcireg as pr
from rumpci.machines.uio.bars import open_file

_ONES = 0xFFFF_FFFF
_BIT = pr.PCI_COMMAND_INTERRUPT_DISABLE


class UioConfig:
    """Raw access, but for the INTx disable bit, which two want: the guard, and the line.

    The kernel sets it when the function interrupts, and `mask` as the line is masked.  The
    guard reads what it wrote itself; the function has it set if either wants it.  The line is
    masked at first; `close` leaves the bit as it was found.
    """

    def __init__(self, path: Path, tried: str) -> None:
        self._fd = open_file(path, tried)
        self._lock = threading.Lock()
        self._found = self._asked = self._pread(pr.PCI_COMMAND_STATUS_REG) & _BIT
        self._masked = True
        self.mask(True)

    def read(self, reg: int) -> int:
        """32 bits; ones if the function is gone, or has no such register for this user."""
        value = self._pread(reg)
        if reg == pr.PCI_COMMAND_STATUS_REG and value != _ONES:
            return value & ~_BIT | self._asked
        return value

    def write(self, reg: int, value: int) -> None:
        """32 bits."""
        if reg != pr.PCI_COMMAND_STATUS_REG:
            self._pwrite(reg, value)
            return
        with self._lock:
            self._asked = value & _BIT
            self._pwrite(reg, value | (_BIT if self._masked else 0))

    def mask(self, on: bool) -> None:
        """Keep the function from asserting its line, or let it if the guard does."""
        with self._lock:
            self._masked = on
            command = self._pread(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF & ~_BIT
            wanted = _BIT if on else self._asked
            self._pwrite(pr.PCI_COMMAND_STATUS_REG, command | wanted)

    def fired(self) -> None:
        """The function interrupted: the kernel has set the bit."""
        with self._lock:
            self._masked = True

    def _pread(self, reg: int) -> int:
        try:
            data = os.pread(self._fd, 4, reg)
        except OSError:  # unplugged, or closed
            return _ONES
        return int.from_bytes(data, "little") if len(data) == 4 else _ONES

    def _pwrite(self, reg: int, value: int) -> None:
        with contextlib.suppress(OSError):  # unplugged
            os.pwrite(self._fd, value.to_bytes(4, "little"), reg)

    def close(self) -> None:
        """Leave the bit as it was, and close the file.  Doing it twice does nothing."""
        if self._fd < 0:
            return
        self._asked = self._found
        self.mask(False)
        fd, self._fd = self._fd, -1
        os.close(fd)
