"""nvme on QEMU: batches, whose memory stays loaded."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.errors import BadRange, DmaBusy, DriverError

from .needs import qemu
from .nvme_faulty import (
    attached,
    dice,
)

pytestmark = qemu


@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
@pytest.mark.parametrize(("depth", "blocks"), [(1, 1), (32, 8), (63, 3), (5, 300)])
def test_batches(image: Path, depth: int, blocks: int, intr: str) -> None:
    data, chance = image.read_bytes(), dice(depth)
    with attached(f"qemu:nvme,serial=1,file={image}", intr=intr) as nvme:
        disk = nvme.disks[0]
        with NvmeBatch(disk, depth, blocks) as batch:
            for _ in range(20):  # more than the rings are long
                lbas = [chance.randrange(disk.blocks - blocks) for _ in range(depth)]
                some = lbas[: chance.randint(1, depth)]
                batch.submit(some)
                batch.wait()
                for lba, view in zip(some, batch.views, strict=False):
                    assert view == data[lba * 512 : (lba + blocks) * 512]
        assert sorted(batch.queue.free) == list(range(63))


def test_batches_take_turns_and_write(image: Path) -> None:
    data = bytearray(image.read_bytes())
    with attached(f"qemu:nvme,serial=1,file={image}", intr="poll") as nvme:
        disk, queue = nvme.disks[0], nvme.controller.ioqs[0]
        with (
            NvmeBatch(disk, 16, 8, write=True, queue=queue) as one,
            NvmeBatch(disk, 16, 8, write=True, queue=queue) as two,
        ):
            for turn, batch in enumerate([one, two, one, two]):
                if turn > 1:
                    while batch.poll():
                        pass
                    batch.wait()
                lbas = [8 * (turn * 16 + i) for i in range(16)]
                for lba, view in zip(lbas, batch.views, strict=True):
                    view[:] = data[lba * 512 : lba * 512 + 4096] = dice(turn).randbytes(4096)
                batch.submit(lbas)
                with pytest.raises(DmaBusy):
                    batch.submit(lbas)
        disk.flush()
        assert image.read_bytes() == data


def test_a_batch_that_cannot_be(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        disk = nvme.disks[0]
        for depth, blocks in ((1, 1025), (0, 1), (1, 0)):
            with pytest.raises(BadRange):
                NvmeBatch(disk, depth, blocks)
        with pytest.raises(DriverError) as caught:
            NvmeBatch(disk, 64, 1)
        assert caught.value.errno == errno.EAGAIN
        with NvmeBatch(disk, 2, 8) as batch:
            for lbas in ([], [0, 8, 16], [8185], [-1]):
                with pytest.raises(BadRange):
                    batch.submit(lbas)
            disk.blocks += 100
            batch.submit([0, 8200])
            with pytest.raises(DriverError, match=r"number 1: LBA out of range"):
                batch.wait()
            batch.submit([0])
            batch.wait()
