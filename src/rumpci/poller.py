"""Waiting for descriptors: epoll(7), or kqueue(2) with the few operations of it that are used."""

from __future__ import annotations

import select
import sys
from typing import Protocol

READABLE = 1
"""What to wait for: EPOLLIN's number."""
_MOST = 64


class Poller(Protocol):
    """What select.epoll offers, of it."""

    def register(self, fd: int, events: int, /) -> None:
        """Wait for a descriptor, too; `events` is READABLE."""

    def unregister(self, fd: int, /) -> None:
        """Do so no more.  Raises OSError if it was not waited for."""

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """Each descriptor that is readable, and READABLE, after at most so many seconds."""

    def fileno(self) -> int:
        """A descriptor that is readable when one of them is."""

    def close(self) -> None:
        """End it."""


if sys.platform == "linux":

    def poller() -> Poller:
        """A poller without descriptors."""
        return select.epoll()

else:

    class _Kqueue:
        """A Poller; a level: what was not read is told again."""

        def __init__(self) -> None:
            self._queue = select.kqueue()
            self.fileno, self.close = self._queue.fileno, self._queue.close

        def register(self, fd: int, _events: int, /) -> None:
            """See Poller."""
            self._change(fd, select.KQ_EV_ADD)

        def unregister(self, fd: int, /) -> None:
            """See Poller."""
            self._change(fd, select.KQ_EV_DELETE)

        def poll(self, timeout: float, /) -> list[tuple[int, int]]:
            """See Poller."""
            found = self._queue.control(None, _MOST, max(timeout, 0))
            return [(event.ident, READABLE) for event in found]

        def _change(self, fd: int, flags: int) -> None:
            self._queue.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0)

    def poller() -> Poller:
        """A poller without descriptors."""
        return _Kqueue()
