"""A loop that waits for descriptors, where there is no server that has one."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from typing import Self


class Loop:
    """As the loop of pci4.server.Server: `call` and `stop` may be used by signal handlers."""

    def __init__(self) -> None:
        self._poll, self._bell = select.epoll(), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready: dict[int, Callable[[int], None]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self.watch(self._bell, select.EPOLLIN, self._rung)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._poll.close()
        os.close(self._bell)

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready(events)` when a descriptor has one of these events."""
        self._poll.register(fd, events)
        self._ready[fd] = ready

    def unwatch(self, fd: int) -> None:
        """Stop doing so; nothing happens where nobody watches."""
        if self._ready.pop(fd, None):
            self._poll.unregister(fd)

    def call(self, what: Callable[[], None]) -> None:
        """Have the loop call `what`."""
        self._calls.append(what)
        os.eventfd_write(self._bell, 1)

    def stop(self) -> None:
        """End `run` after what it is doing now."""
        self.call(self._stop)

    def run(self) -> None:
        """Wait until `stop`."""
        while not self._stopping:
            for fd, what in self._poll.poll():
                if ready := self._ready.get(fd):
                    ready(what)

    def _stop(self) -> None:
        self._stopping = True

    def _rung(self, _events: int) -> None:
        os.eventfd_read(self._bell)
        while self._calls:
            self._calls.popleft()()
