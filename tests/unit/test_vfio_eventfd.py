"""The eventfd of a vfio interrupt: asking takes what is there, and nothing is lost by it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from rumpci.hosts.vfio._eventfd import EventFd


@pytest.fixture
def event() -> Iterator[EventFd]:
    made = EventFd()
    yield made
    made.close()


def readable(event: EventFd) -> bool:
    poll = select.poll()
    poll.register(event.fd, select.POLLIN)
    return bool(poll.poll(0))


def test_nothing_is_no_error(event: EventFd) -> None:
    assert not event.ready()
    assert not event.arm()
    assert event.take() == event.drain() == 0


def test_what_was_signalled_is_taken_once(event: EventFd) -> None:
    os.eventfd_write(event.fd, 3)
    assert event.arm()
    assert event.take() == 3
    assert event.take() == 0


def test_who_is_ready_may_go_on_to_sleep(event: EventFd) -> None:
    event.add(2)
    assert event.ready()
    assert event.ready()
    assert event.arm()
    assert readable(event)
    assert event.take() == 2


def test_what_comes_after_ready_is_not_lost(event: EventFd) -> None:
    event.add(1)
    assert event.ready()
    event.add(5)
    assert event.take() == 1
    assert readable(event)
    assert event.take() == 5


def test_drain_takes_what_ready_kept(event: EventFd) -> None:
    event.add(1)
    assert event.ready()
    event.add(1)
    assert event.drain() == 2
    assert not event.ready()


def test_closed_it_is_silent(event: EventFd) -> None:
    event.add(1)
    assert event.ready()
    event.close()
    event.close()
    assert not event.ready()
    assert event.take() == 0
