"""Signal handlers for as long as a `with` block lasts."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Protocol

Handling = Callable[[int, FrameType | None], Any] | signal.Handlers
"""What signal(3) takes: a function of the number and the frame, SIG_IGN or SIG_DFL."""


class Loop(Protocol):
    """A loop that waits for descriptors; `ready(events)` is called when one has any."""

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready(events)` when a descriptor has one of these events."""

    def unwatch(self, fd: int) -> None:
        """Stop doing so."""


@contextlib.contextmanager
def handled(handlers: Mapping[int, Handling]) -> Iterator[None]:
    """These handlers, by signal; those of before come back.  Main thread only (ValueError)."""
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def exiting(*numbers: int) -> Iterator[None]:
    """These signals leave the block as sys.exit(128 + number) does, so that it can tidy up.

    One that is ignored stays so: nohup(1) asks for that.  Other threads than the main one get no
    signals: nothing is done in them.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    with handled(dict.fromkeys(heeded, leave)):
        yield


@contextlib.contextmanager
def waking(loop: Loop) -> Iterator[None]:
    """Let a signal end the loop's sleep, even one that comes just before it begins."""
    ours, woken = socket.socketpair()
    with ours, woken:
        ours.setblocking(False)
        woken.setblocking(False)
        loop.watch(ours.fileno(), select.EPOLLIN, lambda _events: _drain(ours))
        before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.unwatch(ours.fileno())


def _drain(sock: socket.socket) -> None:
    sock.recv(64)  # the numbers of the signals: their handlers have run
