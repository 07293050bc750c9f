"""NVMe: the driver's batches beside a naked loop over the same queues, polled, in turn."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator

from bench.measure import Row, Timed, median_ratio, rounds
from rumpci.autoconf import Autoconf
from rumpci.bus_space import bus_space_write_4
from rumpci.cpu import own_cpu
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.hosts import open_host

URL = "qemu:nvme,serial=1,size=64M"
ROUNDS, SECONDS = 9, 0.1
CASES = [(1, 4096, 1 / 0.7), (32, 4096, 1 / 0.5), (1, 131072, 1 / 0.6), (32, 131072, 1 / 0.6)]
"""Depth, bytes of a read, and the most that the driver may take of the naked loop's time."""


def _timed(transfer: Callable[[list[int]], None], lbas: list[list[int]]) -> Timed:
    """Seconds for one read."""

    def timed() -> float:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            for some in lbas:
                transfer(some)
                count += len(some)
        return (time.perf_counter() - start) / count

    return timed


def _naked(batch: NvmeBatch) -> Callable[[list[int]], None]:
    """The leanest loop that Python can make of it: no sync, no status, no limit, no ids."""
    queue, entries = batch.queue, batch._entries
    ring, words, done = queue.sq.view, queue._sqwords, queue._cqwords
    iot, dbh, sqdbl, cqdbl = queue._iot, queue._dbh, queue._sqtdbl, queue._cqhdbl
    size, end, yield_ = queue.size.entries, len(done), os.sched_yield

    def transfer(lbas: list[int]) -> None:
        tail, at, phase = queue.tail, queue._at, queue._phase
        for i, lba in enumerate(lbas):
            ring[tail * 64 : tail * 64 + 64] = entries[i]
            words[tail * 8 + 5] = lba
            tail = (tail + 1) % size
        bus_space_write_4(iot, dbh, sqdbl, tail)
        for _ in lbas:
            while done[at] >> 16 & 1 != phase:
                yield_()
            at += 4
            if at > end:
                at, phase = 3, phase ^ 1
        bus_space_write_4(iot, dbh, cqdbl, at >> 2)
        queue.tail = queue.rung = tail
        queue._at, queue._phase, queue.unacknowledged = at, phase, 0

    return transfer


def _driver(batch: NvmeBatch) -> Callable[[list[int]], None]:
    def transfer(lbas: list[int]) -> None:
        batch.submit(lbas)
        batch.wait()

    return transfer


def _attached(stack: contextlib.ExitStack, intr: str) -> Nvme:
    stack.enter_context(own_cpu())
    host = stack.enter_context(contextlib.closing(open_host(URL)))
    (nvme,) = stack.enter_context(Autoconf(host, properties={"nvme": {"intr": intr}})).attach(
        [Nvme]
    )
    assert isinstance(nvme, Nvme)
    return nvme


def _lbas(nvme: Nvme, depth: int, blocks: int) -> list[list[int]]:
    chance, slots = random.Random(1), nvme.blocks // blocks  # noqa: S311
    return [[chance.randrange(slots) * blocks for _ in range(depth)] for _ in range(20)]


def _polled() -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        nvme = _attached(stack, "poll")
        for depth, size, limit in CASES:
            with NvmeBatch(nvme.disks[0], depth, size // 512) as batch:
                lbas = _lbas(nvme, depth, size // 512)
                timed = {
                    "naked": _timed(_naked(batch), lbas), "driver": _timed(_driver(batch), lbas),
                }  # fmt: skip
                samples = rounds(timed, ROUNDS)
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
                samples = rounds({"": _timed(_driver(batch), _lbas(nvme, depth, 8))}, ROUNDS)
            name = f"read of 4 KiB, {depth} at once, MSI-X"
            yield Row(name, statistics.median(samples[""]) * 1e6, "us")


def nvme() -> Iterator[Row]:
    """Reads with one doorbell for many, from memory that the controller reaches."""
    yield from _polled()
    yield from _told()
