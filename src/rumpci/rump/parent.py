"""Keeps a rump kernel: holds the host, starts its process, sees it end.

A panic is abort(3) in that process.  Here it is a report: what it printed last, what was under
way, and what became of its devices.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import click

from rumpci.errors import RumpciError
from rumpci.guard import Guard
from rumpci.host import Address, Host
from rumpci.pci4.server import Server
from rumpci.rump.loop import Loop
from rumpci.signals import Handling, handled, waking
from rumpci.supervisor import control, flight
from rumpci.supervisor.keeper import Given, say
from rumpci.supervisor.process import Process
from rumpci.supervisor.report import Report, Snapshot, snapshot

MODULE = "rumpci.rump.child"
_TAIL = 24
"""How many of its last lines a report shows."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Plan:
    """What to boot (see kernel.Kernel), and what to run when it is up.

    `limit` is how many seconds booting may take without a bus operation.
    """

    host: str
    lib: str | None
    drivers: Sequence[str]
    components: Sequence[str]
    devices: Sequence[str] | None
    msi: int
    shared: bool
    server: str | None
    command: Sequence[str] = ()
    limit: float = 30.0

    def job(self, server: str, *, guarded: bool) -> dict[str, Any]:
        """What the child is told."""
        told = {k: v for k, v in asdict(self).items() if k not in ("command", "limit")}
        return {**told, "server": server, "guarded": guarded}


@dataclass
class Outcome:
    """How it ended: `line` is the error's, "" if there was none; `status` the command's."""

    line: str = ""
    status: int = 0
    interrupted: bool = False
    findings: list[str] = field(default_factory=list)


