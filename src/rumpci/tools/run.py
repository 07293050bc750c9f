"""`rumpci run`: attach drivers, let them run, detach them."""

from __future__ import annotations

import sys

import click

from rumpci.autoconf import Autoconf, Console, Level
from rumpci.errors import NoSuchDevice
from rumpci.tools.common import opened
from rumpci.tools.load import load_drivers, shipped_names


@click.command("run")
@click.argument("drivers", nargs=-1, required=True, metavar="DRIVER...")
@click.option("--on", "host", required=True, metavar="HOST", help="Where the devices are.")
@click.option("-v", "--verbose", count=True, help="Show more; twice for debugging.")
def command(drivers: tuple[str, ...], host: str, verbose: int) -> None:
    """Attach each DRIVER (a shipped one, a module or a file) to what it matches on HOST.

    Then each device runs until it is done, and all are detached.
    """
    loaded = load_drivers(drivers)
    level = Level(min(Level.NORMAL + verbose, Level.DEBUG))
    with opened(host) as opened_host, Autoconf(opened_host, _console(level)) as autoconf:
        if not autoconf.attach(loaded):
            raise NoSuchDevice(
                f"attaching {', '.join(drivers)} on {host}",
                "no device matches",
                f"see `rumpci list {host}`; shipped drivers: {', '.join(shipped_names())}",
            )
        for device in autoconf.devices:
            device.run()


def _console(level: Level) -> Console:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return Console(write, level)
