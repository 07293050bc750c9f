"""`rumpci iommu`: what each device may reach, as the IOMMU's tables have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import click

from rumpci.host import Address, Feature, Host
from rumpci.host_dma import NOT_TOLD, Direction, Grant
from rumpci.tools.common import json_option, opened, print_json, size_text, table
from rumpci.tools.dma import NO_IOMMU
from rumpci.tools.watch import as_json as watch_json, watch, watch_option


@dataclass
class Run:
    """Leaves that follow one another on the bus and in memory; `leaves` counts them by size.

    Where the host does not tell where they are in memory (`page` NOT_TOLD), on the bus alone.
    """

    device: Address
    addr: int
    page: int
    direction: Direction
    size: int = 0
    leaves: Counter[int] = field(default_factory=Counter)

    def followed_by(self, grant: Grant) -> bool:
        """Whether the leaf goes on where this ends."""
        page = NOT_TOLD if self.page == NOT_TOLD else self.page + self.size
        here = (self.device, self.addr + self.size, page, self.direction)
        return here == (grant.device, grant.addr, grant.page, grant.direction)


@click.command("iommu")
@click.argument("host")
@json_option
@watch_option
def command(host: str, as_json: bool, interval: float | None) -> None:
    """Show what the IOMMU of HOST lets each device reach, read from its tables in memory."""
    with opened(host) as opened_host:
        if interval is not None:
            seen = partial(record, opened_host), partial(watched, opened_host)
            watch(watch_json(seen[0]) if as_json else seen[1], interval)
        elif as_json:
            print_json(record(opened_host))
        else:
            for line in lines(opened_host):
                click.echo(line)


def lines(host: Host) -> list[str]:
    """A heading and a line for each run; or that there is no IOMMU."""
    if Feature.IOMMU not in host.features:
        return [NO_IOMMU]
    return _table(runs(host.iommu()))


def watched(host: Host) -> list[str]:
    """As `lines`, after a line for each device with the sum of what it may reach."""
    if Feature.IOMMU not in host.features:
        return [NO_IOMMU]
    found = runs(host.iommu())
    rows = [_sum(device, found) for device in sorted({run.device for run in found})]
    return [*table([("device", "granted", "runs", "pages"), *rows]), *_table(found)]


def record(host: Host) -> dict[str, object]:
    """The same as `lines`, for JSON."""
    found = [_record(run) for run in runs(host.iommu())]
    return {"iommu": Feature.IOMMU in host.features, "runs": found}


def _table(found: Iterable[Run]) -> list[str]:
    heading = ("device", "bus addresses", "size", "direction", "in memory at", "pages")
    return table([heading, *(_cells(run) for run in found)])


def _sum(device: Address, found: Iterable[Run]) -> tuple[str, ...]:
    its = [run for run in found if run.device == device]
    leaves = sum((run.leaves for run in its), Counter[int]())
    return str(device), size_text(sum(run.size for run in its)), str(len(its)), _pages(leaves)


def runs(grants: Iterable[Grant]) -> list[Run]:
    """The leaves, those that follow one another together."""
    found: list[Run] = []
    for grant in sorted(grants, key=lambda grant: (grant.device, grant.addr)):
        if not found or not found[-1].followed_by(grant):
            found.append(Run(grant.device, grant.addr, grant.page, grant.direction))
        found[-1].size += grant.size
        found[-1].leaves[grant.size] += 1
    return found


def direction_text(direction: Direction) -> str:
    """read, write or read+write, as the mirror says it; none for a leaf that grants nothing."""
    words = ((Direction.READ, "read"), (Direction.WRITE, "write"))
    return "+".join(word for one, word in words if one in direction) or "none"


def _cells(run: Run) -> tuple[str, ...]:
    return (
        str(run.device),
        f"{run.addr:#x}-{run.addr + run.size - 1:#x}",
        size_text(run.size),
        direction_text(run.direction),
        "-" if run.page == NOT_TOLD else f"{run.page:#x}",
        _pages(run.leaves),
    )


def _pages(leaves: Counter[int]) -> str:
    return ", ".join(f"{leaves[size]} of {size_text(size)}" for size in sorted(leaves))


def _record(run: Run) -> dict[str, object]:
    return {
        "device": str(run.device),
        "addr": run.addr,
        "size": run.size,
        "direction": direction_text(run.direction),
        "page": None if run.page == NOT_TOLD else run.page,
        "leaves": dict(run.leaves),
    }
