"""`rumpci run`: attach drivers, let them run, detach them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import click

from rumpci.autoconf import Autoconf, Console, Driver, Level
from rumpci.cpu import Cpu, curcpu, own_cpu
from rumpci.errors import DriverError, NoSuchDevice
from rumpci.host import Host
from rumpci.hosts import open_host
from rumpci.tools import dma, intr, iommu, nbd
from rumpci.tools.load import load_drivers, shipped_names

SHOWS: dict[str, Callable[[Host], list[str]]] = {
    "dma": dma.lines,
    "intr": intr.lines,
    "iommu": iommu.lines,
}


@dataclass(frozen=True)
class Job:
    """What to run: the drivers, where, with which properties, and what to show at the end.

    `service` says where disks are served; without it the devices run.
    """

    names: Sequence[str]
    drivers: Sequence[type[Driver]]
    host: str
    properties: dict[str, dict[str, str]]
    show: Sequence[str] = ()
    service: nbd.Service | None = None


@click.command("run")
@click.argument("drivers", nargs=-1, required=True, metavar="DRIVER...")
@click.option("--on", "host", required=True, metavar="HOST", help="Where the devices are.")
@click.option("--set", "properties", multiple=True, metavar="DRIVER.KEY=VALUE",
              help="Give the devices of DRIVER a property.")  # fmt: skip
@click.option("--preempt", "seed", type=int, metavar="SEED",
              help="Let SEED choose where interrupt handlers run.")  # fmt: skip
@click.option("--preempt-sweep", "sweep", type=click.IntRange(min=1), metavar="N",
              help="Run with the seeds 0 to N-1 and name those that fail.")  # fmt: skip
@click.option("--show", multiple=True, type=click.Choice(list(SHOWS)), help="Show at the end.")
@nbd.options
@click.option("-v", "--verbose", count=True, help="Show more; twice for debugging.")
def command(
    drivers: tuple[str, ...],
    host: str,
    properties: tuple[str, ...],
    seed: int | None,
    sweep: int | None,
    show: tuple[str, ...],
    verbose: int,
    service: nbd.Service | None,
) -> int:
    """Attach each DRIVER (a shipped one, a module or a file) to what it matches on HOST.

    Then each device runs until it is done, and all are detached.  With --nbd they do not run:
    the disks are served until SIGINT or SIGTERM.
    """
    job = Job(drivers, load_drivers(drivers), host, _properties(properties), show, service)
    if sweep and service:
        raise click.UsageError("--preempt-sweep runs many times, --nbd serves once")
    if sweep:
        return _sweep(job, sweep)
    run(job, _console(Level(min(Level.NORMAL + verbose, Level.DEBUG))), seed)
    return 0


def run(job: Job, console: Console, seed: int | None) -> None:
    """Do a job once.  Raises what the drivers raise, and DriverError if a handler did."""
    with (
        _lines_of_their_own(console),
        own_cpu() as cpu,
        _opened(job.host, seed) as host,
        Autoconf(host, console, job.properties) as autoconf,
    ):
        if not autoconf.attach(job.drivers):
            raise NoSuchDevice(
                f"attaching {', '.join(job.names)} on {job.host}",
                "no device matches",
                f"see `rumpci list {job.host}`; shipped drivers: {', '.join(shipped_names())}",
            )
        if job.service:
            nbd.serve(job.service, autoconf.devices, console)
        else:
            for device in autoconf.devices:
                device.run()
        for name in job.show:
            for line in SHOWS[name](host):
                console.line(line)
    _raise_failures(cpu)


@contextmanager
def _lines_of_their_own(console: Console) -> Iterator[None]:
    """What is logged, such as a DMA fault, does not go on the console's open line."""

    def end_line(_record: logging.LogRecord) -> bool:
        console.end()
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(end_line)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(end_line)


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


def _raise_failures(cpu: Cpu) -> None:
    if cpu.failures:
        first = cpu.failures[0]
        raise DriverError(
            "running interrupt handlers",
            f"{len(cpu.failures)} raised, the first {type(first).__name__}: {first}",
            "see the traceback above",
        ) from first


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
    """DRIVER.KEY=VALUE, by driver and key."""
    given: dict[str, dict[str, str]] = {}
    for text in texts:
        found = re.fullmatch(r"(\w+)\.(\w+)=(.*)", text)
        if not found:
            raise click.BadParameter(f"{text!r} is no DRIVER.KEY=VALUE", param_hint="--set")
        given.setdefault(found[1], {})[found[2]] = found[3]
    return given


def _console(level: Level) -> Console:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return Console(write, level)
