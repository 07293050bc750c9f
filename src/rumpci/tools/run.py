"""`rumpci run`: attach drivers, let them run, detach them.

Each driver runs in a child of this process, which holds the host (supervisor/).  In this
process they run with --in-process, with --preempt and --preempt-sweep (a seed means an
interleaving only where nothing else decides), and on hosts whose guard is another process
already.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from typing import Any

import click

from rumpci.autoconf import Console, Level
from rumpci.errors import BadURL
from rumpci.hosts import open_host, url
from rumpci.hosts.keys import BANKS_MAX
from rumpci.supervisor import inside, work
from rumpci.supervisor.inside import Job, console, run
from rumpci.supervisor.work import RESTARTS, Work
from rumpci.tools import bind, nbd
from rumpci.tools.load import load_drivers

GUARDED = ("qemu", "model", "uio", "vfio")
"""Schemes whose guard, or the kernel's part of it, is in the process that opens them."""


@dataclass(frozen=True)
class Apart:
    """How the drivers' process is kept (`inside`: there is none), and how much is said."""

    inside: bool = False
    watchdog: float = 0.0
    user: str | None = None
    last: int = 0
    level: Level = Level.NORMAL
    restart: str = "never"
    reload: bool = False
    keep: bool = False
    pdb: bool = False
    writes: tuple[str, ...] = ()

    @property
    def needs_child(self) -> bool:
        """Whether something was asked for that only a process of the drivers' own can do."""
        asked = self.watchdog or self.user or self.reload or self.pdb or self.writes
        return bool(asked) or self.restart != "never"


def options(command: Callable[..., int]) -> Callable[..., int]:
    """The options about the process of the drivers; they become its argument `apart`."""

    @click.option("--in-process", "inside", is_flag=True,
                  help="Run the drivers in this process, as for a debugger.")  # fmt: skip
    @click.option("--watchdog", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
                  help="End drivers that make no bus operation and no wait so long.")  # fmt: skip
    @click.option("--user", metavar="NAME", help="Run the drivers as this user (root only).")
    @click.option("--writable", "writes", multiple=True, metavar="PATH",
                  type=click.Path(exists=True, resolve_path=True),
                  help="Let the drivers change files below PATH.")  # fmt: skip
    @click.option("--last", type=click.IntRange(1, 4096), metavar="N",
                  help="Print the last N operations at the end (SIGUSR1: at once).")  # fmt: skip
    @click.option("--restart", type=click.Choice(RESTARTS), default="never",
                  help="Start drivers that ended again, after a pause.")  # fmt: skip
    @click.option("--reload", is_flag=True,
                  help="Start drivers again whenever a file of theirs is saved.")  # fmt: skip
    @click.option("--keep-state", "keep", is_flag=True,
                  help="With --reload: hand what detach returns to the next attach.")  # fmt: skip
    @click.option("--pdb", is_flag=True,
                  help="Debug what a driver raises where it was raised.")  # fmt: skip
    @click.option("-v", "--verbose", count=True, help="Show more; twice for debugging.")
    @functools.wraps(command)
    def with_apart(*args: object, verbose: int, **given: Any) -> int:
        level = Level(min(Level.NORMAL + verbose, Level.DEBUG))
        own = {field.name: given.pop(field.name) for field in fields(Apart) if field.name in given}
        own |= {name: own[name] or 0 for name in ("watchdog", "last")}
        return command(*args, apart=Apart(level=level, **own), **given)

    return with_apart


@click.command("run")
@click.argument("drivers", nargs=-1, required=True, metavar="DRIVER...")
@click.option("--on", "host", required=True, metavar="HOST", help="Where the devices are.")
@click.option("--set", "properties", multiple=True, metavar="DRIVER.KEY=VALUE",
              help="Give the devices of DRIVER a property.")  # fmt: skip
@click.option("--preempt", "seed", type=int, metavar="SEED",
              help="Let SEED choose where interrupt handlers run.")  # fmt: skip
@click.option("--preempt-sweep", "sweep", type=click.IntRange(min=1), metavar="N",
              help="Run with the seeds 0 to N-1 and name those that fail.")  # fmt: skip
