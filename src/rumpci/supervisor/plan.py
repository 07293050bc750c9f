"""What a supervisor is asked for."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass
from typing import Any

from rumpci.supervisor.isolate import User
from rumpci.supervisor.process import Process
from rumpci.supervisor.work import Work

RESTARTS = ("on-failure", "never", "always")
"""When a child is followed by another."""


@dataclass(frozen=True)
class Plan:
    """A supervised run: how much to say, how long a hang may be (seconds; 0: for ever).

    `reload` starts the drivers again when a file is saved; `keep` hands their state over.
    """

    work: Work
    level: int
    watchdog: float = 0.0
    last: int = 0
    user: User | None = None
    restart: str = "never"
    reload: bool = False
    keep: bool = False

    @property
    def job(self) -> dict[str, Any]:
        """What the child is told."""
        how = logging.getLogger().getEffectiveLevel()
        job = {"work": asdict(self.work), "level": self.level, "log": how, "path": sys.path}
        return {**job, "reload": self.reload, "keep": self.keep}

    def start(self) -> Process:
        """A child, which begins to load the drivers.  Raises DriverError (EIO)."""
        return Process(self.job, self.user)
