"""What a supervisor is asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rumpci.supervisor.isolate import User
from rumpci.supervisor.process import Process
from rumpci.supervisor.work import Work
from rumpci.tools.nbd import Service


@dataclass(frozen=True)
class Plan:
    """A supervised run: how much to say, how long a hang may be (seconds; 0: for ever).

    `reload` starts a driver again when its file is saved; `keep` hands its state over; `pdb`
    has a debugger look at what it raises; below `writes` drivers may change files.
    `service` says where disks are served.
    """

    work: Work
    level: int
    watchdog: float = 0.0
    last: int = 0
    user: User | None = None
    restart: str = "never"
    reload: bool = False
    keep: bool = False
    pdb: bool = False
    writes: Sequence[str] = ()
    service: Service | None = None

    def start(self, name: str) -> Process:
        """A child, which begins to load the driver `name`.  Raises DriverError (EIO)."""
        return Process(self._job(name), self.user)

    def _job(self, name: str) -> dict[str, Any]:
        """What a child is told."""
        how = logging.getLogger().getEffectiveLevel()
        work = asdict(replace(self.work, names=[name]))
        job = {"work": work, "level": self.level, "log": how, "path": sys.path}
        job |= {"reload": self.reload, "keep": self.keep, "pdb": self.pdb}
        return {**job, "writes": self.writes}
