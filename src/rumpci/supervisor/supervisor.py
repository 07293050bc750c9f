"""`rumpci run`: holds the host, serves it to a child that runs the drivers, and sees it end.

There is one child, for all drivers of a run; nothing here but `run` knows that.
"""

from __future__ import annotations

import contextlib
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import click

from rumpci.errors import NotSupported, RumpciError
from rumpci.guard import Guard
from rumpci.pci4.policy import Rights
from rumpci.pci4.server import Server
from rumpci.supervisor import control, flight, registers
from rumpci.supervisor.failure import DriverDied
from rumpci.supervisor.plan import Plan
from rumpci.supervisor.process import Process
from rumpci.supervisor.reload import Reloads
from rumpci.supervisor.report import OPERATIONS, Report, Snapshot, snapshot
from rumpci.supervisor.work import show_lines

_PAUSE_LEAST, _PAUSE_MOST = 0.1, 5.0
_LONG_LIFE = 10.0
LOADING_SECONDS = 10.0
"""How much longer than the watchdog's time it may take to start Python and load drivers."""


def run(plan: Plan, process: Process, open_guard: Callable[[], object]) -> int:
    """Run it, and again as `plan.restart` says; the exit status.

    `process` is its first child, which was started before: it loads while this opens the host.

    Raises what keeps it from running, DriverDied, KeyboardInterrupt.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(process))
        guard = stack.enter_context(contextlib.closing(open_guard()))  # type: ignore[type-var]
        if not isinstance(guard, Guard):
            raise NotSupported(
                f"supervising drivers on {plan.work.host}", "its guard is another process",
                "run it with --in-process",
            )  # fmt: skip
        if plan.reload:
            return _reloading(plan, guard, process)
        pause, status = _PAUSE_LEAST, None
        while status is None:
            since = time.monotonic()
            status = _once(plan, guard, process)
            if status is None:
                pause = _PAUSE_LEAST if time.monotonic() - since > _LONG_LIFE else pause
                time.sleep(pause)
                pause = min(2 * pause, _PAUSE_MOST)
                process = stack.enter_context(contextlib.closing(plan.start()))
        return status


def _reloading(plan: Plan, guard: Guard, process: Process) -> int:
    """Let one child follow the other as files are saved, until a signal ends it."""
    with contextlib.closing(Reloads(plan)) as reloads:
        while True:
            with contextlib.closing(process):
                status = _until_save(plan, guard, process, reloads)
            if status is not None:
                return status
            process = reloads.following()


def _until_save(plan: Plan, guard: Guard, process: Process, reloads: Reloads) -> int | None:
    """Let a child live; its status if a signal told it to end, else None."""
    with Server(guard) as server:
        keeper = Keeper(plan, guard, server, process, reloads)
        with signals(keeper), watching(keeper), reloads.beside(server, process):
            server.run()
    try:
        status = keeper.end()
    except DriverDied as death:
        if keeper.was_told:
            raise
        _print([f"rumpci: {death}"])
        return None
    except KeyboardInterrupt:
        if keeper.was_told or not reloads.asked:
            raise
        return None
    return status if keeper.was_told else None


def _once(plan: Plan, guard: Guard, process: Process) -> int | None:
    """Let a child live; its status, or None if there is to be another."""
    with Server(guard) as server:
        keeper = Keeper(plan, guard, server, process)
        with signals(keeper), watching(keeper):
            server.run()
    try:
        status = keeper.end()
    except DriverDied as death:
        if plan.restart == "never" or not keeper.was_attached:
            raise
        _print([f"rumpci: {death}", "rumpci: restarting"])
        return None
    finally:
        process.close()
    return None if plan.restart == "always" and not keeper.was_told else status


class Keeper:
    """Looks after one child: the server tells it when it leaves, the kernel when it ended."""

    def __init__(
        self,
        plan: Plan,
        guard: Guard,
        server: Server,
        process: Process,
        reloads: Reloads | None = None,
    ) -> None:
        self._plan, self._guard, self._server = plan, guard, server
        self.process, self._reloads = process, reloads
        self._names = flight.Names()
        self._heard_of: dict[str, dict[str, Any]] = {}
        self._state: Snapshot | None = None
        self._status: int | None = None
        self._told: int | None = None  # the signal that told us to end
        self._hung = self._gone = False
        self._seen, self._since = (-1, -1, -1), time.monotonic()
        self._quarantined = len(guard.recorder.quarantines)
        server.watch(process.told.fileno(), select.EPOLLIN, self._spoke)
        server.watch(process.pidfd, select.EPOLLIN, self._ended)
        rights = Rights(("*",), inspect=False, limits=server.policy.limits)
        server.adopt(process.bus, rights, self)
        process.go(reloads.kept if reloads else None)

    # ---- what the server says ----------------------------------------------------------

    def leaving(self) -> None:
        """See server.Keeper: the last look at what the child held."""
        with contextlib.suppress(RumpciError):  # a machine that died starts nothing
            self._guard.stop_mastering()
        if self._said is None and self._state is None:
            self._look()

    def left(self) -> None:
        """See server.Keeper."""
        self._gone = True
        self._finish()

    # ---- what the child says ---------------------------------------------------------

    def _spoke(self, _events: int) -> None:
        self._heard()

    def _heard(self) -> bool:
        """Take a message; whether there may be more."""
        try:
            message = control.receive(self.process.told)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # it left something of ours unread; its words come now
            return True
        except OSError:
            message = None
        if message is None:
            self._server.unwatch(self.process.told.fileno())
            return False
        kind = str(message.get("kind"))
        if kind not in self._heard_of:  # each is said once
            self._heard_of[kind] = message
            self._take(kind, message)
        return True

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "loaded":
            self._learn(message.get("registers"))
        elif kind == "attached":
            self._note_owners()
        elif kind == "show":
            self._show()
        elif kind == "failed":
            self._look()
            self._note()
        if self._reloads:
            self._reloads.heard(kind, message)

    def _show(self) -> None:
        """Show the guard's own listings: they say more than a child may know."""
        try:
            for name in self._plan.work.show:
                click.echo("\n".join(show_lines(name, self._guard)))
        finally:
            self._note()

    def _note(self) -> None:
        with contextlib.suppress(OSError):
            control.send(self.process.told, kind="noted")

    def _learn(self, told: Any) -> None:
        drivers = list(told.items())[:64] if isinstance(told, dict) else []
        self._names.registers = {name: registers.rows_of(rows) for name, rows in drivers}

    def _note_owners(self) -> None:
        functions = self._guard.functions()
        self._names.note_owners({f.address: f.claimed_by for f in functions if f.claimed_by})

    def _look(self) -> None:
        self._note_owners()
        with contextlib.suppress(Exception):  # a machine that died has nothing to show
            self._state = snapshot(self._guard)

    @property
    def _said(self) -> dict[str, Any] | None:
        """Its last words, if it had any."""
        return self._heard_of.get("done")

    # ---- its end -----------------------------------------------------------------------

    def _ended(self, _events: int) -> None:
        self._server.unwatch(self.process.pidfd)
        while self._heard():  # its last words
            pass
        self._status = self.process.reap()
        self._finish()

    def _finish(self) -> None:
        if self._gone and self._status is not None:
            self._server.stop()

    def tell(self, number: int) -> None:
        """Pass a signal on; who is told twice does not listen."""
        self.process.signal(signal.SIGKILL if self._told else number)
        self._told = number

    def check(self) -> None:
        """The watchdog: end a child that does nothing."""
        beat, now = self.process.beat, time.monotonic()
        seen = (self._server.turns, beat.count, len(self._heard_of))
        limit = self._plan.watchdog + (0 if "loaded" in self._heard_of else LOADING_SECONDS)
        if seen != self._seen or beat.waits:
            self._seen, self._since = seen, now
        elif now - self._since > limit:
            self.process.signal(signal.SIGKILL if self._hung else signal.SIGABRT)
            self._hung, self._since = True, now

    @property
    def was_attached(self) -> bool:
        """Whether its drivers ever attached."""
        return "attached" in self._heard_of

    @property
    def was_told(self) -> bool:
        """Whether a signal told us to end."""
        return self._told is not None

    @property
    def interval(self) -> float:
        """How often to check, in seconds; 0: never."""
        return min(self._plan.watchdog / 4, 0.25)

    # ---- reports -------------------------------------------------------------------------

    def show_soon(self) -> None:
        """Print what a report would show, when the server is between two requests."""
        self._server.call(lambda: self.show_last(self._plan.last or OPERATIONS))

    def show_last(self, count: int) -> None:
        """Print the last operations on standard error."""
        self._note_owners()
        _print(last_lines(self._guard, self._names, count))

    def end(self) -> int:
        """Say how it was; the exit status.  Raises DriverDied, KeyboardInterrupt."""
        died = self._said is None
        if self._plan.last:
            self.show_last(self._plan.last)
        if died and self._told == signal.SIGTERM:
            return 128 + signal.SIGTERM
        if (died and not self._told) or "failed" in self._heard_of:
            _print(self._report().lines(self._names))
        if died and not self._told:
            raise DriverDied(f"{self._who()}: {self._why()}; see the report above")
        said = self._said or {"interrupted": True}
        if said.get("interrupted"):
            raise KeyboardInterrupt
        if "line" in said:
            raise DriverDied(control.text(said["line"]))
        return 0

    def _report(self) -> Report:
        failure = self._heard_of.get("failed")
        done = list(self._guard.recorder.quarantines)[self._quarantined :]
        if failure and self._said is not None:
            told = failure.get("places")
            places = [control.text(p, 300) for p in told[:8]] if isinstance(told, list) else []
            why = f"{control.text(failure.get('doing'))}: {control.text(failure.get('what'))}"
            return Report(self._who(), why, places, self._state, done)
        return Report(self._who(), self._why(), self.process.crash(), self._state, done)

    def _who(self) -> str:
        owners = self._names.owners
        named = ", ".join(f"{who} at {device}" for device, who in owners.items())
        return named or ", ".join(self._plan.work.names)

    def _why(self) -> str:
        status = self._status or 0
        if self._hung:
            return f"hung: no bus operation and no wait for {self._plan.watchdog:g} s"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"its process exited with status {status} without a word"


def last_lines(guard: Guard, names: flight.Names, count: int) -> list[str]:
    """The last operations of a guard, with a heading."""
    recorder = guard.recorder
    notes = recorder.last(count)
    head = f"---- the last {len(notes)} of {recorder.total} operations"
    return [head, *flight.lines(notes, names, time.monotonic_ns()), "----"]


def _print(lines: list[str]) -> None:
    click.echo("\n".join(lines), err=True)


@contextlib.contextmanager
def signals(keeper: Keeper) -> Iterator[None]:
    """SIGINT and SIGTERM go to the child, SIGUSR1 prints the flight recorder."""

    def told(number: int, _frame: FrameType | None) -> None:
        keeper.tell(number)

    def usr1(_number: int, _frame: FrameType | None) -> None:
        keeper.show_soon()

    handlers = {signal.SIGINT: told, signal.SIGTERM: told, signal.SIGUSR1: usr1}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def watching(keeper: Keeper) -> Iterator[None]:
    """Have the watchdog look now and then."""

    def look(_number: int, _frame: FrameType | None) -> None:
        keeper.check()

    if not keeper.interval:
        yield
        return
    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, keeper.interval, keeper.interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
