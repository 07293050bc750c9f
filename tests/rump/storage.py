"""Disks of a rump kernel, as scenes use them."""

from __future__ import annotations

import hashlib
import random
import time
from typing import Any

from rumpci.rump import netbsd
from tests.rump.stage import Stage
from tests.waiting import LIMIT_S

BLOCK = 512


def opened(stage: Stage, path: str) -> int:
    """A device that may take a while to appear."""
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            return stage.kernel.sys.open(path, netbsd.O_RDWR)
        except OSError as error:
            if time.monotonic() > end:
                raise AssertionError(f"{path}: {error}") from error
            time.sleep(0.05)


def random_io(size: int, times: int) -> list[tuple[int, int, bytes | None]]:
    """Offset, length, and what is written there; None: it is read."""
    dice = random.Random(times)  # noqa: S311
    rows = []
    for _ in range(times):
        count = dice.choice((1, 8, 64)) * BLOCK
        at = dice.randrange((size - count) // BLOCK) * BLOCK
        rows.append((at, count, dice.randbytes(count) if dice.random() < 0.5 else None))
    return rows


def work(stage: Stage, path: str, size: int, times: int) -> dict[str, Any]:
    """Read and write at random places; the digest is of all that was read."""
    sys, digest = stage.kernel.sys, hashlib.sha256()
    fd = opened(stage, path)
    for at, count, data in random_io(size, times):
        if data is None:
            digest.update(sys.pread(fd, count, at))
        else:
            assert sys.pwrite(fd, data, at) == count
    sys.close(fd)
    return {"read": digest.hexdigest(), "findings": stage.findings(),
            "unused": stage.kernel.unused()}  # fmt: skip


def oracle(image: bytearray, times: int) -> str:
    """The same on an image in memory."""
    digest = hashlib.sha256()
    for at, count, data in random_io(len(image), times):
        if data is None:
            digest.update(image[at : at + count])
        else:
            image[at : at + count] = data
    return digest.hexdigest()


def random_numbers(stage: Stage, size: int) -> dict[str, Any]:
    """What viornd gave: its interrupts are counted."""
    end = time.monotonic() + LIMIT_S
    while not (came := sum(each.count for each in stage.host.interrupts())):
        assert time.monotonic() < end, "no random numbers came"
        time.sleep(0.01)
    fd = stage.kernel.sys.open("/dev/urandom", netbsd.O_RDONLY)
    return {"came": came, "read": len(set(stage.kernel.sys.read(fd, size))),
            "findings": stage.findings(), "unused": stage.kernel.unused()}  # fmt: skip
