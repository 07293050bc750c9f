"""nvme on QEMU: the disk is the image, whatever the transfer, the interrupt and the accident."""

from __future__ import annotations

import contextlib
import errno
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rumpci.autoconf import Autoconf, Console
from rumpci.cpu import Cpu
from rumpci.disk import Disk, disks_of
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmedma import DmaArea
from rumpci.drivers.nvmeq import QueuePair
from rumpci.drivers.nvmereg import NVME_CC, NVME_SC_ABORT_REQUESTED
from rumpci.errors import BadRange, DmaBusy, DriverAttachError, DriverError
from rumpci.host import Host
from rumpci.hosts import open_host
from rumpci.wrap.preempt import Preempting

from .needs import qemu

pytestmark = qemu
MIB = 1 << 20
SQ_DOORBELL, CSTS, CC = [0x1000, 0x1008, 0x1010], 0x1C, NVME_CC.offset


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


class Faulty:
    """A host, claim or window like `inner`; what `plan` says goes wrong in its windows."""

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Plan:
    """Writes that get lost, by offset and how often; what reads as something else; a record."""

    def __init__(self) -> None:
        self.lose: Counter[int] = Counter()
        self.reads: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []


class FaultyHost(Faulty):
    def claim(self, *args: Any) -> FaultyClaim:
        return FaultyClaim(self._inner.claim(*args), self._plan)


class FaultyClaim(Faulty):
    def window(self, *args: Any, **kwargs: Any) -> FaultyWindow:
        return FaultyWindow(self._inner.window(*args, **kwargs), self._plan)


class FaultyWindow(Faulty):
    mapping = None

    def read(self, position: int, width: int) -> int:
        at = self.offset + position
        return self._plan.reads.get(at) or int(self._inner.read(position, width))

    def write(self, position: int, width: int, value: int) -> None:
        at = self.offset + position
        self._plan.written.append((at, value))
        if self._plan.lose[at]:
            self._plan.lose[at] -= 1
        else:
            self._inner.write(position, width, value)


@contextlib.contextmanager
def attached(
    url: str, plan: Plan | None = None, console: Console | None = None, **properties: str
) -> Iterator[Nvme]:
    with contextlib.closing(open_host(url)) as inner:
        host: Host = FaultyHost(inner, plan) if plan else inner
        with Autoconf(host, console, {"nvme": properties}) as autoconf:
            (nvme,) = autoconf.attach([Nvme])
            assert isinstance(nvme, Nvme)
            yield nvme


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of 4 MiB of bytes that differ."""
    path = tmp_path / "image"
    path.write_bytes(dice(1).randbytes(4 * MIB))
    return path


def submitted(nvme: Nvme) -> list[int]:
    return [queue.tail for queue in nvme.controller.queues]


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


# ---- batches ---------------------------------------------------------------------------------


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


# ---- accidents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
def test_a_lost_command_is_aborted_then_the_controller_is_reset(image: Path, intr: str) -> None:
    plan, data = Plan(), image.read_bytes()
    url = f"qemu:nvme,serial=1,file={image}"
    with attached(url, plan, intr=intr, timeout="200", queues="1") as nvme:
        plan.lose[SQ_DOORBELL[1]] = 1
        with pytest.raises(DriverError, match="reset before it completed") as caught:
            nvme.read(0, 8)
        assert caught.value.errno == errno.ETIMEDOUT
        assert (nvme.controller.aborts, nvme.controller.resets) == (1, 1)
        for lba in range(70):
            assert nvme.read(lba, 1) == data[lba * 512 : (lba + 1) * 512]
        assert nvme.read(0, 5000) == data[: 5000 * 512]
        assert (nvme.controller.aborts, nvme.controller.resets) == (1, 1)


def test_a_lost_batch_fails_and_the_next_does_not(image: Path) -> None:
    plan = Plan()
    url = f"qemu:nvme,serial=1,file={image}"
    with (
        attached(url, plan, intr="poll", timeout="200", queues="1") as nvme,
        NvmeBatch(nvme.disks[0], 4, 8) as batch,
    ):
        plan.lose[SQ_DOORBELL[1]] = 1
        batch.submit([0, 8, 16])
        with pytest.raises(DriverError) as caught:
            batch.wait()
        assert caught.value.errno == errno.ETIMEDOUT
        batch.submit([8])
        batch.wait()
        assert batch.views[0] == image.read_bytes()[4096:8192]


def test_a_command_that_the_controller_aborts(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU aborts nothing, so the completion that an abort brings is put there."""
    plan = Plan()

    def abort(queue: QueuePair, cid: int) -> bool:
        words, at, phase = queue.cq.view.cast("I"), queue._at, queue._phase
        words[at] = NVME_SC_ABORT_REQUESTED << 17 | phase << 16 | cid
        return True

    with attached(f"qemu:nvme,serial=1,file={image}", plan, timeout="200") as nvme:
        monkeypatch.setattr(nvme.controller, "abort", abort)
        plan.lose.update([SQ_DOORBELL[1], SQ_DOORBELL[2]])
        with pytest.raises(DriverError, match="was aborted") as caught:
            nvme.read(0, 8)
        assert caught.value.errno == errno.ETIMEDOUT
        assert nvme.controller.resets == 0


