"""DMA on the bare machine: a buffer loaded and unloaded, alone and among ten thousand maps."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.measure import Row, Timed, median_ratio, per_call, rounds
from rumpci.bus_dma import (
    BUS_DMASYNC_PREREAD,
    BusDmamap,
    BusDmaTag,
    DmaRoot,
    bus_dmamap_create,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
)
from rumpci.guard.claim import GuardClaim
from rumpci.hosts import open_host
from rumpci.machines.machine import Domain

ROUNDS, COUNT = 15, 1000
FEW, MANY = 10, 10_000
LIMIT_US, LIMIT_RATIO = 60.0, 1.5
PAGE, WHERE = 4096, 0x4000_0000


def _tag(stack: contextlib.ExitStack, url: str) -> tuple[BusDmaTag, GuardClaim]:
    host = stack.enter_context(contextlib.closing(open_host(url)))
    function = next(f for f in host.functions() if not f.is_bridge)
    claim = host.claim(function.address, "bench0")
    if not isinstance(claim, GuardClaim):
        raise TypeError(f"{url} is no guarded machine")
    root = DmaRoot("bench0")
    root.claim = claim
    return BusDmaTag(root), claim


def _loads(tag: BusDmaTag, maps: Sequence[BusDmamap]) -> Timed:
    """A buffer of Python's, loaded and unloaded: the maps take turns."""
    buffer = bytearray(PAGE)

    def run(count: int) -> None:
        for i in range(count):
            dmam = maps[i % len(maps)]
            bus_dmamap_load(tag, dmam, buffer)
            bus_dmamap_unload(tag, dmam)

    return per_call(run, COUNT)


def _invalidations(domain: Domain) -> Timed:
    """Taking one page back that was granted: the store, the queue, and the wait."""
    from rumpci.host_dma import Direction

    def run(count: int) -> None:
        for _ in range(count):
            domain.grant(WHERE, 1 << 20, PAGE, Direction.BOTH)
            domain.revoke([(WHERE, PAGE)])

    return per_call(run, COUNT)


def _syncs(tag: BusDmaTag, dmam: BusDmamap) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            bus_dmamap_sync(tag, dmam, 0, PAGE, BUS_DMASYNC_PREREAD)

    return run


def _maps(tag: BusDmaTag, count: int, *, live: bool) -> list[BusDmamap]:
    maps = [bus_dmamap_create(tag, PAGE, 1, PAGE, 0) for _ in range(count)]
    if live:
        for dmam in maps:
            bus_dmamap_load(tag, dmam, bytearray(PAGE))
    return maps


def _one() -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        tag, claim = _tag(stack, "qemu:edu")
        bare, _ = _tag(stack, "qemu:edu?iommu=off")
        (dmam,), (loaded,) = _maps(tag, 1, live=False), _maps(tag, 1, live=True)
        samples = rounds(
            {
                "load and unload of 4 KiB, IOMMU on": _loads(tag, [dmam]),
                "load and unload of 4 KiB, no IOMMU": _loads(bare, _maps(bare, 1, live=False)),
                "grant and invalidation of a page": _invalidations(claim.dma.domain),
                "sync of what is coherent": per_call(_syncs(tag, loaded), 10 * COUNT),
            },
            ROUNDS,
        )
        for i, (name, values) in enumerate(samples.items()):
            limit = LIMIT_US if i == 0 else None
            yield Row(name, statistics.median(values) * 1e6, "us", limit=limit)


def _among_many() -> Iterator[Row]:
    """The same among few and among many maps that are loaded."""
    with contextlib.ExitStack() as stack:
        few, _ = _tag(stack, "qemu:edu?memory=256M")
        many, _ = _tag(stack, "qemu:edu?memory=256M")
        _maps(few, FEW, live=True)
        _maps(many, MANY, live=True)
        samples = rounds(
            {"few": _loads(few, _maps(few, FEW, live=False)),
             "many": _loads(many, _maps(many, FEW, live=False))},
            ROUNDS,
        )  # fmt: skip
        name = f"load and unload among {MANY} maps"
        ratio = median_ratio(samples["many"], samples["few"])
        value = statistics.median(samples["many"]) * 1e6
        yield Row(name, value, "us", f"among {FEW}", ratio, LIMIT_RATIO)


def dma() -> Iterator[Row]:
    """What bus_dma(9) costs."""
    yield from _one()
    yield from _among_many()
