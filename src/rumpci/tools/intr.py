"""`rumpci intr`: vectors, routes, masks, counts, and lines that are nobody's."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import click

from rumpci.host import Address, Host, InterruptInfo
from rumpci.tools.common import json_option, opened, print_json, table
from rumpci.tools.watch import as_json as watch_json, watch, watch_option

_HEADING = ("interrupt", "device", "driver", "state", "count", "messages")


@click.command("intr")
@click.argument("host")
@json_option
@watch_option
def command(host: str, as_json: bool, interval: float | None) -> None:
    """Show the interrupts of HOST: how each device's line is routed, and who has what.

    With --watch, also how often each fires in a second.
    """
    with opened(host) as opened_host:
        if interval is not None:
            rates = Rates(opened_host, time.monotonic)
            watch(watch_json(rates.record) if as_json else rates.lines, interval)
        elif as_json:
            print_json(record(opened_host))
        else:
            for line in lines(opened_host):
                click.echo(line)


class Rates:
    """The interrupts of a host again and again, with how often each fired since the last time."""

    def __init__(self, host: Host, now: Callable[[], float]) -> None:
        self._host, self._now = host, now
        self._before: dict[tuple[Address, str, str], int] = {}
        self._when = 0.0

    def lines(self) -> list[str]:
        """As `lines`, with a column of rates: none the first time, and for what is new."""
        cells = [(*_cells(row), _rate_text(rate)) for row, rate in self._look()]
        return table([(*_HEADING, "per second"), *cells])

    def record(self) -> list[dict[str, object]]:
        """As `record`, with rates."""
        return [_record(row) | {"rate": rate} for row, rate in self._look()]

    def _look(self) -> list[tuple[InterruptInfo, float | None]]:
        rows, when = self._host.interrupts(), self._now()
        counts = {(row.address, row.name, row.who): row.count for row in rows}
        before, self._before = self._before, counts
        passed, self._when = when - self._when, when
        found = list[tuple[InterruptInfo, float | None]]()
        for row in rows:
            was = before.get((row.address, row.name, row.who))
            known = was is not None and row.count >= was and passed > 0
            found.append((row, (row.count - (was or 0)) / passed if known else None))
        return found


def _rate_text(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0f}" if rate >= 10 or not rate else f"{rate:.1f}"


def record(host: Host) -> list[dict[str, object]]:
    """The same as `lines`, for JSON."""
    return [_record(row) for row in host.interrupts()]


def _record(row: InterruptInfo) -> dict[str, object]:
    return dataclasses.asdict(row) | {"address": str(row.address)}


def lines(host: Host) -> list[str]:
    """A heading, and a line for each interrupt."""
    rows = [_cells(row) for row in host.interrupts()]
    return table([_HEADING, *rows])


def _cells(row: InterruptInfo) -> tuple[str, ...]:
    messages = ", ".join(f"{kind} {count}" for kind, count in row.vectors.items())
    return row.name, str(row.address), row.who or "-", row.state, str(row.count), messages
