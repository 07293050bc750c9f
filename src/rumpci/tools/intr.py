"""`rumpci intr`: vectors, routes, masks, counts, and lines that are nobody's."""

from __future__ import annotations

import dataclasses

import click

from rumpci.host import Address, Host, InterruptInfo
from rumpci.tools.common import json_option, opened, print_json, table


@click.command("intr")
@click.argument("host")
@json_option
def command(host: str, as_json: bool) -> None:
    """Show the interrupts of HOST: how each device's line is routed, and who has what."""
    with opened(host) as opened_host:
        if as_json:
            rows = [dataclasses.asdict(row) for row in opened_host.interrupts()]
            print_json([row | {"address": str(Address(*row["address"]))} for row in rows])
        else:
            for line in lines(opened_host):
                click.echo(line)


def lines(host: Host) -> list[str]:
    """A heading, and a line for each interrupt."""
    rows = [_cells(row) for row in host.interrupts()]
    return table([("interrupt", "device", "driver", "state", "count", "messages"), *rows])


def _cells(row: InterruptInfo) -> tuple[str, ...]:
    messages = ", ".join(f"{kind} {count}" for kind, count in row.vectors.items())
    return row.name, str(row.address), row.who or "-", row.state, str(row.count), messages
