"""Waiting: delay(9) is never short, and limits are limits."""

import errno
import time

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import kern
from rumpci.errors import BadRange

from .cards import has_three_parts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2000) | st.sampled_from([0, 1, 59, 60, 61]))
def test_delay_is_never_short(microseconds: int) -> None:
    before = time.monotonic_ns()
    kern.delay(microseconds)
    assert time.monotonic_ns() - before >= microseconds * 1000


@pytest.mark.parametrize("call", [kern.delay, kern.deadline])
def test_negative_times(call: object) -> None:
    assert callable(call)
    for microseconds in (-1, -(1 << 70)):
        with pytest.raises(BadRange) as caught:
            call(microseconds)
        assert caught.value.errno == errno.EINVAL
        assert has_three_parts(caught.value)


def test_deadline_passes_once() -> None:
    limit = kern.deadline(500)
    kern.delay(500)
    assert limit.passed()
    assert limit.remaining() == 0.0
    assert kern.deadline(0).passed()


def test_deadline_that_is_far_away() -> None:
    limit = kern.deadline(3_600_000_000)
    assert not limit.passed()
    assert 3500 < limit.remaining() <= 3600
