"""A run in this process: no child, no supervisor, and nothing but Python that it needs."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from rumpci.autoconf import Console, Driver, Level
from rumpci.cpu import curcpu, own_cpu
from rumpci.errors import BadURL
from rumpci.host import Host
from rumpci.hosts import open_host
from rumpci.signals import handled
from rumpci.supervisor import work
from rumpci.supervisor.work import Work

if TYPE_CHECKING:
    from rumpci.tools.nbd import Service


@dataclass(frozen=True)
class Job:
    """What to run in this process: the drivers, where, with which properties; what to show.

    `service` says where disks are served; without it the devices run.  `last` operations
    are printed at the end.
    """

    names: Sequence[str]
    drivers: Sequence[type[Driver]]
    host: str
    properties: dict[str, dict[str, str]]
    show: Sequence[str] = ()
    service: Service | None = None
    last: int = 0

    @property
    def work(self) -> Work:
        """The part that a child would be told."""
        return Work(self.names, self.host, self.properties, self.show)


def run(job: Job, console: Console, seed: int | None) -> None:
    """Do a job once, here.  Raises what the drivers raise, and DriverError if a handler did."""
    with (
        work.lines_of_their_own(console),
        own_cpu() as cpu,
        _opened(job.host, seed) as host,
        _recorded(host, job.last),
        work.attached(job.work, job.drivers, host, console) as autoconf,
    ):
        if job.service:
            from rumpci.tools import nbd

            nbd.serve(job.service, autoconf.devices, console)
        else:
            work.run_all(autoconf)
        for name in job.show:
            for line in work.show_lines(name, host):
                console.line(line)
    work.raise_failures(cpu)


@contextmanager
def _recorded(host: Host, last: int) -> Iterator[None]:
    """Print the flight recorder at the end, if `last` says how much, and whenever SIGUSR1 comes."""
    from rumpci.guard import Guard

    if not last or not isinstance(host, Guard):
        yield
        return
    from rumpci.supervisor import flight, supervisor

    def show(_number: int = 0, _frame: FrameType | None = None) -> None:
        sys.stderr.write("\n".join([*supervisor.last_lines(host, flight.Names(), last), ""]))

    with handled({signal.SIGUSR1: show}):
        try:
            yield
        finally:
            show()


@contextmanager
def _opened(url: str, seed: int | None) -> Iterator[Host]:
    """The host; with a seed, one that is preempted where the seed says."""
    from rumpci.wrap.preempt import Preempting

    with closing(open_host(url)) as inner:
        curcpu().seed(seed)
        try:
            yield inner if seed is None else Preempting(inner)
        finally:
            curcpu().seed(None)


def properties(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """DRIVER.KEY=VALUE, by driver and key.  Raises BadURL (EINVAL)."""
    given: dict[str, dict[str, str]] = {}
    for text in texts:
        found = re.fullmatch(r"(\w+)\.(\w+)=(.*)", text)
        if not found:
            raise BadURL(
                f"property {text!r}", "it is no DRIVER.KEY=VALUE", "write, say, edu.intr=msi"
            )
        given.setdefault(found[1], {})[found[2]] = found[3]
    return given


def console(level: Level = Level.NORMAL) -> Console:
    """Standard output as a console."""

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return Console(write, level)
