"""The one processor of a driver process: when interrupt handlers run.

A driver process has one thread.  Handlers, soft interrupts and callouts run
only at preemption points: when the driver waits, and, once `seed` was called,
at the bus accesses and mutex_exit(9)s that the seed chooses.  So an
interleaving is a number, and can be repeated.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from rumpci.errors import NotSupported
from rumpci.host import Event, Interrupt
from rumpci.poller import READABLE, poller

log = logging.getLogger("rumpci.kern")

IPL_NONE, IPL_SOFTCLOCK, IPL_SOFTBIO, IPL_SOFTNET, IPL_SOFTSERIAL = range(5)
IPL_VM, IPL_SCHED, IPL_HIGH = 5, 6, 7
IPL_BIO = IPL_NET = IPL_TTY = IPL_VM

SPIN_SECONDS = 100e-6
"""How long a wait looks again and again before it sleeps."""
NUDGE_SECONDS = 0.05
"""How long a sleep goes on before the interrupts are armed again."""
EPOLL_SECONDS = 1e-3
"""What epoll rounds a time up to."""
PREEMPT_CHANCE = 0.25
"""How likely a seeded preemption point is to be taken."""


@dataclass(eq=False)
class Handler:
    """An established handler: `function(arg)` returns whether the interrupt was its.

    `event` is the record it is being called for; `count` how often it fired; `owner`
    the claim whose interrupt it is; `live` whether it is still established.
    """

    interrupt: Interrupt
    ipl: int
    function: Callable[[Any], int | bool | None]
    arg: Any
    name: str
    owner: object = None
    event: Event | None = None
    count: int = 0
    failed: BaseException | None = None
    live: bool = False


class HeldMutex(Protocol):
    """A mutex(9) that is held; `level` is the IPL to go back to when it is released."""

    level: int


@dataclass(order=True)
class Timer:
    """A callout that is due at `when` (monotonic nanoseconds)."""

    when: int
    order: int
    run: Callable[[], None] = field(compare=False)
    live: bool = field(default=True, compare=False)


class Cpu:
    """Handlers, soft interrupts, timers; `level` is the current IPL.

    `mutexes` are those that are held, in the order they were taken.
    """

    def __init__(self) -> None:
        self.level = IPL_NONE
        self.failures: list[BaseException] = []
        self.mutexes: list[HeldMutex] = []
        self._handlers: dict[int, Handler] = {}
        self._looked: tuple[Handler, ...] = ()  # the same: what a wait goes over, again and again
        self._poll = poller()
        self._timers: list[Timer] = []
        self._order = itertools.count()
        self._soft: list[Callable[[], None]] = []
        self._random: random.Random | None = None

    # ---- what can happen -----------------------------------------------------------

    def establish(self, handler: Handler) -> None:
        """Call the handler at preemption points when its interrupt has events."""
        fd = handler.interrupt.fileno()
        self._handlers[fd] = handler
        self._looked = tuple(self._handlers.values())
        handler.live = True
        self._poll.register(fd, READABLE)

    def disestablish(self, handler: Handler) -> None:
        """Call it no more.  Doing it twice does nothing."""
        handler.live = False
        for fd, known in list(self._handlers.items()):
            if known is handler:
                del self._handlers[fd]
                self._looked = tuple(self._handlers.values())
                with contextlib.suppress(OSError):  # closed with its claim, and forgotten so
                    self._poll.unregister(fd)

    def handlers_of(self, interrupt: Interrupt) -> list[Handler]:
        """The handlers that are established for an interrupt."""
        return [h for h in self._handlers.values() if h.interrupt is interrupt]

    def disestablish_owner(self, owner: object) -> None:
        """Call no handler of this claim any more."""
        for handler in [h for h in self._handlers.values() if h.owner is owner]:
            self.disestablish(handler)

    def schedule(self, microseconds: int, run: Callable[[], None]) -> Timer:
        """Run something later, at a preemption point."""
        when = time.monotonic_ns() + microseconds * 1000
        timer = Timer(when, next(self._order), run)
        heapq.heappush(self._timers, timer)
        return timer

    def soft(self, run: Callable[[], None]) -> None:
        """Run something as soon as no handler runs."""
        if run not in self._soft:
            self._soft.append(run)

    def idle_forever(self) -> bool:
        """Whether nothing that may run at this level could ever end a wait."""
        if self.level >= IPL_VM:
            return True
        later = self.level < IPL_SOFTCLOCK and (self._soft or any(t.live for t in self._timers))
        return not (self._handlers or later)

    def seed(self, seed: int | None) -> None:
        """Make bus accesses and mutex_exit preemption points, chosen by `seed`; None stops it."""
        self._random = None if seed is None else random.Random(seed)  # noqa: S311

    def close(self) -> None:
        """Close its descriptor."""
        self._poll.close()

    # ---- preemption points -----------------------------------------------------------

    def preempt(self) -> None:
        """A point that the seed may choose."""
        if self._random is not None and self._random.random() < PREEMPT_CHANCE:
            self.poll(0)

    def poll(self, seconds: float, also: int | None = None) -> bool:
        """Wait at most `seconds` for something to happen, and let it; whether anything ran.

        It ends when the descriptor `also` is readable, too.
        """
        if self.level >= IPL_VM:
            return self._pause(seconds)
        ran = False
        if self._soft or self._timers:
            ran = self._run_due()
            seconds = 0 if ran else self._until_due(seconds)
        for handler in self._wait(seconds, also):
            if handler.live:  # one that ran before may have ended it
                ran = self._run(handler) or ran
        return self._run_due() or ran if self._soft or self._timers else ran

    def _until_due(self, seconds: float) -> float:
        """How long a wait of `seconds` may be for the next timer."""
        if not self._timers or self.level >= IPL_SOFTCLOCK:
            return seconds
        due = (self._timers[0].when - time.monotonic_ns()) / 1e9
        return min(seconds, max(due, 0))

    def _wait(self, seconds: float, also: int | None = None) -> Sequence[Handler]:
        """Who has something to read within `seconds`: look a moment, as a sleep takes long to end.

        A sleep is never shorter than EPOLL_SECONDS, so a short wait only looks.
        """
        if seconds <= 0:
            return self._of(self._poll.poll(0))
        if also is not None:
            return self._sleep_with(also, seconds)
        handlers = self._looked
        if len(handlers) == 1 and handlers[0].interrupt.ready():
            return handlers  # as soon as can be: there is nobody else to arm
        looking = SPIN_SECONDS if seconds > SPIN_SECONDS + EPOLL_SECONDS else seconds
        start = time.perf_counter()
        return self._look(start + looking) or self._sleep(start + seconds)

    def _of(self, events: list[tuple[int, int]]) -> list[Handler]:
        return [self._handlers[fd] for fd, _ in events if fd in self._handlers]

    def _sleep_with(self, also: int, seconds: float) -> list[Handler]:
        """Sleep at once: a look would not see `also`, and would keep its peer waiting."""
        self._poll.register(also, READABLE)
        try:
            return self._sleep(time.perf_counter() + seconds)
        finally:
            self._poll.unregister(also)

    def _sleep(self, end: float) -> list[Handler]:
        """Sleep until something is readable, or `end`; arming again now and then nudges a host."""
        while True:
            rest = end - time.perf_counter()
            events = self._poll.poll(max(0, min(rest, NUDGE_SECONDS)))
            if events or rest <= NUDGE_SECONDS:
                return self._of(events)
            for handler in self._looked:
                handler.interrupt.arm()

    def _look(self, end: float) -> list[Handler]:
        """Who is ready, looking until `end`; then all are armed.

        Who is ready will be read, which arms, too.
        """
        handlers, ready = self._looked, list[Handler]()
        try:
            while not ready and time.perf_counter() < end:
                ready = [handler for handler in handlers if handler.interrupt.ready()]
                if not ready:
                    os.sched_yield()
        finally:  # nobody else is looked at any more
            if len(ready) < len(handlers):
                others = [handler for handler in handlers if handler not in ready]
                ready += [handler for handler in others if handler.interrupt.arm()]
        return ready

    def _pause(self, seconds: float) -> bool:
        """Wait with interrupts blocked: nothing may run."""
        if seconds > 0:
            time.sleep(seconds)
        return False

    def _run(self, handler: Handler) -> bool:
        """Handle every event of one interrupt, at its level.

        If the handler raises, the interrupt stays masked.
        """
        events, level = handler.interrupt.read(), self.level
        self.level = handler.ipl  # above: nobody is called from a higher one
        try:
            for event in events:
                handler.event = event
                handler.count += event.count
                handler.function(handler.arg)
                if not handler.live:
                    return True
        except Exception as error:
            self._failed(handler, error)
            return True
        finally:
            self.level, handler.event = level, None
        if events:
            handler.interrupt.unmask()
        return bool(events)

    def _failed(self, handler: Handler, error: Exception) -> None:
        log.error(
            "%s: its interrupt handler raised; %s is masked",
            handler.name, handler.interrupt.name, exc_info=error,
        )  # fmt: skip
        handler.failed = error
        self.failures.append(error)
        if not handler.live:  # it disestablished itself before
            return
        self.disestablish(handler)
        try:
            handler.interrupt.mask()
        except NotSupported:
            handler.interrupt.disestablish()

    def _run_due(self) -> bool:
        """Run soft interrupts and the timers that are due."""
        ran = False
        while self.level < IPL_SOFTCLOCK:
            if self._soft:
                self._at_soft_level(self._soft.pop(0))
            elif self._timers and self._timers[0].when <= time.monotonic_ns():
                timer = heapq.heappop(self._timers)
                if timer.live:
                    self._at_soft_level(timer.run)
            else:
                break
            ran = True
        return ran

    def _at_soft_level(self, run: Callable[[], None]) -> None:
        level, self.level = self.level, IPL_SOFTCLOCK
        try:
            run()
        finally:
            self.level = level


_current: ContextVar[Cpu] = ContextVar("curcpu")


def curcpu() -> Cpu:
    """The processor of this thread, made when it is first asked for."""
    try:
        return _current.get()
    except LookupError:
        cpu = Cpu()
        _current.set(cpu)
        return cpu


@contextlib.contextmanager
def own_cpu(cpu: Cpu | None = None) -> Iterator[Cpu]:
    """A processor for one run: a mutex left held, or a callout, ends with it."""
    cpu = cpu or Cpu()
    token = _current.set(cpu)
    try:
        yield cpu
    finally:
        _current.reset(token)
        cpu.close()