def test_a_lost_admin_command_brings_a_reset(image: Path) -> None:
    plan = Plan()
    with attached(f"qemu:nvme,serial=1,file={image}", plan, timeout="200") as nvme:
        plan.lose[SQ_DOORBELL[0]] = 1
        with pytest.raises(DriverError, match="reset before it completed"):
            nvme.health()
        assert (nvme.controller.aborts, nvme.controller.resets) == (0, 1)
        assert nvme.read(9, 1) == image.read_bytes()[9 * 512 : 10 * 512]
        assert nvme.health().HOST_READS >= 1


def test_a_lost_interrupt_loses_no_data(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}", timeout="200", queues="1") as nvme:
        (told,) = [queues for queues in nvme.told if nvme.controller.ioqs[0] in queues]
        told.clear()
        assert nvme.read(9, 1) == image.read_bytes()[9 * 512 : 10 * 512]
        assert (nvme.controller.ioqs[0].lost, nvme.controller.resets) == (1, 0)


def test_a_controller_that_is_gone(image: Path) -> None:
    plan, lines = Plan(), list[str]()
    with attached(
        f"qemu:nvme,serial=1,file={image}", plan, Console(lines.append), timeout="200"
    ) as nvme:
        plan.lose.update([SQ_DOORBELL[1], SQ_DOORBELL[2]])
        plan.reads[CSTS] = 0xFFFF_FFFF
        with pytest.raises(DriverError, match="no controller answers") as caught:
            nvme.read(0, 1)
        assert caught.value.errno == errno.ENXIO
    assert "nvme0: shutting down: nvme0: reading CSTS: no controller answers" in "".join(lines)
    assert lines[-1] == "nvme0: detached\n"


def test_a_controller_with_a_fatal_status_is_reset(image: Path) -> None:
    plan = Plan()
    with attached(
        f"qemu:nvme,serial=1,file={image}", plan, intr="poll", timeout="60000", queues="1"
    ) as nvme:
        plan.lose[SQ_DOORBELL[1]] = 1
        queue, healthy = nvme.controller.ioqs[0], nvme.controller.healthy
        queue.healthy = lambda: False
        nvme.controller.healthy = lambda: False  # type: ignore[method-assign]
        with pytest.raises(DriverError, match="reset before it completed"):
            nvme.read(0, 1)
        queue.healthy = healthy
        assert (nvme.controller.aborts, nvme.controller.resets) == (0, 1)
        assert len(nvme.read(0, 1)) == 512


@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
def test_wherever_handlers_run(image: Path, cpu: Cpu, intr: str) -> None:
    data, properties = image.read_bytes(), {"nvme": {"intr": intr, "timeout": "5000"}}
    with contextlib.closing(Preempting(open_host(f"qemu:nvme,serial=1,file={image}"))) as host:
        for seed in range(6):
            cpu.seed(seed)
            with Autoconf(host, properties=properties) as autoconf:
                (nvme,) = autoconf.attach([Nvme])
                assert isinstance(nvme, Nvme)
                with NvmeBatch(nvme.disks[0], 20, 3) as batch:
                    for turn in range(10):
                        batch.submit(range(turn, turn + 20))
                        assert nvme.read(turn, 9) == data[turn * 512 : (turn + 9) * 512]
                        batch.wait()
                        at = (turn + 19) * 512
                        assert batch.views[19] == data[at : at + 3 * 512]
                assert nvme.controller.resets == 0
                assert sum(queue.lost + queue.unexpected for queue in nvme.controller.queues) == 0
            cpu.seed(None)
    assert not cpu.failures


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
