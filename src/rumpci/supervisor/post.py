"""The place of one driver in a run: its children, one after the other.

A child is followed by another as `--restart` says, or when the driver's file is saved.  That
one is loaded beside the old one, which is then asked to end.  It has nothing of the bus before
the old one's quarantine is over, so to load it early risks nothing; and a file that does not
load leaves the old driver running.  The guard's process never compiles a driver's file itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rumpci.cpu import Timer
from rumpci.errors import RumpciError
from rumpci.host import Address
from rumpci.pci4.server import Server
from rumpci.supervisor import control, flight
from rumpci.supervisor.alarms import Alarms
from rumpci.supervisor.keeper import End, Keeper, say
from rumpci.supervisor.plan import Plan
from rumpci.supervisor.process import Process
from rumpci.supervisor.saves import Saves

_PAUSE_LEAST, _PAUSE_MOST = 0.1, 5.0
_LONG_LIFE = 10.0
GRACE_SECONDS = 2.0
"""A child that was asked to end for the next one is killed so long after."""


class Crew(Protocol):
    """Who has the posts, and what they share."""

    plan: Plan
    server: Server
    alarms: Alarms
    names: flight.Names

    def heard(self, post: Post, keeper: Keeper, kind: str, message: dict[str, Any]) -> None:
        """A child said what is not about its post alone."""

    def left(self, keeper: Keeper) -> None:
        """A child ended; what comes next is decided."""

    def settle(self) -> None:
        """A post's state changed: see whether all are done."""

    @property
    def ending(self) -> bool:
        """Whether nothing is to follow: a signal came, or the machine ended."""


