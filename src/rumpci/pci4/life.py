"""Whether the machine behind a guard is still there, for who serves it."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Iterator

from rumpci.guard.served import Served
from rumpci.pci4.server import Server


class Life:
    """That of a guard's machine; one that is no program (Mortal) lives as long as we do."""

    def __init__(self, guard: Served) -> None:
        self._machine = guard.mortal

    @property
    def over(self) -> bool:
        """Whether the machine ended."""
        return bool(self._machine and select.select([self._machine.ended], [], [], 0)[0])

    def check(self) -> None:
        """Raise MachineDied (EIO), with the machine's last words, if it ended."""
        if self._machine and self.over:
            raise self._machine.death()

    @contextlib.contextmanager
    def watched(self, server: Server, then: Callable[[], None]) -> Iterator[None]:
        """Call `then` in the server's loop when the machine ends."""
        if self._machine is None:
            yield
            return
        fd = self._machine.ended

        def ended(_events: int) -> None:
            server.unwatch(fd)
            then()

        server.watch(fd, select.EPOLLIN, ended)
        try:
            yield
        finally:
            server.unwatch(fd)
