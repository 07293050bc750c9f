"""`rumpci run`: attach drivers, let them run, detach them."""

from __future__ import annotations

import re
import sys

import click

from rumpci.autoconf import Autoconf, Console, Level
from rumpci.errors import NoSuchDevice
from rumpci.tools.common import opened
from rumpci.tools.load import load_drivers, shipped_names


@click.command("run")
@click.argument("drivers", nargs=-1, required=True, metavar="DRIVER...")
@click.option("--on", "host", required=True, metavar="HOST", help="Where the devices are.")
@click.option("--set", "properties", multiple=True, metavar="DRIVER.KEY=VALUE",
              help="Give the devices of DRIVER a property.")  # fmt: skip
@click.option("-v", "--verbose", count=True, help="Show more; twice for debugging.")
def command(drivers: tuple[str, ...], host: str, properties: tuple[str, ...], verbose: int) -> None:
    """Attach each DRIVER (a shipped one, a module or a file) to what it matches on HOST.

    Then each device runs until it is done, and all are detached.
    """
    loaded = load_drivers(drivers)
    level = Level(min(Level.NORMAL + verbose, Level.DEBUG))
    given = _properties(properties)
    with (
        opened(host) as opened_host,
        Autoconf(opened_host, _console(level), given) as autoconf,
    ):
        if not autoconf.attach(loaded):
            raise NoSuchDevice(
                f"attaching {', '.join(drivers)} on {host}",
                "no device matches",
                f"see `rumpci list {host}`; shipped drivers: {', '.join(shipped_names())}",
            )
        for device in autoconf.devices:
            device.run()


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
