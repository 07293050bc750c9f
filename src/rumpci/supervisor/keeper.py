"""Looks after one child: what it says, what it may claim, how it ended."""

from __future__ import annotations

import contextlib
import enum
import select
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import click

from rumpci.errors import RumpciError
from rumpci.guard.served import Served
from rumpci.host import Address, Function
from rumpci.listen import Listener
from rumpci.pci4.policy import Rights
from rumpci.pci4.server import Server
from rumpci.supervisor import control, flight, registers
from rumpci.supervisor.plan import Plan
from rumpci.supervisor.process import Process
from rumpci.supervisor.report import Report, Snapshot, snapshot
from rumpci.tools.nbd import Service

LOADING_SECONDS = 10.0
"""How much longer than the watchdog's time it may take to start Python and load drivers."""
_ONCE = dict.fromkeys(("loaded", "matched", "failed", "ran", "kept", "done"), 1)
_MOST = _ONCE | {"attached": 4096, "unit": 4096, "debug": 1000, "debugged": 1000}
"""How often each kind of message is heard."""


class State(enum.Enum):
    """How far a child is; RAN: its devices wait, attached, until those of others have run."""

    LOADING = enum.auto()
    MATCHING = enum.auto()
    MATCHED = enum.auto()
    ATTACHING = enum.auto()
    RUNNING = enum.auto()
    RAN = enum.auto()
    DETACHING = enum.auto()


_STATES = {"matched": State.MATCHED, "ran": State.RAN}


@dataclass(frozen=True)
class Given(Rights):
    """A child's rights: to claim what the supervisor gave it."""

    given: set[Address] = field(default_factory=set)

    def may_claim(self, function: Function) -> bool:
        """See Rights."""
        return function.address in self.given


@dataclass(frozen=True)
class End:
    """How a child ended: `line` is the error's, "" if there was none; it may be all drivers'."""

    line: str = ""
    of_all: bool = False
    interrupted: bool = False
    terminated: bool = False

    @staticmethod
    def of_signal(number: int) -> End:
        """That of who was told to end, and had nothing to do first."""
        return End(interrupted=number == signal.SIGINT, terminated=number == signal.SIGTERM)


class Watcher(Protocol):
    """Who is told about a child."""

    def heard(self, keeper: Keeper, kind: str, message: dict[str, Any]) -> None:
        """It said something."""

    def over(self, keeper: Keeper) -> None:
        """It ended, and all that it held was released."""


