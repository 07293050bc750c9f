"""An interrupt's events, from the guard to the descriptor that its client reads."""

from __future__ import annotations

import logging
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rumpci.errors import RumpciError
from rumpci.host import Event, Interrupt
from rumpci.pci4 import abi

if TYPE_CHECKING:
    from rumpci.pci4.session import Watcher

log = logging.getLogger("rumpci.serve")
_KEPT = 16
"""Events that wait for a client that does not read; beyond, they are merged into the last."""
_LAYOUT = abi.Event.LAYOUT
_NONE = (0, 0, 0, 0)


class Delivery:
    """One interrupt of a client's; `theirs` is the end of a socket pair that it is to get."""

    def __init__(self, watcher: Watcher, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._watcher = watcher
        self._waiting: deque[Event] = deque()
        self._ours, self.theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        )
        self._ours.shutdown(socket.SHUT_RD)  # the client can leave nothing with us
        self._source = interrupt.fileno()
        self._blocked = False
        watcher.watch(self._source, select.EPOLLIN, self._fired)
        watcher.look_at(self, on=True)

    def look(self) -> None:
        """Tell the client if the interrupt fired, without a system call if it did not."""
        self._take(self.interrupt.ready)

    def arm(self) -> None:
        """Have the descriptor tell again: nobody looks any more."""
        self._take(self.interrupt.arm)

    def _fired(self, _events: int) -> None:
        self._take(lambda: True)

    def _take(self, fired: Callable[[], bool]) -> None:
        """Read the events if it fired, and send them."""
        try:
            events = self.interrupt.read() if fired() else ()
        except RumpciError as error:
            log.warning("interrupt %s is not told any more: %s", self.interrupt, error)
            self._watcher.look_at(self, on=False)
            self._watcher.unwatch(self._source)
            return
        for event in events:
            self._add(event)
        if self._waiting and not self._blocked:
            self._send()

    def _add(self, event: Event) -> None:
        if len(self._waiting) >= _KEPT:
            event.count += self._waiting.pop().count
        self._waiting.append(event)

    def _send(self) -> None:
        """Send what waits, as far as the client takes it."""
        try:
            while self._waiting:
                self._ours.send(_pack(self._waiting[0]))
                self._waiting.popleft()
        except BlockingIOError:
            self._block(True)
            return
        except OSError:  # it closed its end: it does not want to know
            self._waiting.clear()
        self._block(False)

    def _block(self, on: bool) -> None:
        """Wait, or do not wait, until the client has read something."""
        if on and not self._blocked:
            self._watcher.watch(self._ours.fileno(), select.EPOLLOUT, self._resume)
        elif self._blocked and not on:
            self._watcher.unwatch(self._ours.fileno())
        self._blocked = on

    def _resume(self, _events: int) -> None:
        if self._blocked:
            self._send()

    def forget(self) -> None:
        """What was not sent is gone, as by Interrupt.disestablish."""
        self._waiting.clear()

    def close(self) -> None:
        """Stop, and let the sockets go."""
        self._watcher.look_at(self, on=False)
        self._watcher.unwatch(self._source)
        self._block(False)
        self.theirs.close()
        self._ours.close()


def _pack(event: Event) -> bytes:
    words = len(event.status)
    status = event.status if words == 4 else (*event.status, *_NONE)[:4]
    return _LAYOUT.pack(event.sequence, event.count, event.vector, words, *status)