@click.option("--show", multiple=True, type=click.Choice(work.SHOWS), help="Show at the end.")
@bind.around
@nbd.options
@options
def command(
    drivers: tuple[str, ...],
    host: str,
    properties: tuple[str, ...],
    seed: int | None,
    sweep: int | None,
    show: tuple[str, ...],
    service: nbd.Service | None,
    apart: Apart,
) -> int:
    """Attach each DRIVER (a shipped one, a module or a file) to what it matches on HOST.

    Then each device runs until it is done, and all are detached.  With --nbd they do not run:
    the disks are served until SIGINT or SIGTERM.
    """
    if sweep and service:
        raise click.UsageError("--preempt-sweep runs many times, --nbd serves once")
    task = Work(drivers, host, _properties(properties), show)
    _check_reload(task, apart)
    if not (apart.inside or sweep or seed is not None) and _is_guarded(host):
        return _supervise(task, apart, service)
    if apart.needs_child:
        raise click.UsageError(
            "--watchdog, --user, --restart, --reload, --writable and --pdb are for drivers in a "
            "process of their own"
        )
    job = Job(drivers, load_drivers(drivers), host, task.properties, show, service, apart.last)
    if sweep:
        return _sweep(job, sweep)
    run(job, console(apart.level), seed)
    return 0


def _check_reload(task: Work, apart: Apart) -> None:
    if apart.keep and not apart.reload:
        raise click.UsageError("--keep-state is for drivers that --reload starts again")
    if not apart.reload:
        return
    if apart.restart != "never":
        raise click.UsageError("--restart starts drivers again at once, --reload at a save")
    missing = [str(file) for file in task.files if not file.is_file()]
    if missing or not task.files:
        what = f"there is no file {missing[0]}" if missing else "no DRIVER is a file"
        raise click.UsageError(f"--reload watches files, and {what}: name one, such as ./edu.py")


def _is_guarded(host: str) -> bool:
    return url.parse(host).scheme in GUARDED


def _supervise(task: Work, apart: Apart, service: nbd.Service | None) -> int:
    """Run each driver in a child, with memory for DMA that it can be given."""
    from rumpci.supervisor import isolate
    from rumpci.supervisor.plan import Plan

    user = isolate.find_user(apart.user) if apart.user else None
    plan = Plan(
        task, apart.level, apart.watchdog, apart.last, user, apart.restart, apart.reload,
        apart.keep, apart.pdb, apart.writes, service,
    )  # fmt: skip
    # a bank is one driver's for good, and which devices it gets can change with its file
    banks = min(_device_count(task.host) * len(task.names), BANKS_MAX)
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(plan.start(name))) for name in task.names]
        from rumpci.supervisor import supervisor  # while the children import what they need

        return supervisor.run(plan, processes, lambda: open_host(task.host, banks=str(banks)))


def _device_count(host: str) -> int:
    """How many devices the text of a host names: of ours, or addresses or nodes of a kernel's."""
    parsed = url.parse(host)
    return len(parsed.place.split(",") if parsed.scheme in ("uio", "vfio") else parsed.devices())


def _sweep(job: Job, count: int) -> int:
    """Run with every seed; 1 if any failed."""
    failed: dict[str, list[int]] = {}
    for seed in range(count):
        try:
            run(job, Console(lambda _text: None), seed)
        except Exception as error:
            failed.setdefault(f"{type(error).__name__}: {error}", []).append(seed)
    for message, seeds in failed.items():
        click.echo(f"{len(seeds)} seeds ({', '.join(map(str, seeds[:10]))} ...): {message}")
    seeds = sorted(seed for group in failed.values() for seed in group)
    click.echo(f"{count} seeds, {len(seeds)} failed")
    if seeds:
        again = f"rumpci run {' '.join(job.names)} --on {job.host} --preempt {seeds[0]}"
        click.echo(f"to see it again: {again}")
    return 1 if seeds else 0


def _properties(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    try:
        return inside.properties(texts)
    except BadURL as error:
        raise click.BadParameter(f"{error.tried}: {error.why}", param_hint="--set") from error
