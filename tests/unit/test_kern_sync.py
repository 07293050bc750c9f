"""mutex(9), condvar(9), callout(9), softint(9), delay(9): when handlers may run, and when not."""

import errno
import os
import time
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from rumpci import cpu as cpu_module, kern
from rumpci.cpu import IPL_NONE, IPL_SOFTCLOCK, IPL_VM, Cpu, Handler, curcpu
from rumpci.errors import BadRange, LockError, WaitTimeout
from rumpci.host import Event, IntrType

SECOND = 1_000_000


class Bell:
    """An Interrupt that a test rings: one event a ring, a descriptor as real ones have."""

    type, index, name = IntrType.MSI, 0, "bell"

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.unmasked = 0
        self.masked = 0

    def ready(self) -> bool:
        return False  # the descriptor tells

    def arm(self) -> bool:
        return False

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def fileno(self) -> int:
        return self.fd

    def establish(self, shim: bytes | None = None) -> None:
        assert shim is None

    def read(self) -> list[Event]:
        try:
            return [Event(1, 0, os.eventfd_read(self.fd))]
        except BlockingIOError:
            return []

    def unmask(self) -> None:
        self.unmasked += 1

    def mask(self) -> None:
        self.masked += 1

    def pending(self) -> bool:
        return False

    def disestablish(self) -> None:
        pass


@pytest.fixture
def bell(cpu: Cpu, log: list[str]) -> Iterator[Bell]:
    """Rung, it writes "handler" into the log."""
    made = Bell()
    cpu.establish(Handler(made, IPL_VM, lambda _arg: log.append("handler"), None, "test0"))
    yield made
    os.close(made.fd)


@pytest.fixture
def log() -> list[str]:
    return []


# ---- delay(9), kpause(9), mstohz ------------------------------------------------------


def test_delay_runs_handlers(bell: Bell, log: list[str]) -> None:
    bell.ring()
    kern.delay(0)
    assert log == ["handler"]
    assert bell.unmasked == 1


def test_code_between_waits_is_never_interrupted(bell: Bell, log: list[str]) -> None:
    bell.ring()
    mutex = kern.mutex_init()
    kern.mutex_enter(mutex)
    kern.mutex_exit(mutex)
    assert not log


def test_handlers_do_not_nest(cpu: Cpu) -> None:
    depth, deepest, bells = 0, 0, [Bell(), Bell()]

    def handle(other: Bell) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        kern.delay(10)
        depth -= 1

    for mine, other in (bells, bells[::-1]):
        cpu.establish(Handler(mine, IPL_VM, handle, other, "test0"))
        mine.ring()
    kern.delay(100)
    assert deepest == 1
    assert sum(bell.unmasked for bell in bells) == 2


@pytest.mark.parametrize("microseconds", [0, 10, 10_000])
def test_a_handler_that_another_disestablishes_is_not_called(cpu: Cpu, microseconds: int) -> None:
    """Both interrupts had fired when the processor looked."""
    bells, calls = [Bell(), Bell()], list[int]()
    handlers = list[Handler]()

    def end_the_other(me: int) -> None:
        calls.append(me)
        cpu.disestablish(handlers[1 - me])

    for me, bell in enumerate(bells):
        handlers.append(Handler(bell, IPL_VM, end_the_other, me, "test0"))
        cpu.establish(handlers[me])
        bell.ring()
    cpu.poll(microseconds / 1e6)
    cpu.poll(0)
    assert len(calls) == 1
    for bell in bells:
        os.close(bell.fd)


def test_a_handler_that_disestablishes_itself_is_called_no_more(cpu: Cpu) -> None:
    class Two(Bell):
        def read(self) -> list[Event]:
            return [Event(1, 0, 1), Event(2, 0, 1)] if super().read() else []

        def unmask(self) -> None:
            raise AssertionError

    bell, calls = Two(), []

    def once(arg: object) -> None:
        calls.append(arg)
        cpu.disestablish(handler)

    handler = Handler(bell, IPL_VM, once, None, "test0")
    cpu.establish(handler)
    bell.ring()
    kern.delay(10)
    assert calls == [None]


