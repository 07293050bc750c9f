"""NVMe, 4 KiB random reads: the Python driver over VFIO beside the kernel's, by io_uring."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.guest.devices import FOLDER, NVME, NVME_KERNEL, attached
from bench.measure import Row, Timed, median_ratio, rounds
from bench.reads import Transfer, batched, by_chance, timed
from rumpci.bus_dma import BUS_DMA_READ
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmereg import NvmOp

SECONDS, ROUNDS, BLOCKS, DEEP, LISTS = 0.4, 9, 8, 32, 10
GOAL = 1.0


def _kernel(disk: Path, depth: int, batch: int) -> Timed:
    """Seconds that a read takes the kernel's driver."""
    command = [f"{FOLDER}/uring", str(disk), str(SECONDS), str(depth), str(batch)]
    return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _own(nvme: Nvme, depth: int) -> Transfer:
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
        timings = {
            "kernel 1": _kernel(node, 1, 1),
            f"kernel {DEEP}": _kernel(node, DEEP, 1),
            f"kernel {DEEP} batched": _kernel(node, DEEP, DEEP),
        }
        for depth in (1, DEEP):
            batch = stack.enter_context(NvmeBatch(driver.disks[0], depth, BLOCKS))
            lbas = by_chance(driver, depth, BLOCKS, LISTS)
            timings[f"batch {depth}"] = timed(batched(batch), lbas, SECONDS)
            timings[f"own {depth}"] = timed(_own(driver, depth), lbas, SECONDS)
        samples = rounds(timings, ROUNDS)
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