class Keeper:
    """The server tells it when its child leaves, the kernel when that ended."""

    def __init__(
        self,
        watcher: Watcher,
        plan: Plan,
        name: str,
        server: Server,
        process: Process,
        names: flight.Names,
    ) -> None:
        self._watcher, self._plan, self._server, self._names = watcher, plan, server, names
        self._guard: Served = server.guard
        self.name, self.process = name, process
        self._rights = Given((), False, server.policy.limits, f"driver {name}")
        self.since = time.monotonic()
        self._first: dict[str, dict[str, Any]] = {}  # what it said, the first of each kind
        self._count = Counter[str]()
        self._state: Snapshot | None = None
        self._status: int | None = None
        self._told: int | None = None  # the signal that told it to end
        self.state = State.LOADING
        self.attached = 0  # when its last device was, of all that were
        self.debugging = self.was_attached = self.has_disks = False
        self.refusal = ""  # why it gets no devices
        self._killed = ""  # why we did that
        self.was_asked = False  # to end, for the next child
        self._hung, self._gone = False, True
        self._seen, self._moved = (-1, -1, -1), time.monotonic()
        server.watch(process.told.fileno(), select.EPOLLIN, self._spoke)
        server.watch(process.pidfd, select.EPOLLIN, self._ended)

    @property
    def devices(self) -> set[Address]:
        """What it may claim."""
        return self._rights.given

    @property
    def loaded(self) -> bool:
        """Whether it loaded its drivers."""
        return "loaded" in self._first

    @property
    def failed(self) -> bool:
        """Whether it told of a failure, which it ends with."""
        return "failed" in self._first

    @property
    def was_told(self) -> bool:
        """Whether a signal told it to end."""
        return self._told is not None

    def go(self, kept: dict[str, Any]) -> None:
        """Let it at the guard, with what the child before it kept."""
        self._gone, self.state = False, State.MATCHING
        self._server.adopt(self.process.bus, self._rights, self)
        self.order("go", kept=kept)

    def order(self, kind: str, **message: object) -> None:
        """Tell it something; one that has ended hears nothing."""
        with contextlib.suppress(OSError):
            control.send(self.process.told, kind=kind, **message)

    def serve(self, disks: Listener, service: Service) -> None:
        """Have it serve its disks to those who connect there."""
        with contextlib.suppress(OSError):
            control.send_fd(self.process.told, disks.fileno(), kind="run", serve=asdict(service))

    def tell(self, number: int) -> None:
        """Pass a signal on; who is told twice does not listen."""
        self.process.signal(signal.SIGKILL if self._told else number)
        self._told = number

    def kill(self, why: str) -> None:
        """End it at once, if it has not ended."""
        if self._status is None:
            self._killed = why
            self.process.signal(signal.SIGKILL)

    def ask(self) -> None:
        """Ask it to end, as SIGINT does."""
        self.was_asked = True
        self.process.signal(signal.SIGINT)

    def refuse(self, line: str = "") -> None:
        """It gets no devices, and ends; `line` says why, if that is an error."""
        self.refusal = line
        self.detach()

    def detach(self) -> None:
        """Have it detach its devices, and end."""
        self.state = State.DETACHING
        self.order("detach")

    def discard(self) -> None:
        """Let go of it, whatever it does: nobody is told."""
        for fd in (self.process.told.fileno(), self.process.pidfd):
            self._server.unwatch(fd)
        self.process.close()

    # ---- what the server says ----------------------------------------------------------

    def leaving(self) -> None:
        """See server.Keeper: the last look at what the child held."""
        with contextlib.suppress(RumpciError):  # a machine that died starts nothing
            self._guard.stop_mastering(self.devices)
        if "done" not in self._first and self._state is None:
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
        self._take(str(message.get("kind")), message)
        return True

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        if self._count[kind] >= _MOST.get(kind, 0):
            return
        self._count[kind] += 1
        self._first.setdefault(kind, message)
        if kind == "loaded":
            self._learn(message.get("registers"))
        elif kind == "failed":
            self._look()
            self.order("noted")
        elif kind in ("debug", "debugged"):
            self.debugging = kind == "debug"
        elif kind in _STATES:
            self.state = _STATES[kind]
        self._watcher.heard(self, kind, message)

    def _learn(self, told: Any) -> None:
        drivers = list(told.items())[:64] if isinstance(told, dict) else []
        self._names.registers |= {name: registers.rows_of(rows) for name, rows in drivers}

    def note_owners(self) -> None:
        """Remember who has which function."""
        functions = self._guard.functions()
        self._names.note_owners({f.address: f.claimed_by for f in functions if f.claimed_by})

    def _look(self) -> None:
        self.note_owners()
        with contextlib.suppress(Exception):  # a machine that died has nothing to show
            self._state = snapshot(self._guard, self.devices)

    # ---- its end -----------------------------------------------------------------------

    def _ended(self, _events: int) -> None:
        self._server.unwatch(self.process.pidfd)
        while self._heard():  # its last words
            pass
        self._server.unwatch(self.process.told.fileno())
        self._status = self.process.reap()
        self._finish()

    def _finish(self) -> None:
        if self._gone and self._status is not None:
            self._watcher.over(self)

    def check(self) -> None:
        """The watchdog: end a child that does nothing."""
        beat, now = self.process.beat, time.monotonic()
        seen = (self._server.turns(self.process.bus), beat.count, self._count.total())
        limit = self._plan.watchdog + (0 if self.loaded else LOADING_SECONDS)
        if seen != self._seen or beat.waits or self.debugging or self._status is not None:
            self._seen, self._moved = seen, now
        elif now - self._moved > limit:
            self.process.signal(signal.SIGKILL if self._hung else signal.SIGABRT)
            self._hung, self._moved = True, now

    # ---- reports -------------------------------------------------------------------------

    def end(self) -> End:
        """How it ended; what has to be reported is printed."""
        said = self._first.get("done")
        if self.refusal:
            return End(self.refusal, of_all=True)
        if said is None and self._told == signal.SIGTERM:
            return End(terminated=True)
        if (said is None and not self._told) or self.failed:
            say(self._report().lines(self._names))
        if said is None and self._told:
            return End(interrupted=True)
        if said is None:
            return End(f"{self._who()}: {self._why()}; see the report above")
        if said.get("interrupted"):
            return End(interrupted=True)
        return End(control.text(said.get("line", "")))

    def _report(self) -> Report:
        failure = self._first.get("failed")
        done = self._guard.recorder.quarantined_since(int(self.since * 1e9), self.devices)
        if failure and "done" in self._first:
            told = failure.get("places")
            places = [control.text(p, 300) for p in told[:8]] if isinstance(told, list) else []
            why = f"{control.text(failure.get('doing'))}: {control.text(failure.get('what'))}"
            return Report(self._who(), why, places, self._state, done)
        return Report(self._who(), self._why(), self.process.crash(), self._state, done)

    def _who(self) -> str:
        owners = self._names.owners
        held = sorted(at for at in self.devices if at in owners)
        return ", ".join(f"{owners[at]} at {at}" for at in held) or self.name

    def _why(self) -> str:
        status = self._status or 0
        if self._killed:
            return self._killed
        if self._hung:
            return f"hung: no bus operation and no wait for {self._plan.watchdog:g} s"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"its process exited with status {status} without a word"


def say(lines: list[str]) -> None:
    """Print lines on standard error."""
    click.echo("\n".join(lines), err=True)
