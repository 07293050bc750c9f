"""Drivers that are killed at any moment: the disk holds what was written, and nothing else.

`./dev soak -k kills` kills 500 of them and more, and says how long it took to get over it.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf
from rumpci.drivers.nvme import Nvme
from rumpci.hosts import open_host
from tests.descriptors import descriptor_names
from tests.qemu.killed_driver import BLOCK, BLOCKS, content
from tests.qemu.kills import Kills, Oracle, kills

from .needs import qemu

pytestmark = [qemu, pytest.mark.soak]
EDU_ID = 0x11E8_1234
WORK_S = 0.08
"""A driver is killed after so long at most."""
GROWTH = 16 << 10
"""KiB that the guard's process may take more, however many are killed."""


@pytest.fixture
def iommu() -> str:
    """Whether the machine has one; a test may say otherwise."""
    return "on"


@pytest.fixture
def killing(tmp_path: Path, soak: bool, iommu: str) -> Iterator[Kills]:
    """The drivers and their disk; at the end the disk reads as it has to be."""
    with kills(tmp_path / "image", "edu", iommu=iommu) as made, neighbour(made):
        before = Counter(descriptor_names())
        yield made
        assert not Counter(descriptor_names()) - before
        assert made.grown() < GROWTH
        with Autoconf(made.guard) as autoconf:
            (nvme,) = autoconf.attach([Nvme])
            assert isinstance(nvme, Nvme)
            assert nvme.disks[0].read(0, BLOCKS) == made.oracle.expected
        made.oracle.check()
        if soak:
            print(f"\n{made.figures()}")


@contextlib.contextmanager
def neighbour(made: Kills) -> Iterator[None]:
    """A client that has the machine's other device all the while, and its data."""
    with contextlib.closing(open_host(made.url)) as host:
        place = next(f.address for f in host.functions() if f.id == EDU_ID)
        window = host.claim(place, "neighbour").window(0, 0, 0x100)
        window.write(4, 4, 0x600D)
        yield
        assert window.read(4, 4) == ~0x600D & 0xFFFF_FFFF


@pytest.mark.parametrize(("iommu", "few", "many"), [("on", 12, 500), ("off", 3, 100)])
def test_killed_under_load(killing: Kills, soak: bool, few: int, many: int) -> None:
    for _ in range(many if soak else few):
        killing.start()
        killing.attached()
        killing.work(killing.random.uniform(0, WORK_S))
        killing.kill(killing.pid)
        killing.settle()
    assert killing.oracle.done > killing.kills
    assert len(killing.to_quiet) == killing.kills


def test_killed_while_it_attaches(killing: Kills, soak: bool) -> None:
    killing.start()
    killing.attached()
    takes_s = killing.to_attached[0] / 1000
    killing.kill(killing.pid)
    killing.settle()
    for _ in range(100 if soak else 3):
        killing.start()
        time.sleep(killing.random.uniform(0, takes_s))
        killing.kill(killing.pid)
        killing.settle()


@pytest.mark.parametrize(("what", "takes"), [("reset", 0.005), ("detach", 0.02)])
def test_killed_while_it_does_something(
    killing: Kills, soak: bool, what: str, takes: float
) -> None:
    for _ in range(50 if soak else 2):
        killing.start(detaches=0.05 if what == "detach" else 0.0)
        killing.drivers.wait_for(killing.run, what)
        killing.work(killing.random.uniform(0, takes))
        killing.kill(killing.pid)
        killing.settle()


def test_killed_while_the_one_before_is_quarantined(killing: Kills, soak: bool) -> None:
    """The second waits for the device already; it is killed before, while or after it gets it."""
    for _ in range(100 if soak else 3):
        first = killing.start()
        killing.attached()
        second = killing.start()
        killing.work(killing.random.uniform(0, WORK_S))
        killing.kill(first)
        time.sleep(killing.random.uniform(0, 0.01))
        killing.kill(second)
        killing.settle()


def test_a_driver_that_a_test_leaves_is_ended(tmp_path: Path) -> None:
    with kills(tmp_path / "image") as made:
        left = os.pidfd_open(made.start())
        made.attached()
    assert select.select([left], [], [], 60)[0]
    os.close(left)


def disk(tmp_path: Path) -> tuple[Oracle, bytearray]:
    """An oracle that was told of two writes of four blocks, of which the first is done."""
    oracle = Oracle(tmp_path / "image")
    for said in ("write 1 10 4", "done 1", "write 2 12 4"):
        oracle.take(said.split())
    return oracle, bytearray(content(0, 0, BLOCKS))


def put(data: bytearray, lba: int, blocks: bytes) -> None:
    data[lba * BLOCK : lba * BLOCK + len(blocks)] = blocks


@pytest.mark.parametrize("there", range(5))
def test_a_write_that_was_under_way_may_be_there_in_whole_blocks(
    tmp_path: Path, there: int
) -> None:
    oracle, data = disk(tmp_path)
    put(data, 10, content(1, 10, 4))
    put(data, 12, content(2, 12, there))
    oracle.image.write_bytes(data)
    oracle.check()
    assert oracle.expected == data
    oracle.image.write_bytes(content(0, 0, BLOCKS))  # and then it stays as it is
    with pytest.raises(AssertionError, match="nobody wrote"):
        oracle.check()


@pytest.mark.parametrize(("lba", "blocks"), [
    (10, content(0, 10, 1)), (9, bytes(BLOCK)), (12, content(0, 12, 1)), (13, bytes(BLOCK)),
    (14, content(2, 14, 1)[:100] + content(0, 14, 1)[100:]), (15, content(2, 14, 1)),
])  # fmt: skip
def test_what_a_disk_must_not_hold(tmp_path: Path, lba: int, blocks: bytes) -> None:
    oracle, data = disk(tmp_path)
    put(data, 10, content(1, 10, 4))
    put(data, lba, blocks)
    oracle.image.write_bytes(data)
    with pytest.raises(AssertionError, match=r"nobody wrote|neither old nor"):
        oracle.check()
