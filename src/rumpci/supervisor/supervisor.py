"""`rumpci run`: holds the host, serves it to children that run the drivers, sees them end.

Each driver has a child of its own (post.py).  They attach one device after the other
(attaching.py), then run side by side; when all have run, they detach, the last one first.  What
ends one child is nothing to the others.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import click

from rumpci.autoconf import Console
from rumpci.errors import NotSupported
from rumpci.guard.served import Served
from rumpci.listen import Listener
from rumpci.nbd.server import listener
from rumpci.pci4.life import Life
from rumpci.pci4.server import Server
from rumpci.signals import Handling, handled, waking
from rumpci.supervisor import flight
from rumpci.supervisor.alarms import Alarms
from rumpci.supervisor.attaching import Rounds
from rumpci.supervisor.keeper import Keeper, State, say
from rumpci.supervisor.plan import Plan
from rumpci.supervisor.post import Post
from rumpci.supervisor.process import Process
from rumpci.supervisor.report import OPERATIONS
from rumpci.supervisor.units import UnitBook
from rumpci.supervisor.work import no_device, show_lines
from rumpci.tools.nbd import Service, no_disk

_LOOK_SECONDS = 0.25
"""The watchdog looks as often as this at least."""


def run(plan: Plan, processes: Sequence[Process], open_guard: Callable[[], object]) -> int:
    """Run it, and again as `plan.restart` and `plan.reload` say; the exit status.

    `processes` are the first children, which load while this opens the host.

    Raises what keeps it from running, MachineDied, KeyboardInterrupt.
    """
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(contextlib.closing(open_guard()))  # type: ignore[type-var]
        if not isinstance(guard, Served):
            raise NotSupported(
                f"supervising drivers on {plan.work.host}", "its guard is another process",
                "run it with --in-process",
            )  # fmt: skip
        disks = None
        if plan.service:
            disks = stack.enter_context(contextlib.closing(listener(plan.service.path)))
        server = stack.enter_context(Server(guard))
        return Supervisor(plan, guard, server, processes, disks).run()


class Supervisor:
    """The posts of a run, and what they share (see post.Crew); `disks`: where they are served."""

    def __init__(
        self,
        plan: Plan,
        guard: Served,
        server: Server,
        processes: Sequence[Process],
        disks: Listener | None = None,
    ) -> None:
        self.plan, self.server, self._guard, self._disks = plan, server, guard, disks
        self.alarms, self.names = Alarms(server), flight.Names()
        self._life, self._units = Life(guard), UnitBook()
        self._error: Exception | None = None
        self._told: int | None = None  # the signal that ends all
        server.failed = self._failed
        named = zip(plan.work.names, processes, strict=True)
        self._posts = [Post(self, name, process) for name, process in named]
        console = Console(lambda text: click.echo(text, nl=False))
        self._rounds = Rounds(self._posts, console, self._units)
        self._ending = self._begun = self._shown = False
        self._debugging: deque[Keeper] = deque()  # who wants the terminal; the first has it
        self._serving: Post | None = None

    def run(self) -> int:
        """Serve the children until nothing follows; the exit status.

        Raises KeyboardInterrupt, and what failed here, after all have been ended.
        """
        signals: dict[int, Handling] = {
            signal.SIGINT: lambda number, _: self.server.call(lambda: self._tell(number)),
            signal.SIGTERM: lambda number, _: self.server.call(lambda: self._tell(number)),
            signal.SIGUSR1: lambda *_: self.server.call(self._show_last),
        }
        with contextlib.ExitStack() as stack:
            for post in self._posts:
                stack.callback(post.close)
            stack.enter_context(handled(signals))
            stack.enter_context(waking(self.server))
            stack.enter_context(self.alarms.heeded())
            stack.enter_context(self._life.watched(self.server, self._lost))
            for post in self._posts:
                post.begin()
            if self.plan.watchdog:
                self.alarms.every(min(self.plan.watchdog / 4, _LOOK_SECONDS), self._check)
            self.server.run()
        if self._error:
            raise self._error
        if self.plan.last:
            self._show_last()
        self._life.check()
        return self._status()

    def _failed(self, error: Exception) -> None:
        """Something here failed, such as a write to a pipe that nobody reads: it ends the run."""
        self._error = self._error or error
        self.server.stop()

    @property
    def ending(self) -> bool:
        """See Crew."""
        return self._ending or self._life.over

    def _status(self) -> int:
        """The exit status.  Raises KeyboardInterrupt."""
        ends = [post.end for post in self._posts if post.end]
        if any(end.line for end in ends):
            return 1
        # whoever waits for saves is ended by a signal, whatever its drivers made of that
        told = self._told if self.plan.reload and not self.plan.service else None
        if told == signal.SIGINT or any(end.interrupted for end in ends):
            raise KeyboardInterrupt
        terminated = told == signal.SIGTERM or any(end.terminated for end in ends)
        return 128 + signal.SIGTERM if terminated else 0

    # ---- what children say -----------------------------------------------------------------

    def heard(self, post: Post, keeper: Keeper, kind: str, message: dict[str, Any]) -> None:
        """See Crew."""
        if kind == "matched":
            self._matched(post, message.get("values"))
        elif kind == "attached":
            keeper.note_owners()
            keeper.has_disks = keeper.has_disks or bool(message.get("disks"))
            self._round_over(self._rounds.goes_on(keeper))
        elif kind == "unit":
            number = self._units.take(str(message.get("name"))[:64], keeper)
            keeper.order("unit", number=number)
        elif kind == "debug":
            self._lend_terminal(keeper)
        elif kind == "debugged" and not keeper.failed:  # who failed has it until all is said of it
            self._take_terminal(keeper)
        elif kind == "ran":
            self._ran(keeper)

    def left(self, keeper: Keeper) -> None:
        """See Crew."""
        self._units.give(keeper)
        self._take_terminal(keeper)
        self._round_over(self._rounds.goes_on(keeper))
        self._begin_attaching()
        self.settle()

    def _matched(self, post: Post, values: object) -> None:
        told = values if isinstance(values, dict) else {}
        addresses = {str(function.address): function.address for function in self._functions()}
        post.values = {
            addresses[at]: value
            for at, value in told.items()
            if at in addresses and type(value) is int
        }
        if self._begun:
            self._round_over(self._rounds.again(post, self._functions()))
        else:
            self._begin_attaching()

    def _begin_attaching(self) -> None:
        """Begin the first round, once everybody has matched who will."""
        states = [post.keeper.state for post in self._posts if post.keeper]
        early = (State.LOADING, State.MATCHING)
        if not self._begun and states and not any(state in early for state in states):
            self._begun = True
            self._round_over(self._rounds.first(self._functions()))

    # ---- running -----------------------------------------------------------------------------

    def _round_over(self, keepers: list[Keeper] | None) -> None:
        """What these get is attached: they run, or serve disks."""
        if keepers is None:
            return
        having = [keeper for keeper in keepers if keeper.devices]
        for keeper in keepers:
            if not keeper.devices:
                nobody = not having and keeper is keepers[0]
                keeper.refuse(str(no_device(self.plan.work)) if nobody else "")
        if having:
            self._let_run(having)

    def _let_run(self, keepers: Sequence[Keeper]) -> None:
        self._shown = False
        for keeper in keepers:
            keeper.was_attached, keeper.state = True, State.RUNNING
        if self.plan.service and self._disks:
            self._serve(keepers, self._disks, self.plan.service)
        else:
            for keeper in keepers:
                keeper.order("run", devices=True)
        for post in self._posts:
            if post.keeper in keepers:
                post.runs()

    def _serve(self, keepers: Sequence[Keeper], disks: Listener, service: Service) -> None:
        """Have the first one with disks serve them; the others keep their devices attached."""
        found = [post for post in self._posts if post.keeper in keepers]
        found = [post for post in found if post.keeper and post.keeper.has_disks]
        found.sort(key=lambda post: post.keeper.attached if post.keeper else 0)
        if self._serving is None and found:
            self._serving = found[0]
        for keeper in keepers:
            if self._serving and keeper is self._serving.keeper and keeper.has_disks:
                keeper.serve(disks, service)
            elif self._serving:
                keeper.order("run", devices=False)
            else:
                names = [self.names.owners[at] for k in keepers for at in sorted(k.devices)]
                keeper.refuse(str(no_disk(names)) if keeper is keepers[0] else "")

    def _ran(self, keeper: Keeper) -> None:
        if self.plan.restart == "always" or keeper.was_asked:  # it waits for nobody: it comes back
            self._show()
            keeper.detach()
        self.settle()

    def settle(self) -> None:
        """See Crew: if all that live have run, have the last to attach detach; end without any."""
        keepers = [post.keeper for post in self._posts if post.keeper]
        if all(post.end and not post.keeper for post in self._posts):
            self.server.stop()
        elif any(post.due for post in self._posts):
            return
        elif keepers and all(keeper.state is State.RAN for keeper in keepers):
            self._show()
            max(keepers, key=lambda keeper: keeper.attached).detach()

    def _show(self) -> None:
        """Show the guard's own listings, once: they say more than a child may know."""
        if not self._shown:
            self._shown = True
            for name in self.plan.work.show:
                click.echo("\n".join(show_lines(name, self._guard)))

    # ---- the terminal --------------------------------------------------------------------------

    def _lend_terminal(self, keeper: Keeper) -> None:
        if keeper not in self._debugging:
            self._debugging.append(keeper)
        if keeper is self._debugging[0]:
            keeper.order("noted")

    def _take_terminal(self, keeper: Keeper) -> None:
        if keeper in self._debugging:
            had = keeper is self._debugging[0]
            self._debugging.remove(keeper)
            if had and self._debugging:
                self._debugging[0].order("noted")

    # ---- signals -------------------------------------------------------------------------------

    def _tell(self, number: int) -> None:
        """Have everything end; an interrupt of a debugger is its alone."""
        first = self._debugging[0] if self._debugging else None
        if number == signal.SIGINT and first and first.debugging:
            first.process.signal(number)
            return
        self._ending, self._told = True, number
        serving = self._serving.keeper if self._serving else None
        serves = serving is not None and not serving.was_told
        for post in self._posts:
            waits = post.keeper and post.keeper.state is State.RAN  # until nobody is served
            if not (serves and waits):
                post.tell(number)
        self.settle()

    def _lost(self) -> None:
        """The machine ended, and with it what everybody does."""
        self._ending = True
        for post in self._posts:
            if post.keeper:
                post.keeper.kill("the machine ended")
            else:
                post.tell(signal.SIGKILL)
        self.settle()

    def _check(self) -> None:
        for post in self._posts:
            if post.keeper:
                post.keeper.check()

    # ---- reports -------------------------------------------------------------------------------

    def _show_last(self) -> None:
        """Print what a report would show, or as much as was asked for."""
        owners = {f.address: f.claimed_by for f in self._functions() if f.claimed_by}
        self.names.note_owners(owners)
        say(last_lines(self._guard, self.names, self.plan.last or OPERATIONS))

    def _functions(self) -> list[Any]:
        return list(self._guard.functions())


def last_lines(guard: Served, names: flight.Names, count: int) -> list[str]:
    """The last operations of a guard, with a heading."""
    recorder = guard.recorder
    notes = recorder.last(count)
    head = f"---- the last {len(notes)} of {recorder.total} operations"
    return [head, *flight.lines(notes, names, time.monotonic_ns()), "----"]
