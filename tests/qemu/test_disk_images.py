"""A file system that we did not make goes through the nvme driver and stays what it is."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf, Driver
from rumpci.bus_dma import (
    BUS_DMA_WRITE,
    BUS_DMASYNC_PREWRITE,
    bus_dma_faults,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
)
from rumpci.disk import Disk
from rumpci.drivers.edu import DMA_LIMIT_US, DMA_POLL_US, Edu
from rumpci.drivers.edureg import (
    EDU_DMA_BUFFER,
    EDU_DMA_CMD,
    EDU_DMA_CNT,
    EDU_DMA_DST,
    EDU_DMA_MASK,
    EDU_DMA_SRC,
)
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.host import Host
from rumpci.host_dma import PAGE_SIZE
from rumpci.hosts import open_host
from tests.needs import found, program
from tests.waiting import until

from .needs import qemu
from .served import ran, served

MIB = 1 << 20
SIZE = 16 * MIB
BLOCK = 512
FS_BLOCK = 1024
LARGE = 3 * MIB
WAYS = ["iommu=on", "iommu=off", *(f"scatter={seed}" for seed in range(20))]


pytestmark = [qemu, program("mke2fs", "e2fsprogs")]


def tool(name: str, *arguments: str | Path) -> bytes:
    path = found(name)
    assert path
    return ran(path, *arguments)


def dice(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311


# ---- images and machines ---------------------------------------------------------------------


def fill(directory: Path) -> None:
    """Some hundred small files and three large ones."""
    chance = dice("files")
    for number in range(300):
        path = directory / f"{number % 7}" / f"small{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(5000)))
    for number in range(3):
        (directory / f"large{number}").write_bytes(chance.randbytes(LARGE))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 file system, made by mke2fs; nobody writes it."""
    place = tmp_path_factory.mktemp("ext4")
    (place / "files").mkdir()
    fill(place / "files")
    options = ["-q", "-F", "-t", "ext4", "-b", str(FS_BLOCK)]
    tool("mke2fs", *options, "-d", place / "files", place / "image", f"{SIZE // MIB}M")
    (place / "image").chmod(0o644)
    return place / "image"


def copied(image: Path, name: Path) -> Path:
    shutil.copyfile(image, name)
    return name


@contextlib.contextmanager
def attached(url: str, *drivers: type[Driver]) -> Iterator[tuple[Host, Sequence[Driver]]]:
    with contextlib.closing(open_host(url)) as host:
        with Autoconf(host) as autoconf:
            yield host, autoconf.attach(drivers or [Nvme])
        assert host.dma() == []
        assert host.dma_check() == []


def a_disk(device: Driver) -> Disk:
    assert isinstance(device, Disk)
    return device


def sha256_of(disk: Disk, seed: object = 0) -> str:
    """The digest of the whole disk, read from its start to its end in pieces of many sizes."""
    digest, chance, lba = hashlib.sha256(), dice(seed), 0
    while lba < disk.blocks:
        count = min(1 + int(2 ** chance.uniform(0, 13)), disk.blocks - lba)
        digest.update(disk.read(lba, count))
        lba += count
    return digest.hexdigest()


# ---- reading ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_is_the_image(original: Path, way: str) -> None:
    expected = hashlib.sha256(original.read_bytes()).hexdigest()
    with attached(f"qemu:nvme,serial=1,file={original}?{way}") as (host, (device,)):
        disk = a_disk(device)
        assert disk.blocks * disk.block_size == SIZE
        assert sha256_of(disk, way) == expected
        assert host.dma_check() == []
        assert host.dma()


# ---- writing -----------------------------------------------------------------------------


def an_extent(chance: random.Random, blocks: int) -> tuple[int, int]:
    """A random range of a disk: short mostly, long now and then."""
    count = min(1 + int(2 ** chance.uniform(0, 12)), blocks)
    return chance.randrange(blocks - count + 1), count


def write_somewhere(disk: Disk, model: bytearray, chance: random.Random) -> None:
    lba, count = an_extent(chance, disk.blocks)
    data = chance.randbytes(count * BLOCK)
    disk.write(lba, data)
    model[lba * BLOCK : (lba + count) * BLOCK] = data