class Parent:
    """One rump kernel and the command that uses it."""

    def __init__(self, plan: Plan, host: Host | None, stack: contextlib.ExitStack) -> None:
        self._plan = plan
        self._guard = host if isinstance(host, Guard) else None
        self._loop: Server | Loop = Loop() if self._guard is None else Server(self._guard)
        stack.enter_context(self._loop)
        server = plan.server
        if server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rumpci-"))
            server = f"unix://{folder}/rump"
        self._url = server
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write, True)
        stack.callback(os.close, read)
        try:
            job = plan.job(server, guarded=self._guard is not None)
            self._process = Process(job, module=MODULE, stdout=write)
        finally:
            os.close(write)
        stack.callback(self._process.close)
        self._pipe, self._rest = read, b""
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._command: subprocess.Popen[bytes] | None = None
        self._given = self._devices()
        self._state: Snapshot | None = None
        self._told: set[str] = set()
        self._hung = self._halting = self._gone = self._dead = False
        self._turns, self._began = -1, time.monotonic_ns()
        self.outcome = Outcome()

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Until the kernel has ended."""
        loop, process = self._loop, self._process
        loop.watch(self._pipe, select.EPOLLIN, self._printed)
        loop.watch(process.told.fileno(), select.EPOLLIN, self._spoke)
        loop.watch(process.pidfd, select.EPOLLIN, self._ended)
        if isinstance(loop, Server) and self._guard is not None:
            rights = Given((), False, loop.policy.limits, "rump kernel", self._given)
            loop.adopt(process.bus, rights, self)
        else:
            self._gone = True
        signals: dict[int, Handling] = {
            signal.SIGINT: lambda *_: loop.call(self._interrupt),
            signal.SIGTERM: lambda *_: loop.call(self._interrupt),
            signal.SIGALRM: lambda *_: loop.call(self._check),
        }
        with handled(signals), waking(loop):
            signal.setitimer(signal.ITIMER_REAL, self._plan.limit, self._plan.limit)
            try:
                loop.run()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._end_command()
        return self.outcome

    def _devices(self) -> set[Address]:
        if self._plan.devices is not None:
            return {Address.parse(text) for text in self._plan.devices}
        functions = self._guard.functions() if self._guard else ()
        return {f.address for f in functions if not f.is_bridge}

    def _check(self) -> None:
        """The watchdog of the boot: one that does nothing on the bus for so long hangs."""
        server = self._loop
        turns = server.turns(self._process.bus) if isinstance(server, Server) else -2
        if self._told & {"booted", "failed"}:
            return
        if turns in (self._turns, -2):
            self._hung = True
            self._process.signal(signal.SIGABRT)
        self._turns = turns

    def _interrupt(self) -> None:
        self.outcome.interrupted = True
        if self._halting:
            self._process.signal(signal.SIGKILL)
        self._halt()

    def _halt(self) -> None:
        self._halting = True
        with contextlib.suppress(OSError):
            control.send(self._process.told, kind="halt")

    # ---- what it says ---------------------------------------------------------------------

    def _printed(self, _events: int) -> None:
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._loop.unwatch(self._pipe)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode(errors="replace"))

    def _line(self, text: str) -> None:
        shown = control.text(text) if not text.isprintable() else text
        self._tail.append(shown)
        click.echo(shown)

    def _spoke(self, _events: int) -> None:
        while True:
            try:
                message = control.receive(self._process.told)
            except BlockingIOError:
                return
            except OSError:
                message = None
            if message is None:
                self._loop.unwatch(self._process.told.fileno())
                return
            self._take(str(message.get("kind")), message)

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "finding":
            text = control.text(message.get("text"))
            self.outcome.findings.append(text)
            say([f"rump: {text}"])
            return
        if kind in self._told:
            return
        self._told.add(kind)
        if kind == "failed":
            self.outcome.line = control.text(message.get("what"))
        elif kind == "booted":
            self._booted(message)

    def _booted(self, message: dict[str, Any]) -> None:
        unused = message.get("unused")
        for at in unused[:64] if isinstance(unused, list) else []:
            say([f"rump: no driver took {control.text(at)}"])
        if not self._plan.command:
            say([f"rump: its system calls are at RUMP_SERVER={self._url}; SIGINT ends it"])
            return
        environment = os.environ | {"RUMP_SERVER": self._url}
        if self._plan.lib:
            environment["RUMPCI_RUMP_LIB"] = self._plan.lib
        try:
            self._command = subprocess.Popen(self._plan.command, env=environment)  # noqa: S603
        except OSError as error:
            self.outcome.line = f"{self._plan.command[0]}: {error.strerror}"
            self._halt()
            return
        fd = os.pidfd_open(self._command.pid)
        self._loop.watch(fd, select.EPOLLIN, lambda _events: self._command_ended(fd))

    def _command_ended(self, fd: int) -> None:
        self._loop.unwatch(fd)
        os.close(fd)
        if self._command is not None:
            self.outcome.status = self._command.wait()
        self._halt()

    def _end_command(self) -> None:
        if self._command is not None and self._command.poll() is None:
            self._command.kill()
            self._command.wait()

    # ---- its end --------------------------------------------------------------------------

    def leaving(self) -> None:
        """See server.Keeper: the last look at what it held."""
        if self._guard is None:
            return
        with contextlib.suppress(RumpciError):
            self._guard.stop_mastering(self._given)
        if "done" not in self._told:
            with contextlib.suppress(Exception):  # a machine that died has nothing to show
                self._state = snapshot(self._guard, self._given)

    def left(self) -> None:
        """See server.Keeper."""
        self._gone = True
        self._finish()

    def _ended(self, _events: int) -> None:
        self._loop.unwatch(self._process.pidfd)
        self._spoke(0)
        self._printed(0)
        self._dead = True
        self._status = self._process.reap()
        self._finish()

    def _finish(self) -> None:
        if not (self._gone and self._dead):
            return
        if "done" not in self._told and not self.outcome.line:
            self._report()
        self._loop.stop()

    def _report(self) -> None:
        status = self._status
        panic = next((line for line in reversed(self._tail) if "panic:" in line), "")
        if self._hung:
            why = f"hung: no bus operation for {self._plan.limit:g} s while it booted"
        elif status < 0:
            why = f"{panic or 'no panic'} (ended by {signal.Signals(-status).name})"
        else:
            why = f"its process exited with status {status} without a word"
        where = [f"| {line}" for line in self._tail]
        recorder = self._guard.recorder if self._guard else None
        done = recorder.quarantined_since(self._began, self._given) if recorder else []
        names = flight.Names()
        lines = Report("the rump kernel", why, where, self._state, done).lines(names)
        say(lines)
        if not self.outcome.interrupted:
            self.outcome.line = f"the rump kernel: {why}; see the report above"


def run(plan: Plan, host: Host | None) -> Outcome:
    """Boot, run the command, halt.  The host stays its owner's to close; None: the child's."""
    sys.stdout.flush()
    with contextlib.ExitStack() as stack:
        return Parent(plan, host, stack).run()
