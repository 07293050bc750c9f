"""`python -m tests.linux.boot [--device DEVICE] [--bind ADDRESS=DRIVER] [--user] -- COMMAND...`

runs the command in a guest and exits with its status.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.linux.archive import Unavailable
from tests.linux.built import lacking
from tests.linux.kernel import SERIES, fetched
from tests.linux.machines import MACHINES, STANDARD, Machine
from tests.linux.qemu import Guest, GuestFailed


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.linux.boot", description=__doc__)
    parser.add_argument("--device", action="append", default=[], help="one more -device of QEMU")
    parser.add_argument("--module", action="append", default=[], help="one more module to load")
    parser.add_argument("--bind", action="append", default=[], help="ADDRESS=DRIVER, before it")
    parser.add_argument("--append", default="", help="more of the kernel's command line")
    parser.add_argument("--user", action="store_true", help="as an ordinary user, not as root")
    parser.add_argument("--machine", choices=MACHINES, default=STANDARD)
    parser.add_argument("--seconds", type=float, default=300, help="a limit for all of it")
    parser.add_argument("--job", type=Path, help="a folder that is kept: its shared is /run/job")
    parser.add_argument("--set", metavar="kernel=SERIES", default=f"kernel={SERIES[0]}")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def machine(asked: argparse.Namespace) -> Machine:
    """The machine named, and more."""
    base = MACHINES[asked.machine]
    return replace(
        base,
        devices=(*base.devices, *asked.device),
        modules=(*base.modules, *asked.module),
        bind=(*base.bind, *asked.bind),
        append=f"{base.append} {asked.append}".strip(),
        user=base.user or asked.user,
    )


def run(asked: argparse.Namespace, job: Path) -> int:
    kernel = fetched(asked.set.removeprefix("kernel="))
    chosen = machine(asked)
    if missing := lacking(kernel, chosen.needs):
        raise Unavailable(missing)
    guest = Guest(kernel, job, chosen)
    return guest.run(asked.command, asked.seconds, show=True).status


def main(arguments: list[str]) -> int:
    asked = parse(arguments)
    try:
        if asked.job is not None:
            return run(asked, asked.job.resolve())
        with tempfile.TemporaryDirectory(prefix="guest-") as job:
            return run(asked, Path(job))
    except (Unavailable, GuestFailed) as failure:
        print(failure, file=sys.stderr)  # a command
        return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