def test_a_handler_whose_descriptor_is_gone_can_be_disestablished(cpu: Cpu) -> None:
    bell = Bell()
    handler = Handler(bell, IPL_VM, lambda _arg: None, None, "test0")
    cpu.establish(handler)
    os.close(bell.fd)
    cpu.disestablish(handler)
    assert cpu.handlers_of(bell) == []


def test_kpause_waits_its_ticks() -> None:
    before = time.monotonic_ns()
    kern.kpause(2)
    assert time.monotonic_ns() - before >= 2 * 1_000_000_000 // kern.hz


@pytest.mark.parametrize(("ms", "ticks"), [(0, 0), (1, 1), (10, 1), (11, 2), (1000, 100)])
def test_mstohz_rounds_up(ms: int, ticks: int) -> None:
    assert kern.mstohz(ms) == ticks


def test_each_context_has_a_processor_of_its_own(cpu: Cpu) -> None:
    assert curcpu() is cpu
    assert copy_context().run(lambda: cpu_module._current.set(Cpu()) and curcpu()) is not cpu


# ---- mutex(9) ---------------------------------------------------------------------------


def test_a_mutex_keeps_handlers_out_until_its_exit(bell: Bell, log: list[str]) -> None:
    mutex = kern.mutex_init(kern.IPL_NET)
    kern.mutex_enter(mutex)
    bell.ring()
    kern.delay(100)
    assert not log
    kern.mutex_exit(mutex)
    kern.delay(0)
    assert log == ["handler"]


