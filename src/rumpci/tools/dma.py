"""`rumpci dma`: the mirror of every allocation and map, and whether the IOMMU agrees."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import click

from rumpci.host import Feature, Host
from rumpci.host_dma import DmaInfo, DmaUsage, Segment
from rumpci.tools.common import json_option, opened, print_json, size_text, table
from rumpci.tools.watch import as_json as watch_json, watch, watch_option

SHOWN = 3
"""So many ranges of a map are shown, and idle maps of a driver; of more, their number."""

NO_IOMMU = "there is no IOMMU: a device that is a bus master reaches all of the machine's memory"


@click.command("dma")
@click.argument("host")
@click.option("--check", "checks", is_flag=True, help="Compare the mirror with the IOMMU's tables.")
@json_option
@watch_option
def command(host: str, checks: bool, as_json: bool, interval: float | None) -> int:
    """Show the DMA memory and maps of HOST: who has them, where they are on the bus, quotas.

    With --check, say instead how they differ from the IOMMU's tables; the exit status is 1 if
    they do.
    """
    if checks and interval is not None:
        raise click.UsageError("--check looks once; leave --watch out")
    with opened(host) as opened_host:
        if interval is not None:
            seen = partial(record, opened_host), partial(watched, opened_host)
            watch(watch_json(seen[0]) if as_json else seen[1], interval)
            return 0
        wrong = list(opened_host.dma_check()) if checks else []
        if as_json:
            print_json(record(opened_host) | ({"differences": wrong} if checks else {}))
        else:
            for line in check_lines(opened_host, wrong) if checks else lines(opened_host):
                click.echo(line)
    return 1 if wrong else 0


def lines(host: Host) -> list[str]:
    """A table of allocations and maps, and one of what each client holds of its quotas."""
    return [*_mirror(host), *_usage(host)]


def watched(host: Host) -> list[str]:
    """As `lines`; what fits a terminal first."""
    return [*_usage(host), *_mirror(host)]


def _mirror(host: Host) -> list[str]:
    rows = [_cells(row) for row in _without_idle(host.dma())]
    heading = ("device", "driver", "kind", "name", "bytes", "direction", "bus addresses")
    return table([heading, *rows])


def _usage(host: Host) -> list[str]:
    usage = [_usage_cells(row) for row in host.dma_usage()]
    return table([("device", "driver", "memory", "objects"), *usage])


def check_lines(host: Host, wrong: Sequence[str]) -> list[str]:
    """The differences `wrong`, or that there are none, or that there is no IOMMU to differ from."""
    rows = host.dma()
    maps = sum(row.kind == "map" for row in rows)
    counts = f"{len(rows) - maps} allocations, {maps} maps"
    if Feature.IOMMU not in host.features:
        return [*wrong, f"{NO_IOMMU}; {counts}"]
    granted = sum(grant.size for grant in host.iommu())
    agree = f"the mirror and the IOMMU's tables agree: {counts}, {granted} bytes granted"
    return list(wrong) or [agree]


def record(host: Host) -> dict[str, object]:
    """The same as `lines`, for JSON."""
    return {
        "iommu": Feature.IOMMU in host.features,
        "mirror": [_record(row) for row in host.dma()],
        "usage": [_record(row) for row in host.dma_usage()],
    }


def _record(row: DmaInfo | DmaUsage) -> dict[str, object]:
    found = dataclasses.asdict(row) | {"device": str(row.device)}
    if isinstance(row, DmaInfo):
        found["segments"] = [segment._asdict() for segment in row.segments]
    return found


def _cells(row: DmaInfo) -> tuple[str, ...]:
    where = _segments(row.segments)
    name, direction = row.name or "-", row.direction or "-"
    return str(row.device), row.who or "-", row.kind, name, str(row.size), direction, where


def _without_idle(rows: Sequence[DmaInfo]) -> Iterator[DmaInfo]:
    """The rows; of many maps alike that are not loaded, one that says how many there are."""
    alike = Counter(_idle(row) for row in rows)
    told = set[object]()
    for row in rows:
        idle = _idle(row)
        if idle is None or alike[idle] <= SHOWN:
            yield row
        elif idle not in told:
            told.add(idle)
            yield dataclasses.replace(row, name=f"{alike[idle]} that are not loaded")


def _idle(row: DmaInfo) -> tuple[object, ...] | None:
    """What idle maps have in common; None for what is not idle."""
    return None if row.segments else (row.device, row.who, row.kind, row.size)


def _segments(segments: Sequence[Segment]) -> str:
    ranges = list[tuple[int, int]]()
    for at, length in segments:
        start = ranges.pop()[0] if ranges and ranges[-1][1] == at else at
        ranges.append((start, at + length))
    shown = [f"{start:#x}-{end - 1:#x}" for start, end in ranges[:SHOWN]]
    more = len(ranges) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") or "-"


def _usage_cells(row: DmaUsage) -> tuple[str, ...]:
    memory = f"{size_text(row.bytes)} of {size_text(row.bytes_max)}"
    return str(row.device), row.who or "-", memory, f"{row.objects} of {row.objects_max}"