@pytest.mark.parametrize("way", ["iommu=on", "iommu=off", "scatter=1", "scatter=2"])
def test_what_is_written_is_in_the_image(original: Path, tmp_path: Path, way: str) -> None:
    image, chance = copied(original, tmp_path / "image"), dice(way)
    model = bytearray(image.read_bytes())
    with attached(f"qemu:nvme,serial=1,file={image}?{way}") as (host, (device,)):
        disk = a_disk(device)
        for turn in range(150):
            write_somewhere(disk, model, chance)
            lba, count = an_extent(chance, disk.blocks)
            assert disk.read(lba, count) == model[lba * BLOCK : (lba + count) * BLOCK]
            if turn % 50 == 20:
                disk.flush()
                assert image.read_bytes() == model
        assert host.dma_check() == []
    assert image.read_bytes() == model


# ---- by NBD ------------------------------------------------------------------------------


def with_a_file_more(image: Path, name: str, data: bytes) -> None:
    """Have debugfs copy a file into the file system, which is attached nowhere now."""
    source = image.parent / "source"
    source.write_bytes(data)
    tool("debugfs", "-w", "-R", f"write {source} {name}", image)
    assert content(image, name) == data


def content(image: Path, name: str) -> bytes:
    return tool("debugfs", "-R", f"cat /{name}", image)


def first_block(image: Path, name: str) -> int:
    """Where on the disk, in bytes, a file begins."""
    return int(tool("debugfs", "-R", f"blocks /{name}", image).split()[0]) * FS_BLOCK


@program("nbdcopy", "libnbd-bin")
@program("qemu-io", "qemu-utils")
@pytest.mark.parametrize("way", ["iommu=on", "scatter=7"])
def test_a_file_system_survives_nbd(original: Path, tmp_path: Path, way: str) -> None:
    sent, disk, back = copied(original, tmp_path / "sent"), tmp_path / "disk", tmp_path / "back"
    new = dice("new").randbytes(100_000)
    with_a_file_more(sent, "new", new)
    at, size = first_block(sent, "large1"), 6 * FS_BLOCK
    disk.write_bytes(bytes(SIZE))
    with served(f"qemu:nvme,serial=1,file={disk}?{way}", tmp_path / "s") as uri:
        tool("nbdcopy", "--flush", sent, uri)
        orders = [f"write -P 0x5a {at} {size}", f"read -P 0x5a {at} {size}", "flush"]
        said = tool("qemu-io", "-f", "raw", *(w for o in orders for w in ("-c", o)), uri)
        assert b"verification failed" not in said
        tool("nbdcopy", uri, back)
    assert back.read_bytes() == disk.read_bytes()
    tool("e2fsck", "-fn", disk)
    assert content(disk, "new") == new
    assert content(disk, "large1") == b"\x5a" * size + content(original, "large1")[size:]


@program("nbdcopy", "libnbd-bin")
def test_writes_by_nbd_between_the_writes_of_another(original: Path, tmp_path: Path) -> None:
    """Bytes at any place and of any number, which need not be whole blocks."""
    disk, chance = copied(original, tmp_path / "disk"), dice("nbd")
    model, orders = bytearray(disk.read_bytes()), list[str]()
    for pattern in range(1, 60):
        size = 1 + int(2 ** chance.uniform(0, 19))
        at = chance.randrange(SIZE - size)
        model[at : at + size] = bytes([pattern]) * size
        flags = chance.choice(["", "-f "])
        orders += ["-c", f"write {flags}-P {pattern} {at} {size}"]
    with served(f"qemu:nvme,serial=1,file={disk}", tmp_path / "s") as uri:
        tool("qemu-io", "-f", "raw", *orders, "-c", "flush", uri)
        tool("nbdcopy", uri, tmp_path / "back")
    assert disk.read_bytes() == model
    assert (tmp_path / "back").read_bytes() == model


# ---- beside others -----------------------------------------------------------------------


def in_turns(one: NvmeBatch, two: NvmeBatch, chance: random.Random, blocks: int) -> list[int]:
    """Have both disks do the same reads at the same time."""
    lbas = [chance.randrange(blocks - 8) for _ in range(32)]
    one.submit(lbas)
    two.submit(lbas)
    two.wait()
    one.wait()
    return lbas


