"""`rumpci iommu`: what each device may reach, as the IOMMU's tables have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import click

from rumpci.host import Address, Feature, Host
from rumpci.host_dma import Direction, Grant
from rumpci.tools.common import json_option, opened, print_json, size_text, table
from rumpci.tools.dma import NO_IOMMU


@dataclass
class Run:
    """Leaves that follow one another on the bus and in memory; `leaves` counts them by size."""

    device: Address
    addr: int
    page: int
    direction: Direction
    size: int = 0
    leaves: Counter[int] = field(default_factory=Counter)

    def followed_by(self, grant: Grant) -> bool:
        """Whether the leaf goes on where this ends."""
        here = (self.device, self.addr + self.size, self.page + self.size, self.direction)
        return here == (grant.device, grant.addr, grant.page, grant.direction)


@click.command("iommu")
@click.argument("host")
@json_option
def command(host: str, as_json: bool) -> None:
    """Show what the IOMMU of HOST lets each device reach, read from its tables in memory."""
    with opened(host) as opened_host:
        if as_json:
            present = Feature.IOMMU in opened_host.features
            found = [_record(run) for run in runs(opened_host.iommu())]
            print_json({"iommu": present, "runs": found})
        else:
            for line in lines(opened_host):
                click.echo(line)


def lines(host: Host) -> list[str]:
    """A heading and a line for each run; or that there is no IOMMU."""
    if Feature.IOMMU not in host.features:
        return [NO_IOMMU]
    heading = ("device", "bus addresses", "size", "direction", "in memory at", "pages")
    return table([heading, *(_cells(run) for run in runs(host.iommu()))])


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
    pages = ", ".join(f"{run.leaves[size]} of {size_text(size)}" for size in sorted(run.leaves))
    return (
        str(run.device),
        f"{run.addr:#x}-{run.addr + run.size - 1:#x}",
        size_text(run.size),
        direction_text(run.direction),
        f"{run.page:#x}",
        pages,
    )


def _record(run: Run) -> dict[str, object]:
    return {
        "device": str(run.device),
        "addr": run.addr,
        "size": run.size,
        "direction": direction_text(run.direction),
        "page": run.page,
        "leaves": dict(run.leaves),
    }
