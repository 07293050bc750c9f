"""Waiting in tests: the limit is for what never comes, not for what is slow to come."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 240.0
"""Far more than a machine with too much to do keeps a process waiting."""


def until(done: Callable[[], object], what: Callable[[], object] | str = "") -> None:
    """Ask until `done()` is true; `what` is told, or asked, if it never is."""
    end = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.002)
