"""Reads of a disk, here and there, in seconds for one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bench.measure import Timed
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch

Transfer = Callable[[list[int]], None]
"""Reads blocks at so many places of the disk."""


def timed(transfer: Transfer, lbas: list[list[int]], seconds: float) -> Timed:
    """Seconds for one read: as many as can be done in `seconds`, those of a list at once."""

    def run() -> float:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for some in lbas:
                transfer(some)
                count += len(some)
        return (time.perf_counter() - start) / count

    return run


def batched(batch: NvmeBatch) -> Transfer:
    """Into memory of bus_dmamem_alloc, loaded once; one doorbell for all."""

    def transfer(lbas: list[int]) -> None:
        batch.submit(lbas)
        batch.wait()

    return transfer


def by_chance(nvme: Nvme, depth: int, blocks: int, count: int) -> list[list[int]]:
    """`count` lists of `depth` places for reads of so many blocks; the same in each run."""
    chance, slots = random.Random(1), nvme.blocks // blocks  # noqa: S311
    return [[chance.randrange(slots) * blocks for _ in range(depth)] for _ in range(count)]
