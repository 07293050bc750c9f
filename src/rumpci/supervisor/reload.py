"""Hot reload: a saved driver is loaded beside the old one, which is then asked to end.

The new child has nothing of the bus before the old one's quarantine is over, so to load it
early risks nothing; and a file that does not load leaves the old driver running.  The guard's
process never compiles a driver's file itself.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rumpci.pci4.server import Server
from rumpci.supervisor import control
from rumpci.supervisor.plan import Plan
from rumpci.supervisor.process import Process
from rumpci.supervisor.saves import Saves

_DEAF_SECONDS = 1.0
"""A child that was asked to end so long ago is killed at the next save."""
_TURN_SECONDS = 0.05


class Reloads:
    """The child after this one, and what it will be handed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._saves = Saves(plan.work.files)
        self._next: Process | None = None
        self._now: tuple[Server, Process] | None = None
        self._noticed: float | None = None  # the save that the child comes from
        self._asked: float | None = None
        self.kept: dict[str, Any] = {}

    def close(self) -> None:
        """Stop watching; a child that waits to be next ends."""
        self._saves.close()
        self._discard()

    @property
    def asked(self) -> bool:
        """Whether the child was asked to end for the next one."""
        return self._asked is not None

    # ---- while a child lives, in the server's loop ---------------------------------------

    @contextlib.contextmanager
    def beside(self, server: Server, process: Process) -> Iterator[None]:
        """What is saved while `process` lives replaces it."""
        self._now, self._asked, self.kept = (server, process), None, {}
        with self._saves.telling(lambda: server.call(self._begin)):
            yield
        self._now = None

    def heard(self, kind: str, message: dict[str, Any]) -> None:
        """Take what the child says."""
        if kind == "loaded":
            told = message.get("files")
            files = [Path(str(file)) for file in told] if isinstance(told, list) else None
            self._saves.also(files)
        elif kind == "attached" and self._noticed is not None:
            taken, self._noticed = time.monotonic() - self._noticed, None
            _say(f"reloaded in {taken * 1e3:.0f} ms")
        elif kind == "kept" and self._plan.keep:
            kept = message.get("kept")
            if isinstance(kept, dict) and len(json.dumps(kept)) <= control.KEPT_MOST:
                self.kept = kept

    def _begin(self) -> None:
        """Something was saved."""
        noticed = self._saves.take()
        if noticed is None or self._now is None:
            return
        server, process = self._now
        if self._next:
            server.unwatch(self._next.told.fileno())
        following = self._start(noticed)

        def spoke(_events: int) -> None:
            server.unwatch(following.told.fileno())
            if self._is_good(following, "the old driver keeps running"):
                self._replace(process)

        server.watch(following.told.fileno(), select.EPOLLIN, spoke)

    def _replace(self, process: Process) -> None:
        """Ask the child that runs to end."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            process.signal(signal.SIGINT)
        elif now - self._asked > _DEAF_SECONDS:
            process.signal(signal.SIGKILL)

    # ---- between two children ------------------------------------------------------------

    def following(self) -> Process:
        """The next child: it is there already, or is started when something is saved."""
        if self._next is None:
            _say("waiting for a save")
        while True:
            noticed = self._saves.take() if self._next else self._saves.wait(60.0)
            if noticed is not None:  # also instead of one that does not come to an end
                self._start(noticed)
            process = self._next
            if process and _spoke(process) and self._is_good(process, "waiting for the next save"):
                self._next = None
                return process

    def _start(self, noticed: float) -> Process:
        self._discard()
        self._next, self._noticed = self._plan.start(), noticed
        return self._next

    def _is_good(self, process: Process, otherwise: str) -> bool:
        """Whether the next child has loaded the drivers; if not, say why, and it ends."""
        first = process.first_word()
        if first.get("kind") == "loaded":
            return True
        line = control.text(first.get("line") or "the drivers' process ended while it loaded them")
        _say(f"{line}; {otherwise}")
        self._saves.also(None)  # the mistake may be in a file that is not known yet
        self._noticed = None
        self._discard()
        return False

    def _discard(self) -> None:
        if self._next:
            self._next.close()
            self._next = None


def _spoke(process: Process) -> bool:
    return bool(select.select([process.told], [], [], _TURN_SECONDS)[0])


def _say(text: str) -> None:
    click.echo(f"rumpci: {text}", err=True)
