"""nvme on QEMU: the disk is the image, whatever the transfer and the interrupt."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumpci.autoconf import Autoconf, Console
from rumpci.disk import Disk, disks_of
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmedma import DmaArea
from rumpci.drivers.nvmereg import NVME_CC
from rumpci.errors import BadRange, DriverAttachError, DriverError
from rumpci.hosts import open_host

from .needs import qemu
from .nvme_faulty import (
    CC,
    MIB,
    FaultyHost,
    Plan,
    attached,
    dice,
    submitted,
)

pytestmark = qemu


# ---- attaching ----------------------------------------------------------------------------


def test_it_says_who_it_is() -> None:
    lines: list[str] = []
    with attached("qemu:nvme,serial=abc-1,size=64M", console=Console(lines.append)) as nvme:
        assert (nvme.identity.SN, nvme.identity.MN) == ("abc-1", "QEMU NVMe Ctrl")
        assert isinstance(nvme, Disk)
        assert isinstance(nvme.disks[0], Disk)
        assert (nvme.block_size, nvme.blocks, nvme.disk_readonly) == (512, 64 * MIB // 512, False)
    text = "".join(lines)
    for said in (
        "nvme0: NVMe 1.4\n", "nvme0: QEMU NVMe Ctrl, firmware ", ", serial abc-1\n",
        "ld0 at nvme0 nsid 1\n", "ld0: 64 MB, 512 bytes/sect x 131072 sectors\n",
        "nvme0: for queue 2 interrupting at msix0 vec 2\n",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize("iommu", ["on", "off"])
@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
def test_every_way_to_be_told(image: Path, intr: str, iommu: str) -> None:
    data = image.read_bytes()
    with attached(f"qemu:nvme,serial=1,file={image}?iommu={iommu}", intr=intr) as nvme:
        for lba in range(0, 64, 5):  # on every queue
            assert nvme.read(lba, 3) == data[lba * 512 : (lba + 3) * 512]
        nvme.write(7, b"\x5a" * 1024)
        nvme.flush()
        assert image.read_bytes()[7 * 512 : 9 * 512] == b"\x5a" * 1024
        assert nvme.controller.resets == nvme.controller.aborts == 0
        assert [queue.lost + queue.unexpected for queue in nvme.controller.queues] == [0, 0, 0]
        assert [queue.polled for queue in nvme.controller.queues] == [intr == "poll"] * 3


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"intr": "msi"}, "no type that was asked for"), ({"intr": "bell"}, "use msix, msi"),
        ({"queues": "0"}, "no number from 1"), ({"entries": "1"}, "no number from 2"),
        ({"timeout": "-5"}, "no number"),
    ],
)  # fmt: skip
def test_a_property_that_cannot_be(properties: dict[str, str], why: str) -> None:
    with (
        pytest.raises(DriverAttachError, match=why),
        attached("qemu:nvme,serial=1,size=1M", None, None, **properties),
    ):
        pass


@pytest.mark.parametrize("count", [1, 5])
def test_as_many_queues_as_asked_for(image: Path, count: int) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}", queues=str(count)) as nvme:
        assert [queue.qid for queue in nvme.controller.ioqs] == list(range(1, count + 1))
        for _ in range(count):
            nvme.read(0, 1)
        assert [queue.tail for queue in nvme.controller.ioqs] == [1] * count


def test_fewer_queues_and_vectors_than_asked_for(image: Path) -> None:
    url = f"qemu:nvme,serial=1,file={image},max_ioqpairs=3,msix_qsize=2"
    with attached(url, queues="9") as nvme:
        assert len(nvme.controller.ioqs) == 3
        assert [queue.vector for queue in nvme.controller.queues] == [0, 1, 0, 1]
        assert nvme.read(0, 4) + nvme.read(4, 4) + nvme.read(8, 4) == image.read_bytes()[:6144]


def test_two_controllers() -> None:
    url = "qemu:nvme,serial=a,size=16M+nvme,serial=b,size=32M"
    with contextlib.closing(open_host(url)) as host, Autoconf(host) as autoconf:
        one, two = autoconf.attach([Nvme])
        assert isinstance(one, Nvme)
        assert isinstance(two, Nvme)
        assert (one.disk_name, two.disk_name) == ("ld0", "ld1")
        one.write(0, b"1" * 512)
        two.write(0, b"2" * 512)
        assert (one.read(0, 1)[:1], two.read(0, 1)[:1]) == (b"1", b"2")
        assert two.blocks == 2 * one.blocks


def test_detach_shuts_down_and_disables_and_it_attaches_again(image: Path) -> None:
    plan = Plan()
    with contextlib.closing(open_host(f"qemu:nvme,serial=1,file={image}")) as inner:
        host: Any = FaultyHost(inner, plan)
        for _ in range(2):
            with Autoconf(host) as autoconf:
                (nvme,) = autoconf.attach([Nvme])
                assert isinstance(nvme, Nvme)
                assert nvme.read(1, 1) == image.read_bytes()[512:1024]
            ccs = [NVME_CC(value) for at, value in plan.written if at == CC]
            assert [(cc.EN, cc.SHN) for cc in ccs[-3:]] == [(1, 0), (1, 1), (0, 0)]


# ---- data ------------------------------------------------------------------------------------

COUNTS = [1, 7, 8, 9, 15, 16, 17, 24, 25, 1023, 1024, 1025, 2048, 3001]


@pytest.mark.parametrize("intr", ["msix", "poll"])
def test_every_size_up_to_the_largest_and_beyond(image: Path, intr: str) -> None:
    data = bytearray(image.read_bytes())
    with attached(f"qemu:nvme,serial=1,file={image}", intr=intr) as nvme:
        assert nvme.disks[0].maxdata == 512 * 1024
        for count in COUNTS:
            assert nvme.read(3, count) == data[3 * 512 : (3 + count) * 512]
            data[512 * 5 : 512 * (5 + count)] = dice(count).randbytes(512 * count)
            nvme.write(5, data[512 * 5 : 512 * (5 + count)])
        nvme.flush()
        assert nvme.read(0, 0) == b""
    assert image.read_bytes() == data


@pytest.mark.parametrize("offset", [0, 4, 512, 2048, 4092])
def test_memory_of_the_caller_is_used_as_it_is(image: Path, offset: int) -> None:
    data = image.read_bytes()
    with attached(f"qemu:nvme,serial=1,file={image}", intr="poll") as nvme:
        area = DmaArea(nvme.controller.dmat, 256 * 1024, "test", page=4096)
        for count in (1, 7, 8, 9, 16, 17, 24, 500):
            view = area.view[offset : offset + 512 * count]
            nvme.disks[0].readinto(2, view)
            assert view == data[1024 : 1024 + 512 * count]
            nvme.disks[0].write(4000, view)
            if count == 1:  # only the reads below are bounced
                maps = [dmam for queue in nvme.controller.ioqs for dmam in queue.maps]
                assert not any(dmam.bounce for dmam in maps)
            assert nvme.read(4000, count) == view
            view.release()
        area.free()


def test_memory_at_an_odd_address_is_refused_without_a_command(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        area = DmaArea(nvme.controller.dmat, 8192, "test")
        before = submitted(nvme)
        with pytest.raises(BadRange, match="multiple of four"):
            nvme.disks[0].readinto(0, area.view[2:514])
        assert submitted(nvme) == before
        assert len(nvme.read(0, 8)) == 4096
        area.free()


@pytest.mark.parametrize("block", [512, 4096])
def test_random_writes_are_in_the_image(image: Path, block: int) -> None:
    data, chance = bytearray(image.read_bytes()), dice(block)
    url = f"qemu:nvme,serial=1,file={image},logical_block_size={block},physical_block_size={block}"
    with attached(url) as nvme:
        assert (nvme.block_size, nvme.blocks) == (block, 4 * MIB // block)
        for _ in range(40):
            count = chance.randint(1, 40)
            lba = chance.randrange(nvme.blocks - count)
            data[lba * block : (lba + count) * block] = chance.randbytes(count * block)
            nvme.write(lba, memoryview(data)[lba * block : (lba + count) * block])
        nvme.flush()
        assert image.read_bytes() == data
        assert nvme.read(0, nvme.blocks) == data


@pytest.mark.parametrize(("lba", "count"), [(8192, 1), (8191, 2), (-1, 1), (0, 8193), (1 << 64, 1)])
def test_blocks_outside_are_refused_without_a_command(image: Path, lba: int, count: int) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        before, disk = submitted(nvme), nvme.disks[0]
        calls: list[Callable[[], object]] = [
            lambda: disk.read(lba, count),
            lambda: disk.write(lba, bytes(512 * count)),
            lambda: disk.discard(lba, count),
            lambda: disk.write_zeroes(lba, count),
        ]
        for call in calls:
            with pytest.raises(BadRange):
                call()
        with pytest.raises(BadRange, match="whole blocks"):
            disk.write(0, b"abc")
        assert submitted(nvme) == before


def test_the_controller_refuses_what_we_do_not_check(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        nvme.disks[0].blocks += 100
        with pytest.raises(DriverError, match="LBA out of range") as caught:
            nvme.read(8192, 1)
        assert caught.value.errno == errno.EIO
        with pytest.raises(DriverError, match="LBA out of range"):
            nvme.write(8000, bytes(MIB // 8))
        assert len(nvme.read(0, 1)) == 512


def test_write_protected(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        before, disk = submitted(nvme), nvme.disks[0]
        disk.disk_readonly = True
        calls: list[Callable[[], object]] = [
            lambda: disk.write(0, bytes(512)),
            lambda: disk.discard(0, 1),
            lambda: disk.write_zeroes(0, 1),
            lambda: NvmeBatch(disk, 1, 1, write=True),
        ]
        for call in calls:
            with pytest.raises(DriverError) as caught:
                call()
            assert caught.value.errno == errno.EROFS
        assert submitted(nvme) == before


def test_discard_zeroes_and_health(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}") as nvme:
        disk = nvme.disks[0]
        disk.discard(100, 64)
        disk.discard(0, 0)
        disk.write_zeroes(8, 3000)
        assert disk.read(8, 3000) == bytes(3000 * 512)
        assert disk.read(3008, 8) == image.read_bytes()[3008 * 512 : 3016 * 512]
        reads = nvme.health().HOST_READS
        disk.read(0, 1)
        health = nvme.health()
        assert reads + 1 == health.HOST_READS
        assert 250 < health.TEMPERATURE < 400


# ---- limits and namespaces --------------------------------------------------------------------


@pytest.mark.parametrize(("mdts", "largest"), [(0, MIB), (1, 8192), (2, 16384)])
def test_transfers_are_split_at_what_the_controller_takes(
    image: Path, mdts: int, largest: int
) -> None:
    data = image.read_bytes()
    with attached(f"qemu:nvme,serial=1,file={image},mdts={mdts}", queues="1") as nvme:
        assert nvme.disks[0].maxdata == largest
        before = nvme.controller.ioqs[0].tail
        assert nvme.read(0, 4096) == data[: 2 * MIB]
        commands = 2 * MIB // largest
        assert (nvme.controller.ioqs[0].tail - before) % 64 == commands % 64
        assert nvme.read(1, 4097) == data[512 : 512 + 4097 * 512]


def test_namespaces_are_disks_of_their_own() -> None:
    lines: list[str] = []
    url = (
        "qemu:nvme,serial=1+nvme-ns,size=16M+nvme-ns,size=8M,nsid=7,logical_block_size=4096,physical_block_size=4096"
        "+nvme-ns,size=4M,ms=8"
    )
    with attached(url, console=Console(lines.append)) as nvme:
        assert [(disk.disk_name, disk.nsid) for disk in nvme.disks] == [("ld0", 1), ("ld1", 7)]
        assert [(disk.blocks, disk.block_size) for disk in nvme.disks] == [
            (32768, 512),
            (2048, 4096),
        ]
        assert disks_of(nvme) == nvme.disks
        for disk in nvme.disks:
            disk.write(9, bytes([disk.nsid]) * disk.block_size)
        assert [disk.read(9, 1)[:1] for disk in nvme.disks] == [b"\1", b"\7"]
        assert nvme.read(9, 1)[:1] == b"\1"
    assert "namespace 2 is not used" in "".join(lines)
    assert "format it without metadata" in "".join(lines)


def test_nothing_of_it_is_left_in_the_mirror(image: Path) -> None:
    with contextlib.closing(open_host(f"qemu:nvme,serial=1,file={image}")) as host:
        with Autoconf(host) as autoconf:
            (nvme,) = autoconf.attach([Nvme])
            assert isinstance(nvme, Nvme)
            nvme.read(0, 2000)
            assert len(host.dma()) > 9
            nvme.detach()
            assert host.dma() == []
            nvme.detach()  # there is nothing more to release
        assert host.dma() == []
