"""A driver's own buffer loaded and unloaded on VFIO: where it is, beside a copy of it."""

from __future__ import annotations

import contextlib
import mmap
import statistics
import sys
from collections.abc import Iterator

from bench.guest.devices import EDU, EDU_BARE, claimed
from bench.measure import Row, Timed, median_ratio, per_call, rounds
from rumpci.bus_dma import (
    BUS_DMASYNC_POSTREAD,
    BusDmaTag,
    DmaRoot,
    bus_dmamap_create,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
)
from rumpci.hosts.vfio.claim import VfioClaim

ROUNDS, BYTES = 15, 4 << 20
SIZES = (4096, 16384, 65536, 1 << 20)
GOAL = 1.0
"""Of what is mapped where it is (from dma.ADOPT_MIN on), beside a copy."""
DIRECT, BOUNCED = 1, sys.maxsize


def _transfers(claim: VfioClaim, size: int, adopt_min: int, buffers: int = 1) -> Timed:
    """Seconds for a transfer from the device but for its own part; the buffers take turns."""
    root = DmaRoot("bench0")
    root.claim = claim
    tag, own = BusDmaTag(root), [mmap.mmap(-1, size) for _ in range(buffers)]
    dmam = bus_dmamap_create(tag, size, 1, size, 0, name="bench")

    def run(count: int) -> None:
        claim.adopt_min = adopt_min
        for number in range(count):
            bus_dmamap_load(tag, dmam, own[number % buffers])
            bus_dmamap_sync(tag, dmam, 0, size, BUS_DMASYNC_POSTREAD)
            bus_dmamap_unload(tag, dmam)

    return per_call(run, min(50, max(4, BYTES // size)))


def dma() -> Iterator[Row]:
    """Mapped where it is, bounced, and bounced through memory that stays mapped (unmap=lazy)."""
    with contextlib.ExitStack() as stack:
        strict, _, _ = claimed(stack, EDU)
        lazy, _, _ = claimed(stack, EDU_BARE, "?unmap=lazy")
        least, timed = strict.adopt_min, dict[str, Timed]()
        for size in SIZES:
            timed[f"{size} mapped"] = _transfers(strict, size, DIRECT)
            timed[f"{size} mapped, each time another"] = _transfers(strict, size, DIRECT, 2)
            timed[f"{size} bounced"] = _transfers(strict, size, BOUNCED)
            timed[f"{size} bounced, lazy"] = _transfers(lazy, size, BOUNCED)
        samples = rounds(timed, ROUNDS)
    for size in SIZES:
        ours = samples[f"{size} mapped"]
        yield Row(f"load, sync, unload of {size >> 10} KiB, where it is",
                  statistics.median(ours) * 1e6, "us")  # fmt: skip
        for how in ("mapped, each time another", "bounced", "bounced, lazy"):
            taken = samples[f"{size} {how}"]
            goal = GOAL if how == "bounced" and size >= least else None
            yield Row(f"  {how}", statistics.median(taken) * 1e6, "us", "where it is / this",
                      median_ratio(ours, taken), goal)  # fmt: skip
