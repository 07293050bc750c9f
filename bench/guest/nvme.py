"""NVMe, 4 KiB random reads: the Python driver over VFIO beside the kernel's, by io_uring."""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.guest.devices import FOLDER, NVME, NVME_KERNEL, attached
from bench.measure import Row, Timed, median_ratio, rounds
from rumpci.bus_dma import BUS_DMA_READ
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmereg import NvmOp

SECONDS, ROUNDS, BLOCKS, DEEP = 0.4, 9, 8, 32
GOAL = 1.0


def _kernel(disk: Path, depth: int, batch: int) -> Timed:
    """Seconds that a read takes the kernel's driver."""
    command = [f"{FOLDER}/uring", str(disk), str(SECONDS), str(depth), str(batch)]
    return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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


def _batch(batch: NvmeBatch) -> Callable[[list[int]], None]:
    """Memory of bus_dmamem_alloc, loaded once; one doorbell."""

    def transfer(lbas: list[int]) -> None:
        batch.submit(lbas)
        batch.wait()

    return transfer


def _own(nvme: Nvme, depth: int) -> Callable[[list[int]], None]:
    """A buffer of Python's for each read, loaded for it and unloaded; one doorbell."""
    disk, buffers = nvme.disks[0], [bytearray(BLOCKS * 512) for _ in range(depth)]
    limit = disk.controller.limits.command_us

    def transfer(lbas: list[int]) -> None:
        queue = disk.queue()
        cids = [
            queue.start(disk.rw(NvmOp.READ, lba, BLOCKS), buffer, BUS_DMA_READ)
            for lba, buffer in zip(lbas, buffers, strict=True)
        ]
        queue.ring()
        for cid in cids:
            queue.wait(cid, cid + 1, limit)
            queue.finish(cid, "read")

    return transfer


def _lbas(nvme: Nvme, depth: int) -> list[list[int]]:
    chance, slots = random.Random(1), nvme.blocks // BLOCKS  # noqa: S311
    return [[chance.randrange(slots) * BLOCKS for _ in range(depth)] for _ in range(10)]


def _bind() -> None:
    command = [sys.executable, "-m", "rumpci", "bind", NVME, "vfio-pci"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def nvme() -> Iterator[Row]:
    """Depth 1 and 32: the kernel's driver, the Python driver, in turn on two equal controllers."""
    _bind()
    (disk,) = Path(f"/sys/bus/pci/devices/{NVME_KERNEL}/nvme").glob("nvme*/nvme*n1")
    node = Path("/dev") / disk.name
    with contextlib.ExitStack() as stack:
        driver = attached(stack, NVME, Nvme, intr="poll", entries="128")
        timed = {
            "kernel 1": _kernel(node, 1, 1),
            f"kernel {DEEP}": _kernel(node, DEEP, 1),
            f"kernel {DEEP} batched": _kernel(node, DEEP, DEEP),
        }
        for depth in (1, DEEP):
            batch = stack.enter_context(NvmeBatch(driver.disks[0], depth, BLOCKS))
            lbas = _lbas(driver, depth)
            timed[f"batch {depth}"] = _timed(_batch(batch), lbas)
            timed[f"own {depth}"] = _timed(_own(driver, depth), lbas)
        samples = rounds(timed, ROUNDS)
    yield from _rows(samples)


def _rows(samples: dict[str, list[float]]) -> Iterator[Row]:
    for name in ("kernel 1", f"kernel {DEEP}", f"kernel {DEEP} batched"):
        yield _row(f"4 KiB read, kernel's driver, io_uring, {name.removeprefix('kernel ')}",
                   samples[name])  # fmt: skip
    for depth, kernel in ((1, "kernel 1"), (DEEP, f"kernel {DEEP} batched")):
        for kind, what in (("batch", "bus_dmamem"), ("own", "driver's own buffers")):
            ours = samples[f"{kind} {depth}"]
            goal = GOAL if kind == "batch" and depth == DEEP else None
            yield _row(f"4 KiB read, Python on VFIO, {depth}, {what}", ours, kernel,
                       median_ratio(ours, samples[kernel]), goal)  # fmt: skip


def _row(
    name: str, taken: list[float], versus: str = "", ratio: float | None = None,
    goal: float | None = None,
) -> Row:  # fmt: skip
    return Row(name, statistics.median(taken) * 1e6, "us", versus, ratio, goal)
