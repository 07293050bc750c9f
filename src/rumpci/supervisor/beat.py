"""How a supervisor sees that its child is alive: a page of memory that the two share.

word 0    goes up each time that the driver begins or ends a wait
word 1    whether it waits
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Sequence

from rumpci.cpu import Cpu, Handler

_SIZE = mmap.PAGESIZE


def make_page() -> int:
    """The descriptor of a page of zeros, which cannot be cut."""
    fd = os.memfd_create("beat", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, _SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


class Beat:
    """The page behind a descriptor, which stays the caller's.  Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _SIZE)
        self.words = memoryview(self._map).cast("Q")

    @property
    def waits(self) -> bool:
        """Whether the driver waits, which it may do as long as it likes."""
        return bool(self.words[1])

    @property
    def count(self) -> int:
        """What changes as long as it lives."""
        return self.words[0]

    def close(self) -> None:
        """Let the memory go."""
        self.words.release()
        self._map.close()


class BeatingCpu(Cpu):
    """The processor of a child: each of its waits is seen.

    `failed(error)` is called when a handler raised.
    """

    def __init__(self, beat: Beat, failed: Callable[[Exception], None]) -> None:
        super().__init__()
        self._words, self._on_failure = beat.words, failed

    def _failed(self, handler: Handler, error: Exception) -> None:
        super()._failed(handler, error)
        self._on_failure(error)

    def _wait(self, seconds: float, also: int | None = None) -> Sequence[Handler]:
        self._begin()
        try:
            return super()._wait(seconds, also)
        finally:
            self._words[1] = 0

    def _pause(self, seconds: float) -> bool:
        self._begin()
        try:
            return super()._pause(seconds)
        finally:
            self._words[1] = 0

    def _begin(self) -> None:
        words = self._words
        words[0] = (words[0] + 1) & 0xFFFF_FFFF
        words[1] = 1
