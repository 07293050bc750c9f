"""`python -m rumpci` where there is no click: `run`, with the standard library alone.

All other commands, and what `run` can do beyond this, need the package click.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from rumpci.errors import RumpciError
from rumpci.supervisor.failure import one_line
from rumpci.supervisor.inside import Job, console, properties, run
from rumpci.tools.load import load_drivers


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    try:
        job = Job(given.drivers, load_drivers(given.drivers), given.host, properties(given.set))
        run(job, console(), None)
    except RumpciError as error:
        sys.exit(f"rumpci: {one_line(error)}")
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "rumpci", description="Without the package click there is one command."
    )
    command = made.add_subparsers(required=True, metavar="run").add_parser(
        "run", help="Attach drivers to the devices of a host and run them."
    )
    command.add_argument("drivers", nargs="+", metavar="DRIVER")
    command.add_argument("--on", dest="host", required=True, metavar="HOST")
    command.add_argument("--set", action="append", default=[], metavar="DRIVER.KEY=VALUE")
    return made
