"""What a driver waits and locks with: delay(9), mutex(9), condvar(9), callout(9), softint(9).

A driver process has one thread, so these are not about other threads: a mutex
with an interrupt level keeps that level's handlers out, and a wait is where
handlers run (`cpu.py`).  Every wait has a limit.  Ticks are of 10 ms (`hz`).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from rumpci.cpu import (
    IPL_BIO as IPL_BIO,
    IPL_HIGH as IPL_HIGH,
    IPL_NET as IPL_NET,
    IPL_NONE as IPL_NONE,
    IPL_SOFTCLOCK as IPL_SOFTCLOCK,
    IPL_TTY as IPL_TTY,
    IPL_VM as IPL_VM,
    Timer,
    curcpu,
)
from rumpci.errors import BadRange, LockError, WaitTimeout

hz = 100
_SPIN_US = 60
"""Below this the processor is kept: a sleep would take longer than asked."""
FOREVER_US = 60_000_000
"""A wait without a limit of its own ends here: a driver that hangs says so."""


def mstohz(milliseconds: int) -> int:
    """Ticks for a time, rounded up."""
    return -(-milliseconds * hz // 1000)


# ---- delay(9), kpause(9) --------------------------------------------------------


def delay(microseconds: int) -> None:
    """Wait at least `microseconds`; handlers may run meanwhile.

    Raises BadRange (EINVAL) for a negative number.  delay(9).
    """
    until, cpu = deadline(microseconds), curcpu()
    cpu.poll(0)
    while not until.passed():
        remaining = until.remaining()
        if remaining * 1e6 > _SPIN_US:
            cpu.poll(remaining)


def kpause(ticks: int) -> None:
    """Wait `ticks`.  kpause(9)."""
    delay(ticks * 1_000_000 // hz)


def yield_() -> None:
    """Let other processes run, such as the machine that is waited for; no handler runs.  yield(9).

    For loops that look at memory which a device writes: between two looks.
    """
    os.sched_yield()


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
        raise BadRange(f"wait of {microseconds} us", "negative", "pass microseconds, 0 or more")
    return Deadline(microseconds)


# ---- mutex(9) ---------------------------------------------------------------------


class Kmutex:
    """A kmutex_t: while it is held, handlers up to its level stay out."""

    def __init__(self, ipl: int) -> None:
        self.ipl = ipl
        self.held = False
        self.level = IPL_NONE


def mutex_init(ipl: int = IPL_NONE) -> Kmutex:
    """A mutex; `ipl` is the level of the handlers that use it too (IPL_NONE: none)."""
    return Kmutex(ipl)


def mutex_enter(mtx: Kmutex) -> None:
    """Take it.  Raises LockError (EDEADLK) if it is held: nobody else could release it."""
    if mtx.held:
        raise LockError(
            "mutex_enter",
            "the mutex is held, by this code or by what it interrupted",
            "release it first, or give mutex_init the IPL of the handler that takes it",
        )
    cpu = curcpu()
    mtx.held, mtx.level = True, cpu.level
    cpu.mutexes.append(mtx)
    cpu.level = max(cpu.level, mtx.ipl)


def mutex_tryenter(mtx: Kmutex) -> bool:
    """Take it if it is free; whether it was."""
    if not mtx.held:
        mutex_enter(mtx)
        return True
    return False


def mutex_exit(mtx: Kmutex) -> None:
    """Release it; a preemption point when there is a seed.  Raises LockError if it is free."""
    _leave(mtx)
    curcpu().preempt()


def mutex_owned(mtx: Kmutex) -> bool:
    """Whether it is held."""
    return mtx.held


def _leave(mtx: Kmutex) -> None:
    held = curcpu().mutexes
    if mtx not in held:
        raise LockError("mutex_exit", "the mutex is not held", "call mutex_enter first")
    mtx.held, at = False, held.index(mtx)
    if at == len(held) - 1:
        curcpu().level = mtx.level
    else:  # the level falls with the last one, as in NetBSD
        held[at + 1].level = mtx.level
    del held[at]


# ---- condvar(9) -----------------------------------------------------------------------


class Kcondvar:
    """A kcondvar_t; `wmesg` is what a timeout calls it."""

    def __init__(self, wmesg: str) -> None:
        self.wmesg = wmesg
        self.waiters = 0
        self.wakes = 0


def cv_init(wmesg: str) -> Kcondvar:
    """A condition variable."""
    return Kcondvar(wmesg)


def cv_wait(cv: Kcondvar, mtx: Kmutex) -> None:
    """Wait until it is signalled, giving `mtx` up meanwhile.

    Raises WaitTimeout (EDEADLK) after a minute, or at once if nothing could signal it.
    """
    _cv_wait(cv, mtx, FOREVER_US, errno.EDEADLK)


def cv_timedwait(cv: Kcondvar, mtx: Kmutex, ticks: int) -> None:
    """Wait at most `ticks`.  Raises WaitTimeout (EWOULDBLOCK)."""
    _cv_wait(cv, mtx, ticks * 1_000_000 // hz, errno.EWOULDBLOCK)


def cv_signal(cv: Kcondvar) -> None:
    """Wake one waiter; without a waiter nothing happens and nothing is remembered."""
    if cv.wakes < cv.waiters:
        cv.wakes += 1


def cv_broadcast(cv: Kcondvar) -> None:
    """Wake every waiter."""
    cv.wakes = cv.waiters


def _cv_wait(cv: Kcondvar, mtx: Kmutex, limit: int, number: int) -> None:
    cpu, until = curcpu(), deadline(limit)
    _leave(mtx)
    cv.waiters += 1
    try:
        late = False
        while not cv.wakes:
            if late or (number == errno.EDEADLK and cpu.idle_forever()):
                raise WaitTimeout(
                    f"waiting for {cv.wmesg!r}",
                    f"not signalled within {limit} us",
                    "is the interrupt established, and does its handler signal?",
                    errno=number,
                )
            late = until.passed()  # then a last look: this process may not have run for long
            cpu.poll(until.remaining())
        cv.wakes -= 1
    finally:
        cv.waiters -= 1
        cv.wakes = min(cv.wakes, cv.waiters)
        mutex_enter(mtx)


# ---- callout(9) -----------------------------------------------------------------------


class Callout:
    """A callout_t."""

    def __init__(self) -> None:
        self.function: Callable[[Any], object] | None = None
        self.arg: Any = None
        self.timer: Timer | None = None


def callout_init() -> Callout:
    """A callout."""
    return Callout()


def callout_setfunc(c: Callout, function: Callable[[Any], object], arg: Any = None) -> None:
    """Set what it calls."""
    c.function, c.arg = function, arg


def callout_schedule(c: Callout, ticks: int) -> None:
    """Call its function once, `ticks` (at least 1) from now; an earlier request is forgotten."""
    callout_stop(c)

    def run() -> None:
        c.timer = None
        if c.function:
            c.function(c.arg)

    c.timer = curcpu().schedule(max(ticks, 1) * 1_000_000 // hz, run)


def callout_reset(
    c: Callout, ticks: int, function: Callable[[Any], object], arg: Any = None
) -> None:
    """callout_setfunc and callout_schedule."""
    callout_setfunc(c, function, arg)
    callout_schedule(c, ticks)


def callout_stop(c: Callout) -> bool:
    """Forget the request; whether it was too late or there was none."""
    timer, c.timer = c.timer, None
    if timer is None:
        return True
    timer.live = False
    return False


def callout_pending(c: Callout) -> bool:
    """Whether it will be called."""
    return c.timer is not None


# ---- softint(9) -----------------------------------------------------------------------


class Softint:
    """What softint_establish returns."""

    def __init__(self, function: Callable[[Any], object], arg: Any) -> None:
        self.function, self.arg = function, arg
        self.live = True

    def __call__(self) -> None:
        """Run it, unless it was disestablished."""
        if self.live:
            self.function(self.arg)


def softint_establish(function: Callable[[Any], object], arg: Any = None) -> Softint:
    """A soft interrupt: work that a handler leaves for later."""
    return Softint(function, arg)


def softint_schedule(si: Softint) -> None:
    """Run it once, as soon as no handler runs."""
    curcpu().soft(si)


def softint_disestablish(si: Softint) -> None:
    """Never run it again."""
    si.live = False