@pytest.mark.parametrize("way", ["iommu=on", "scatter=3"])
def test_two_disks_at_once(original: Path, tmp_path: Path, way: str) -> None:
    image, chance = copied(original, tmp_path / "other"), dice(way)
    image.write_bytes(image.read_bytes()[::-1])
    data, other = original.read_bytes(), image.read_bytes()
    url = f"qemu:nvme,serial=1,file={original}+nvme,serial=2,file={image}?{way}"
    with attached(url) as (host, (first, second)):
        assert isinstance(first, Nvme)
        assert isinstance(second, Nvme)
        assert [first.disk_name, second.disk_name] == ["ld0", "ld1"]
        with NvmeBatch(first.disks[0], 32, 8) as one, NvmeBatch(second.disks[0], 32, 8) as two:
            for _ in range(20):
                for n, lba in enumerate(in_turns(one, two, chance, first.blocks)):
                    assert one.views[n] == data[lba * BLOCK : (lba + 8) * BLOCK]
                    assert two.views[n] == other[lba * BLOCK : (lba + 8) * BLOCK]
        second.write(0, first.read(0, SIZE // BLOCK))
        second.flush()
        assert host.dma_check() == []
    assert image.read_bytes() == data


def start(edu: Edu, source: int, destination: int, size: int, *, to_ram: bool = False) -> None:
    """Begin a transfer, and wait for nothing."""
    EDU_DMA_SRC.write(edu.iot, edu.ioh, source)
    EDU_DMA_DST.write(edu.iot, edu.ioh, destination)
    EDU_DMA_CNT.write(edu.iot, edu.ioh, size)
    EDU_DMA_CMD.write(edu.iot, edu.ioh, RUN=1, TO_RAM=int(to_ram))


def ended(edu: Edu) -> None:
    EDU_DMA_CMD.wait(edu.iot, edu.ioh, DMA_LIMIT_US, every=DMA_POLL_US, RUN=0)


def test_a_disk_beside_an_edu_that_does_dma(original: Path) -> None:
    expected, data = hashlib.sha256(original.read_bytes()).hexdigest(), dice(1).randbytes(2000)
    with attached(f"qemu:nvme,serial=1,file={original}+edu", Nvme, Edu) as (host, (nvme, edu)):
        assert isinstance(edu, Edu)
        dmam = edu.dma_map(0, len(data))
        bus_dmamap_load(edu.dmat, dmam, data, flags=BUS_DMA_WRITE)
        bus_dmamap_sync(edu.dmat, dmam, 0, len(data), BUS_DMASYNC_PREWRITE)
        start(edu, dmam.dm_segs[0].ds_addr, EDU_DMA_BUFFER, len(data))
        assert sha256_of(a_disk(nvme)) == expected
        assert host.dma_check() == []
        ended(edu)
        bus_dmamap_unload(edu.dmat, dmam)
        assert edu.dma_read(0, len(data)) == data
        assert list(bus_dma_faults(edu.dmat)) == []


def test_an_edu_that_aims_at_the_disk_hits_nothing(original: Path) -> None:
    """What a bus address means is each device's own."""
    expected = hashlib.sha256(original.read_bytes()).hexdigest()
    with attached(f"qemu:nvme,serial=1,file={original}+edu", Nvme, Edu) as (host, (nvme, edu)):
        assert isinstance(edu, Edu)
        edu.dma_map(0, 1)
        queues = [s.ds_addr for row in host.dma() if row.who == "nvme0" for s in row.segments]
        target = max(addr for addr in queues if addr <= EDU_DMA_MASK) & -PAGE_SIZE
        start(edu, EDU_DMA_BUFFER, target, 64, to_ram=True)
        assert sha256_of(a_disk(nvme)) == expected
        ended(edu)
        faults = list(bus_dma_faults(edu.dmat))

        def told() -> bool:  # its event may be late
            faults.extend(bus_dma_faults(edu.dmat))
            return bool(faults)

        until(told)
        (fault,) = faults
        assert (fault.who, fault.verb, fault.addr) == ("edu0", "write", target)
