"""What the commands share: opening a host, finding a function, printing JSON and sizes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence

import click

from rumpci.errors import NoSuchDevice
from rumpci.host import Address, Bar, Function, Host
from rumpci.hosts import open_host

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextlib.contextmanager
def opened(url: str) -> Iterator[Host]:
    """The host that `url` names, closed afterwards."""
    with contextlib.closing(open_host(url)) as host:
        yield host


def find_function(host: Host, text: str) -> Function:
    """The function at an address given as text.  Raises BadURL, NoSuchDevice."""
    address = Address.parse(text)
    for function in host.functions():
        if function.address == address:
            return function
    have = ", ".join(str(f.address) for f in host.functions() if not f.is_bridge)
    raise NoSuchDevice(f"device {address} of {host.url}", "no such device", f"there are: {have}")


def print_json(data: object) -> None:
    """Print `data` as JSON."""
    click.echo(json.dumps(data, indent=2))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, the heading among them, as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def size_text(size: int) -> str:
    """`size` bytes in the largest unit that leaves a whole number."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def bar_text(bar: Bar) -> str:
    """A base address register in words: number, kind, size, bus address."""
    kind = bar.space.value + (", 64-bit" if bar.width64 else "")
    kind += ", prefetchable" if bar.prefetchable else ""
    return f"BAR{bar.index}: {kind}, {size_text(bar.size)} at {bar.base:#x}"
