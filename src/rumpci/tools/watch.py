"""`--watch`: the same command again and again, on a terminal in one place, elsewhere as lines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 2.0
"""Between two looks, when no other time is given."""
_LEAST, _MOST = 0.1, 3600.0

Lines = Callable[[], Sequence[str]]


class _Interval(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Seconds; a word that is none may be the host, which the option has swallowed."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds.  Fails (a usage error) for anything else."""
        try:
            seconds = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write HOST first, or --watch={SECONDS:g}", param, ctx)
        if not _LEAST <= seconds <= _MOST:
            self.fail(f"{seconds:g} is not from {_LEAST:g} to {_MOST:g} seconds", param, ctx)
        return seconds


watch_option = click.option(
    "--watch",
    "interval",
    type=_Interval(),
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=str(SECONDS),
    help=f"Look again every so many seconds ({SECONDS:g}), until Ctrl-C.",
)


def watch(lines: Lines, interval: float) -> None:
    """Print `lines()` every `interval` seconds until Ctrl-C, or until nobody reads.

    What `lines` raises ends it: MachineDied (EIO) when the guard has gone.
    """
    from rich.console import Console  # the only thing of these commands that needs it

    console = Console()
    try:
        if console.is_terminal:
            _redraw(lines, interval, console)
        else:
            _repeat(lines, interval)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `| head`; Python would complain again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_json(record: Callable[[], object]) -> Lines:
    """Each look as one line of JSON."""
    return lambda: [json.dumps(record())]


def _redraw(lines: Lines, interval: float, console: Console) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False) as live:
        while True:
            shown = Text("\n".join(_cut(lines(), console.height)), no_wrap=True, overflow="crop")
            live.update(shown, refresh=True)
            time.sleep(interval)


def _cut(lines: Sequence[str], height: int) -> list[str]:
    """As many lines as a terminal has, one less for the cursor; the last says what is missing."""
    room = max(height - 1, 1)
    if len(lines) <= room:
        return list(lines)
    return [*lines[: room - 1], f"... and {len(lines) - room + 1} lines more"]


def _repeat(lines: Lines, interval: float) -> None:
    """One table after the other, an empty line between them; a line alone needs none."""
    first = True
    while True:
        shown = list(lines())
        if len(shown) != 1 and not first:
            print()
        print("\n".join(shown), flush=True)
        first = False
        time.sleep(interval)
