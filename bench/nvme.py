"""NVMe on a disk of zeros: the driver beside a naked loop, which has no guard and no IOMMU."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator

from bench.measure import Row, median_ratio, rounds
from bench.naked import NakedNvme
from bench.reads import batched, by_chance, timed
from rumpci.autoconf import Autoconf
from rumpci.cpu import own_cpu
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.hosts import open_host

DISK = {"null": "1G"}
URL = "qemu:nvme,serial=1,null=1G"
ROUNDS, SECONDS, LISTS = 9, 0.1, 20
CASES = [(1, 4096, 1 / 0.7), (32, 4096, 1 / 0.5), (1, 131072, 1 / 0.6), (32, 131072, 1 / 0.6)]
"""Depth, bytes of a read, and the most that the driver may take of the naked loop's time."""


def _attached(stack: contextlib.ExitStack, intr: str) -> Nvme:
    stack.enter_context(own_cpu())
    host = stack.enter_context(contextlib.closing(open_host(URL)))
    (nvme,) = stack.enter_context(Autoconf(host, properties={"nvme": {"intr": intr}})).attach(
        [Nvme]
    )
    assert isinstance(nvme, Nvme)
    return nvme


def _polled() -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        nvme = _attached(stack, "poll")
        for depth, size, limit in CASES:
            with (
                NvmeBatch(nvme.disks[0], depth, size // 512) as batch,
                NakedNvme(DISK, depth, size) as bare,
            ):
                lbas = by_chance(nvme, depth, size // 512, LISTS)
                ways = {"naked": bare.read, "driver": batched(batch)}
                timings = {name: timed(way, lbas, SECONDS) for name, way in ways.items()}
                samples = rounds(timings, ROUNDS)
            driver, naked = samples["driver"], samples["naked"]
            name = f"read of {size >> 10} KiB, {depth} at once, polled"
            yield Row(name, statistics.median(driver) * 1e6, "us", "naked loop",
                      median_ratio(driver, naked), limit)  # fmt: skip
            yield Row("  naked loop", statistics.median(naked) * 1e6, "us")


def _told() -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        nvme = _attached(stack, "msix")
        for depth in (1, 32):
            with NvmeBatch(nvme.disks[0], depth, 8) as batch:
                lbas = by_chance(nvme, depth, 8, LISTS)
                samples = rounds({"": timed(batched(batch), lbas, SECONDS)}, ROUNDS)
            name = f"read of 4 KiB, {depth} at once, MSI-X"
            yield Row(name, statistics.median(samples[""]) * 1e6, "us")


def _bounced() -> Iterator[Row]:
    """The disk's own interface: a buffer of Python's for each, loaded, copied and unloaded."""
    with contextlib.ExitStack() as stack:
        nvme = _attached(stack, "poll")
        disk = nvme.disks[0]

        def read(lbas: list[int]) -> None:
            for lba in lbas:
                disk.read(lba, 8)

        samples = rounds({"": timed(read, by_chance(nvme, 1, 8, LISTS), SECONDS)}, ROUNDS)
        yield Row("read of 4 KiB, bounced", statistics.median(samples[""]) * 1e6, "us")


def nvme() -> Iterator[Row]:
    """Reads with one doorbell for many, from memory that the controller reaches."""
    yield from _polled()
    yield from _told()
    yield from _bounced()
