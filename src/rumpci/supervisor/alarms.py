"""What a server's loop does later, or every so often; SIGALRM wakes it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import signal
import time
from collections.abc import Callable, Iterator

from rumpci.cpu import Timer
from rumpci.pci4.server import Server
from rumpci.signals import handled

_LEAST_SECONDS = 1e-4  # 0 would be never


class Alarms:
    """Timers of a server's loop, while `heeded`; times are in seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._timers: list[Timer] = []
        self._order = itertools.count()

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Main thread only: there is one SIGALRM."""
        with handled({signal.SIGALRM: lambda *_: self._server.call(self._ring)}):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def after(self, seconds: float, what: Callable[[], None]) -> Timer:
        """Call `what` once; not if the timer's `live` is made False before."""
        timer = Timer(time.monotonic_ns() + int(seconds * 1e9), next(self._order), what)
        heapq.heappush(self._timers, timer)
        self._arm()
        return timer

    def every(self, seconds: float, what: Callable[[], None]) -> Timer:
        """Call `what` again and again, until the timer's `live` is made False."""

        def again() -> None:
            what()
            if timer.live:
                timer.when = time.monotonic_ns() + int(seconds * 1e9)
                heapq.heappush(self._timers, timer)

        timer = self.after(seconds, again)
        return timer

    def _ring(self) -> None:
        while self._timers and self._timers[0].when <= time.monotonic_ns():
            timer = heapq.heappop(self._timers)
            if timer.live:
                timer.run()
        self._arm()

    def _arm(self) -> None:
        if self._timers:
            left = (self._timers[0].when - time.monotonic_ns()) / 1e9
            signal.setitimer(signal.ITIMER_REAL, max(left, _LEAST_SECONDS))
