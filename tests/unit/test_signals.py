"""Signal handlers for a while, and loops that a signal wakes."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rumpci.signals import exiting, handled, waking

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


@pytest.mark.parametrize("error", [None, ValueError])
def test_the_handlers_of_before_come_back(error: type[Exception] | None) -> None:
    before, seen = {n: signal.getsignal(n) for n in (USR1, USR2)}, list[int]()
    try:
        with handled({USR1: lambda number, _: seen.append(number), USR2: signal.SIG_IGN}):
            os.kill(os.getpid(), USR1)
            os.kill(os.getpid(), USR2)
            signal.signal(USR2, lambda *_: None)  # changed inside: it comes back all the same
            if error:
                raise error
    except ValueError:
        assert error
    assert seen == [USR1]
    assert {n: signal.getsignal(n) for n in (USR1, USR2)} == before


def test_what_cannot_be_handled_leaves_the_others_as_they_were() -> None:
    before = signal.getsignal(USR1)
    with pytest.raises(OSError, match="Invalid"), handled({USR1: lambda *_: 0, 9: lambda *_: 0}):
        pytest.fail("SIGKILL has a handler")
    assert signal.getsignal(USR1) == before


def test_one_that_is_ignored_ends_nothing() -> None:
    with handled({USR1: signal.SIG_DFL, USR2: signal.SIG_IGN}):
        with exiting(USR1, USR2):
            os.kill(os.getpid(), USR2)
        with pytest.raises(SystemExit, match=str(128 + USR1)), exiting(USR1, USR2):
            os.kill(os.getpid(), USR1)
        assert signal.getsignal(USR1) is signal.SIG_DFL


def test_another_thread_is_left_by_none() -> None:
    before = signal.getsignal(USR1)
    with ThreadPoolExecutor() as threads:
        assert threads.submit(_inside).result() == before


def _inside() -> object:
    with exiting(USR1):
        return signal.getsignal(USR1)


class Loop:
    def __init__(self) -> None:
        self.ready: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        del events
        self.ready[fd] = ready

    def unwatch(self, fd: int) -> None:
        del self.ready[fd]


def test_a_signal_before_the_sleep_ends_it() -> None:
    loop = Loop()
    with handled({USR1: lambda *_: None}), waking(loop):
        ((fd, ready),) = loop.ready.items()
        os.kill(os.getpid(), USR1)
        assert select.select([fd], [], [], 60)[0] == [fd]
        ready(select.EPOLLIN)
        assert select.select([fd], [], [], 0)[0] == []
    assert not loop.ready
