"""What a run does, in the supervisor's child or (--in-process) in the process of the command."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rumpci.autoconf import Autoconf, Console, Driver
from rumpci.cpu import Cpu
from rumpci.errors import DriverError, NoSuchDevice
from rumpci.host import Host
from rumpci.tools.load import shipped_names

SHOWS = ("dma", "intr", "iommu")
"""What can be shown at the end: the commands of these names."""
RESTARTS = ("on-failure", "never", "always")
"""When a child is followed by another."""
Failing = Callable[[str, Driver, BaseException], None]


@dataclass(frozen=True)
class Work:
    """What to run: names of drivers, the host's URL, properties, what to show at the end."""

    names: Sequence[str]
    host: str
    properties: dict[str, dict[str, str]] = field(default_factory=dict)
    show: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """Those of `names` that are files."""
        return [Path(name) for name in self.names if name.endswith(".py") or "/" in name]


@contextmanager
def attached(
    work: Work,
    drivers: Sequence[type[Driver]],
    host: Host,
    console: Console,
) -> Iterator[Autoconf]:
    """The drivers, attached.  Raises NoSuchDevice if they match nothing."""
    with Autoconf(host, console, work.properties) as autoconf:
        if not autoconf.attach(drivers):
            raise no_device(work)
        yield autoconf


def no_device(work: Work) -> NoSuchDevice:
    """What to say if the drivers match nothing."""
    return NoSuchDevice(
        f"attaching {', '.join(work.names)} on {work.host}",
        "no device matches",
        f"see `rumpci list {work.host}`; shipped drivers: {', '.join(shipped_names())}",
    )


def run_all(autoconf: Autoconf) -> None:
    """Let each device run until it is done."""
    for device in autoconf.devices:
        try:
            device.run()
        except Exception as error:
            autoconf.failing("running", device, error)
            raise


def show_lines(name: str, host: Host) -> list[str]:
    """What the command `name` of SHOWS says of the host."""
    return list(importlib.import_module(f"rumpci.tools.{name}").lines(host))


def raise_failures(cpu: Cpu) -> None:
    """Raise DriverError if a handler raised."""
    if cpu.failures:
        first = cpu.failures[0]
        raise DriverError(
            "running interrupt handlers",
            f"{len(cpu.failures)} raised, the first {type(first).__name__}: {first}",
            "see the traceback above",
        ) from first


@contextmanager
def lines_of_their_own(console: Console) -> Iterator[None]:
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
