"""What a driver waits with: delay(9) and limits.

A driver process is single-threaded; waiting is the only place where time
passes, so a wait always has a limit (`regs.Register.wait` names what it
waited for when the limit is reached).
"""

from __future__ import annotations

import time

from rumpci.errors import BadRange

_SPIN_US = 60
"""Below this the processor is kept: a sleep would take longer than asked."""


def delay(microseconds: int) -> None:
    """Wait at least `microseconds`.  delay(9).

    Raises BadRange (EINVAL) for a negative number.
    """
    if microseconds < 0:
        raise BadRange(f"delay of {microseconds} us", "negative", "pass microseconds, 0 or more")
    if microseconds > _SPIN_US:
        time.sleep(microseconds / 1e6)
        return
    until = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < until:
        pass


class Deadline:
    """A moment that passes; made by `deadline`."""

    def __init__(self, microseconds: int) -> None:
        self._until = time.monotonic_ns() + microseconds * 1000

    def passed(self) -> bool:
        """Whether the moment is over."""
        return time.monotonic_ns() >= self._until

    def remaining(self) -> float:
        """Seconds until then, 0.0 when it is over."""
        return max(0.0, (self._until - time.monotonic_ns()) / 1e9)


def deadline(microseconds: int) -> Deadline:
    """A deadline `microseconds` from now.  Raises BadRange (EINVAL) for a negative number."""
    if microseconds < 0:
        raise BadRange(f"limit of {microseconds} us", "negative", "pass microseconds, 0 or more")
    return Deadline(microseconds)