class Post:
    """A driver, by its name on the command line: `keeper` looks after its child, if it has one.

    `end` is how it ended, once nothing follows; `values` are what it matches, how well; `due`
    the timer of a restart.
    """

    def __init__(self, crew: Crew, name: str, process: Process) -> None:
        self._crew, self.name = crew, name
        self.values: dict[Address, int] = {}
        self.end: End | None = None
        self.due: Timer | None = None
        self._pause = _PAUSE_LEAST
        self._kept: dict[str, Any] = {}
        self._next: Keeper | None = None
        self._noticed: float | None = None  # the save that the child comes from
        self._saves = self._watched(process.since)
        self.keeper: Keeper | None = self._keep(process)

    def begin(self) -> None:
        """The server runs: let the child go on, and heed what is saved."""
        if self._saves:
            self._saves.tell = lambda: self._crew.server.call(self._saved)
            self._crew.server.call(self._saved)
        self._go()

    def close(self) -> None:
        """Stop watching, and end what children there are."""
        if self._saves:
            self._saves.close()
        for keeper in (self.keeper, self._next):
            if keeper:
                keeper.discard()
        self.keeper = self._next = None

    def tell(self, number: int) -> None:
        """Pass a signal on to the child; without one this is the end."""
        self._drop_next()
        if self.due:
            self.due.live = False
        if self.keeper:
            self.keeper.tell(number)
        elif self.end is None:
            self.finish(End.of_signal(number))

    def finish(self, end: End) -> None:
        """Nothing follows the child that runs, if one does."""
        self._drop_next()
        self.end = end
        self._say_end(end)

    def say(self, text: str) -> None:
        """Say something about this driver, which is named if there are others."""
        one = len(self._crew.plan.work.names) == 1
        say([f"rumpci: {text}" if one else f"rumpci: {self.name}: {text}"])

    def _say_end(self, end: End) -> None:
        if end.of_all:
            say([f"rumpci: {end.line}"])
        elif end.line:
            self.say(end.line)

    def runs(self) -> None:
        """All that it gets is attached."""
        if self._noticed is not None:
            taken, self._noticed = time.monotonic() - self._noticed, None
            self.say(f"reloaded in {taken * 1e3:.0f} ms")

    # ---- a child -------------------------------------------------------------------------

    def _keep(self, process: Process) -> Keeper:
        crew = self._crew
        return Keeper(self, crew.plan, self.name, crew.server, process, crew.names)

    def _go(self) -> None:
        if self.keeper:
            kept, self._kept = self._kept, {}
            self.keeper.go(kept)

    def heard(self, keeper: Keeper, kind: str, message: dict[str, Any]) -> None:
        """See Watcher."""
        if kind == "loaded" and self._saves:
            told = message.get("files")
            self._saves.also([Path(str(file)) for file in told] if isinstance(told, list) else None)
        if kind == "loaded" and keeper is self._next:
            self._replace()
        elif kind == "kept" and self._crew.plan.keep:
            kept = message.get("kept")
            if isinstance(kept, dict) and len(json.dumps(kept)) <= control.KEPT_MOST:
                self._kept = kept
        elif keeper is self.keeper:
            self._crew.heard(self, keeper, kind, message)

    def over(self, keeper: Keeper) -> None:
        """See Watcher."""
        if keeper is self._next:
            self._not_loaded(keeper)
            return
        self.keeper = None
        self._follow(keeper, keeper.end())
        keeper.process.close()
        self._crew.left(keeper)

    def _follow(self, keeper: Keeper, end: End) -> None:
        """Decide what comes after a child."""
        plan = self._crew.plan
        if self._crew.ending or (end.interrupted and not keeper.was_asked):
            self.finish(end)
        elif plan.reload:
            self._await_save(end)
        elif keeper.was_attached and (
            plan.restart == "always" or (plan.restart == "on-failure" and end.line)
        ):
            self._restart(keeper, end)
        else:
            self.finish(end)

    # ---- again ---------------------------------------------------------------------------

    def _restart(self, keeper: Keeper, end: End) -> None:
        if end.line:
            self.say(end.line)
            self.say("restarting")
        if time.monotonic() - keeper.since > _LONG_LIFE:
            self._pause = _PAUSE_LEAST
        self.due = self._crew.alarms.after(self._pause, self._again)
        self._pause = min(2 * self._pause, _PAUSE_MOST)

    def _again(self) -> None:
        self.due = None
        self.keeper = self._started()
        self._go()
        self._crew.settle()

    def _started(self) -> Keeper | None:
        """Another child; None, and the end, if there cannot be one."""
        try:
            return self._keep(self._crew.plan.start(self.name))
        except RumpciError as error:
            self.finish(End(str(error)))
            return None

    # ---- a saved file ----------------------------------------------------------------------

    def _watched(self, since: int) -> Saves | None:
        plan = self._crew.plan
        files = replace(plan.work, names=[self.name]).files
        return Saves(files, since) if plan.reload and files else None

    def _saved(self) -> None:
        """Something was saved: load it."""
        noticed = self._saves.take() if self._saves and self.end is None else None
        if noticed is None or self._crew.ending:
            return
        self._drop_next()
        self._next, self._noticed = self._started(), noticed

    def _replace(self) -> None:
        """The next child has loaded: it follows, as soon as the one that runs has ended."""
        old = self.keeper
        if old is None:
            self._take_next()
        elif not old.was_asked:
            old.ask()
            why = f"it did not end, and was killed {GRACE_SECONDS:g} s after it was asked to"
            self._crew.alarms.after(GRACE_SECONDS, lambda: old.kill(why))

    def _take_next(self) -> None:
        self.keeper, self._next = self._next, None
        self._go()

    def _await_save(self, end: End) -> None:
        self._say_end(end)
        if self._next is None:
            self.say("waiting for a save")
        elif self._next.loaded:
            self._take_next()

    def _not_loaded(self, keeper: Keeper) -> None:
        """The next child ended before its time: say why."""
        line = keeper.end().line or "the drivers' process ended while it loaded them"
        otherwise = "the old driver keeps running" if self.keeper else "waiting for the next save"
        self.say(f"{line}; {otherwise}")
        if self._saves:
            self._saves.also(None)  # the mistake may be in a file that is not known yet
        self._noticed = None
        self._drop_next()

    def _drop_next(self) -> None:
        if self._next:
            self._next.discard()
            self._next = None


def best_of(posts: Sequence[Post], device: Address) -> Post | None:
    """Whose driver matches a function best: the first of those; None if nobody's does."""
    matching = [post for post in posts if post.values.get(device, 0) > 0]
    return max(matching, key=lambda post: post.values[device], default=None)
