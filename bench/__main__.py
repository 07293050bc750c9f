"""Run the benchmarks; print a table and write .bench/results.json."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import core, dma, interrupts, linux, machine, mapped, nvme, rump, served
from bench.measure import Row

GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "registers": mapped.registers,
    "regions": mapped.regions,
    "trapped": machine.trapped,
    "launch": machine.launch,
    "interrupts": interrupts.interrupts,
    "dma": dma.dma,
    "nvme": nvme.nvme,
    "served": served.served,
    "core": core.core,
    "rump": rump.rump,
    "linux": linux.linux,
}


def _table(rows: list[Row]) -> Table:
    table = Table(title="rumpci benchmarks (medians)")
    for column in ("what", "median", "beside", "ratio", "goal", "met"):
        table.add_column(column)
    for row in rows:
        goal = "" if row.limit is None else f"<= {row.limit:.4g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        table.add_row(escape(row.name), f"{row.value:.4g} {row.unit}", row.versus, ratio, goal, met)
    return table


def main(names: list[str]) -> int:
    """Run the groups named (all by default)."""
    unknown = set(names) - set(GROUPS)
    if unknown:
        print(f"bench: no group {', '.join(unknown)}; groups: {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    rows = [row for name in names or GROUPS for row in GROUPS[name]()]
    Console(width=None if sys.stdout.isatty() else 140).print(_table(rows))
    results = Path(".bench/results.json")
    results.parent.mkdir(exist_ok=True)
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "rows": [dataclasses.asdict(row) | {"met": row.met} for row in rows],
    }
    results.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
