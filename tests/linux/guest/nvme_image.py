"""An image on an nvme disk, by its SHA-256: written polled, read with interrupts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager

from rumpci.autoconf import Driver
from rumpci.drivers.nvme import Nvme
from tests.linux.binding import NVME

CHUNK = 1 << 20
CHUNKS = 16


def goes_there_and_back(attached: Callable[..., AbstractContextManager[Driver]]) -> None:
    """`attached` attaches a driver to the function at an address, with properties."""
    chance = random.Random(1)  # noqa: S311
    wrote, read = hashlib.sha256(), hashlib.sha256()
    with attached(NVME, Nvme, intr="poll") as nvme:
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        step = CHUNK // disk.block_size
        parts = range(0, min(disk.blocks, CHUNKS * step), step)
        for first in parts:
            data = chance.randbytes(CHUNK)
            wrote.update(data)
            disk.write(first, data)
    with attached(NVME, Nvme, intr="intx") as nvme:
        assert isinstance(nvme, Nvme)
        for first in parts:
            read.update(nvme.disks[0].read(first, step))
    assert read.hexdigest() == wrote.hexdigest()
