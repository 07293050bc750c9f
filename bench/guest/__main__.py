"""In the guest: measure, and write a row of the table at a time for the host to read."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.guest import dma, interrupts, nvme, registers
from bench.measure import Row

PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "registers": registers.registers,
    "interrupts": interrupts.interrupts,
    "dma": dma.dma,
    "nvme": nvme.nvme,
}


def main(names: list[str]) -> int:
    """Run the parts named (all by default)."""
    with Path("/run/job/rows").open("w") as rows:
        for name in names or PARTS:
            for row in PARTS[name]():
                print(row)
                print(json.dumps(dataclasses.asdict(row)), file=rows, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