def test_a_mutex_without_a_level_keeps_nobody_out(bell: Bell, log: list[str]) -> None:
    kern.mutex_enter(kern.mutex_init(IPL_NONE))
    bell.ring()
    kern.delay(100)
    assert log == ["handler"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_handlers_stay_out_until_the_last_mutex_is_left(
    bell: Bell, log: list[str], cpu: Cpu, order: tuple[int, int]
) -> None:
    mutexes = [kern.mutex_init(kern.IPL_NET), kern.mutex_init(kern.IPL_NET)]
    for mutex in mutexes:
        kern.mutex_enter(mutex)
    bell.ring()
    kern.mutex_exit(mutexes[order[0]])
    kern.delay(100)
    assert not log
    kern.mutex_exit(mutexes[order[1]])
    assert cpu.level == IPL_NONE
    kern.delay(0)
    assert log == ["handler"]


def test_a_mutex_is_taken_and_released_once() -> None:
    mutex = kern.mutex_init()
    assert not kern.mutex_owned(mutex)
    with pytest.raises(LockError):
        kern.mutex_exit(mutex)
    kern.mutex_enter(mutex)
    assert kern.mutex_owned(mutex)
    with pytest.raises(LockError) as caught:
        kern.mutex_enter(mutex)
    assert caught.value.errno == errno.EDEADLK
    assert not kern.mutex_tryenter(mutex)
    kern.mutex_exit(mutex)
    assert kern.mutex_tryenter(mutex)


def test_a_handler_that_takes_a_held_mutex_fails_and_is_reported(cpu: Cpu) -> None:
    mutex, bell = kern.mutex_init(IPL_NONE), Bell()
    cpu.establish(Handler(bell, IPL_VM, kern.mutex_enter, mutex, "test0"))
    kern.mutex_enter(mutex)
    bell.ring()
    kern.delay(0)
    assert isinstance(cpu.failures[0], LockError)
    assert (bell.masked, bell.unmasked, cpu.level) == (1, 0, IPL_NONE)


def test_a_seed_makes_mutex_exit_a_preemption_point(bell: Bell, log: list[str], cpu: Cpu) -> None:
    def places(seed: int) -> list[int]:
        cpu.seed(seed)
        mutex, found = kern.mutex_init(kern.IPL_NET), []
        for place in range(100):
            bell.ring()
            kern.mutex_enter(mutex)
            kern.mutex_exit(mutex)
            if log:
                found.append(place)
                log.clear()
        return found

    assert places(1) == places(1) != places(2)
    assert 0 < len(places(1)) < 100


# ---- condvar(9) -------------------------------------------------------------------------


@pytest.fixture
def lock() -> kern.Kmutex:
    """A mutex at the handlers' level, held."""
    mutex = kern.mutex_init(kern.IPL_NET)
    kern.mutex_enter(mutex)
    return mutex


def test_a_handler_wakes_who_waits(cpu: Cpu, lock: kern.Kmutex) -> None:
    cv, bell = kern.cv_init("bell"), Bell()
    cpu.establish(Handler(bell, IPL_VM, lambda _arg: kern.cv_signal(cv), None, "test0"))
    bell.ring()
    kern.cv_wait(cv, lock)
    assert lock.held
    assert cpu.level == IPL_VM


@pytest.mark.parametrize("wake", [kern.cv_signal, kern.cv_broadcast])
def test_a_signal_without_a_waiter_is_lost(lock: kern.Kmutex, wake: object) -> None:
    cv = kern.cv_init("lost")
    assert callable(wake)
    wake(cv)
    with pytest.raises(WaitTimeout) as caught:
        kern.cv_timedwait(cv, lock, 1)
    assert caught.value.errno == errno.EWOULDBLOCK
    assert "'lost'" in str(caught.value)
    assert lock.held


def test_cv_timedwait_lasts_its_ticks(lock: kern.Kmutex) -> None:
    before = time.monotonic_ns()
    with pytest.raises(WaitTimeout):
        kern.cv_timedwait(kern.cv_init("ticks"), lock, 2)
    assert time.monotonic_ns() - before >= 2 * 1_000_000_000 // kern.hz


def test_a_wait_that_did_not_run_in_its_time_looks_once(
    cpu: Cpu, lock: kern.Kmutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline, cv, bell = kern.deadline, kern.cv_init("late"), Bell()
    monkeypatch.setattr(kern, "deadline", lambda _us: deadline(0))
    cpu.establish(Handler(bell, IPL_VM, lambda _arg: kern.cv_signal(cv), None, "test0"))
    bell.ring()
    kern.cv_timedwait(cv, lock, 1)
    with pytest.raises(WaitTimeout):
        kern.cv_timedwait(cv, lock, 1)


def test_a_negative_time_leaves_the_mutex_held(lock: kern.Kmutex) -> None:
    with pytest.raises(BadRange):
        kern.cv_timedwait(kern.cv_init("never"), lock, -1)
    assert lock.held


def test_waiting_without_the_mutex() -> None:
    with pytest.raises(LockError):
        kern.cv_wait(kern.cv_init("free"), kern.mutex_init())


@pytest.mark.parametrize(("wake", "woken"), [(kern.cv_signal, 1), (kern.cv_broadcast, 2)])
def test_broadcast_wakes_all_and_signal_one(lock: kern.Kmutex, wake: object, woken: int) -> None:
    """The second waiter is a callout that runs in the first one's wait."""
    cv, inner, done = kern.cv_init("both"), kern.mutex_init(), []
    assert callable(wake)
    bell = Bell()
    curcpu().establish(Handler(bell, IPL_VM, lambda _arg: wake(cv), None, "test0"))

    def second(_arg: object) -> None:
        kern.mutex_enter(inner)
        bell.ring()
        kern.cv_timedwait(cv, inner, 60 * kern.hz)
        done.append("second")
        kern.mutex_exit(inner)

    kern.callout_reset(kern.callout_init(), 1, second)
    try:
        kern.cv_timedwait(cv, lock, 5)
        done.append("first")
    except WaitTimeout:
        pass
    assert len(done) == woken


def test_waiting_for_what_nothing_can_signal_raises_at_once(lock: kern.Kmutex) -> None:
    with pytest.raises(WaitTimeout) as caught:
        kern.cv_wait(kern.cv_init("nothing"), lock)
    assert caught.value.errno == errno.EDEADLK


def test_a_stopped_callout_can_signal_nothing(lock: kern.Kmutex) -> None:
    callout = kern.callout_init()
    kern.callout_reset(callout, 1000 * kern.hz, print)
    kern.callout_stop(callout)
    with pytest.raises(WaitTimeout):
        kern.cv_wait(kern.cv_init("stopped"), lock)


def test_waiting_with_every_handler_kept_out_raises_at_once(bell: Bell, lock: kern.Kmutex) -> None:
    outer = lock
    inner = kern.mutex_init(kern.IPL_NET)
    kern.mutex_enter(inner)
    with pytest.raises(WaitTimeout):
        kern.cv_wait(kern.cv_init("outer"), inner)
    assert outer.held
    assert inner.held


# ---- callout(9) -------------------------------------------------------------------------


def test_callouts_run_in_the_order_of_their_times_and_only_at_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order, now = list[int](), 0
    monkeypatch.setattr("time.monotonic_ns", lambda: now)
    for ticks in (3, 1, 2, 1):
        kern.callout_reset(kern.callout_init(), ticks, order.append, ticks)
    now = 4 * 1_000_000_000 // kern.hz
    assert not order
    kern.delay(0)
    assert order == [1, 1, 2, 3]


def test_a_callout_runs_once_and_is_pending_until_then() -> None:
    calls: list[str] = []
    callout = kern.callout_init()
    assert not kern.callout_pending(callout)
    kern.callout_reset(callout, 1, calls.append, "x")
    assert kern.callout_pending(callout)
    kern.delay(3 * SECOND // kern.hz)
    kern.delay(0)  # the look of the first may have been at its very beginning
    assert not kern.callout_pending(callout)
    assert calls == ["x"]


def test_a_callout_that_is_stopped_or_scheduled_again() -> None:
    calls: list[int] = []
    callout = kern.callout_init()
    assert kern.callout_stop(callout)
    kern.callout_reset(callout, 1, calls.append, 1)
    assert not kern.callout_stop(callout)
    kern.callout_reset(callout, 1, calls.append, 2)
    kern.callout_reset(callout, 2, calls.append, 3)
    kern.delay(4 * SECOND // kern.hz)
    kern.delay(0)
    assert calls == [3]


@pytest.mark.parametrize("ticks", [-1, 0, 1])
def test_a_callout_that_schedules_itself_lets_the_wait_end(ticks: int) -> None:
    """callout_schedule(9) takes less than one tick for one."""
    callout = kern.callout_init()
    calls: list[int] = []

    def again(_arg: object) -> None:
        calls.append(curcpu().level)
        assert len(calls) < 100
        kern.callout_schedule(callout, ticks)

    kern.callout_reset(callout, ticks, again)
    kern.delay(3 * SECOND // kern.hz)
    kern.delay(0)
    kern.callout_stop(callout)
    assert set(calls) == {IPL_SOFTCLOCK}


# ---- softint(9) -------------------------------------------------------------------------


def test_a_softint_runs_once_and_after_the_handler(cpu: Cpu, log: list[str]) -> None:
    soft, bell = kern.softint_establish(log.append, "soft"), Bell()

    def handle(_arg: object) -> None:
        kern.softint_schedule(soft)
        kern.softint_schedule(soft)
        log.append("handler")

    cpu.establish(Handler(bell, IPL_VM, handle, None, "test0"))
    bell.ring()
    kern.delay(0)
    assert log == ["handler", "soft"]


def test_a_softint_that_was_disestablished_never_runs(log: list[str]) -> None:
    soft = kern.softint_establish(log.append, "soft")
    kern.softint_schedule(soft)
    kern.softint_disestablish(soft)
    kern.delay(0)
    assert not log
