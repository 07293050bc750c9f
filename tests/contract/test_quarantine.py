"""Rule 9: a driver fails at any point, and no byte changes that its device had no right to.

All of the machine's memory is compared, with what the device might write in between.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from rumpci import pcireg as pr
from rumpci.autoconf import Autoconf
from rumpci.bus_dma import BUS_DMA_READ, bus_dmamem_alloc, bus_dmamem_map
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmereg import NvmOp
from rumpci.errors import DmaError
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece, Segment
from rumpci.hosts import open_host
from rumpci.machines.model.config import CapSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.qemu.machine import QemuMachine
from tests.qemu.needs import qemu
from tests.qemu.raw_dma import RawEdu

PAGE = 4096
WILDNESS = 0.1  # how often it also tries what it may not: each blocked write is a fault to tell
MASTER = pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE


class Wild(Model):
    """A device that writes wherever it ever was told, whenever it likes."""

    config = ConfigSpec(0x1234, 0x0D0B, 0x088000)

    def __init__(self) -> None:
        self.known: list[Segment] = []

    def run(self, rng: random.Random, count: int = 20) -> None:
        for addr, size in rng.sample(self.known, min(count, len(self.known))):
            at = addr + rng.choice([0, -PAGE, PAGE, size, size // 2])
            self.dma.write(at, b"\xee" * rng.choice([1, 64, PAGE]))


class Failed(Exception):
    """What the driver raises."""


class Bench:
    """A wild device and a neighbour, whose memory never changes."""

    def __init__(self) -> None:
        self.models = [Wild(), Wild()]
        self.machine = ModelMachine(self.models, memory=4 << 20)
        self.host = Guard(self.machine)
        self.places = [f.address for f in self.host.functions() if not f.is_bridge]
        self.neighbour = self.host.claim(self.places[1], "neighbour")
        self.theirs = self.neighbour.dma_alloc(MemorySpec(8 * PAGE, name="theirs"))
        memoryview(self.theirs.view)[:] = b"\x11" * (8 * PAGE)
        dmam = self.neighbour.dma_map(MapSpec(8 * PAGE, 8, 8 * PAGE))
        dmam.load([Piece(self.theirs, 0, 8 * PAGE)], Direction.BOTH)

    def all_memory(self) -> bytes:
        data = self.machine.memory.read(0, self.machine.memory.size)
        assert data is not None
        return data


def granted(host: Guard, place: Any) -> set[int]:
    """The pages that the function may write, as the tables have it."""
    return {
        grant.page + at
        for grant in host.iommu()
        if grant.device == place and Direction.READ in grant.direction
        for at in range(0, grant.size, PAGE)
    }


def changed(before: bytes, after: bytes) -> set[int]:
    if before == after:
        return set()
    pages = range(0, len(before), PAGE)
    return {at for at in pages if before[at : at + PAGE] != after[at : at + PAGE]}


class Driver:
    """Loads, has the device write, unloads and frees, until the dice say that it fails."""

    def __init__(self, claim: GuardClaim, model: Wild, rng: random.Random, steps: int) -> None:
        self.claim, self.model, self.rng, self.left = claim, model, rng, steps
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, MASTER)

    def step(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Failed

    def transfer(self) -> None:
        rng, size = self.rng, PAGE * self.rng.randint(1, 4)
        memory = self.claim.dma_alloc(MemorySpec(size, nsegs=2))
        self.step()
        dmam = self.claim.dma_map(MapSpec(size, 8, size))
        segments = dmam.load([Piece(memory, 0, size)], rng.choice(list(Direction)))
        self.model.known = [*self.model.known[-200:], *segments]
        self.step()
        if rng.random() < WILDNESS:
            self.model.run(rng, 3)
        dmam.unload()
        self.step()
        if rng.random() < 0.9:
            dmam.destroy()
            memory.free()


def one_life(bench: Bench, rng: random.Random, steps: int) -> None:
    """A driver from claim to failure; only what it was granted changes, then nothing."""
    model, claim = bench.models[0], bench.host.claim(bench.places[0], "driver")
    driver = Driver(claim, model, rng, steps)
    with contextlib.suppress(Failed):
        while True:
            with contextlib.suppress(DmaError):
                driver.transfer()
    before, may = bench.all_memory(), granted(bench.host, bench.places[0])
    model.run(rng)
    assert changed(before, bench.all_memory()) <= may
    claim.release()
    bench.machine.conf_write(bench.places[0], pr.PCI_COMMAND_STATUS_REG, MASTER)
    before = bench.all_memory()
    model.run(rng)
    assert bench.all_memory() == before, "it reaches something after release"
    bench.machine.conf_write(bench.places[0], pr.PCI_COMMAND_STATUS_REG, 0)


def test_two_hundred_drivers_that_fail() -> None:
    rng, bench, free = random.Random(9), Bench(), set[int]()  # noqa: S311
    with contextlib.closing(bench.host):
        for _ in range(200):
            one_life(bench, rng, rng.randint(1, 1000))
            free.add(bench.host.mirror.pool.free)
            assert bench.host.dma_check() == []
            assert len(bench.host.dma()) == 2
        assert len(free) == 1, "the pool is not whole"
        assert set(memoryview(bench.theirs.view)) == {0x11}


# ---- the order of it -----------------------------------------------------------------------

_EXPRESS = CapSpec(
    pr.PCI_CAP_PCIEXPRESS,
    bytes(2) + (1 << 28).to_bytes(4, "little") + bytes(52),
    bytes(6) + b"\xff\xff" + bytes(50),
)


class Resettable(Model):
    config = ConfigSpec(0x1234, 0x0D0C, 0x088000, interrupt_pin=1, capabilities=[_EXPRESS])


def test_the_order_of_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mask, no bus mastering, wait, reset; then revoke; then reuse."""
    machine = ModelMachine([Resettable()], memory=1 << 20)
    host, did = Guard(machine), list[str]()
    (at,) = [f.address for f in host.functions() if not f.is_bridge]
    claim = host.claim(at, "c")
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, MASTER)
    memory = claim.dma_alloc(MemorySpec(PAGE))
    claim.dma_map(MapSpec(PAGE, 1, PAGE)).load([Piece(memory, 0, PAGE)], Direction.BOTH)
    express = claim._config.caps[pr.PCI_CAP_PCIEXPRESS]
    write, read = machine.conf_write, machine.conf_read

    def spy_write(address: Any, reg: int, value: int) -> None:
        if reg == pr.PCI_COMMAND_STATUS_REG:
            did.append("master on" if value & pr.PCI_COMMAND_MASTER_ENABLE else "master off")
        if reg == express + 8 and value & 1 << 15:
            did.append("reset")
        write(address, reg, value)

    def spy_read(address: Any, reg: int) -> int:
        if reg == express + 8 and did and did[-1] == "master off":
            did.append("wait")
        return read(address, reg)

    def spy(target: Any, name: str, word: str) -> None:
        real = getattr(target, name)

        def told(*args: Any, **kwargs: Any) -> Any:
            did.append(word)
            return real(*args, **kwargs)

        monkeypatch.setattr(target, name, told)

    monkeypatch.setattr(machine, "conf_write", spy_write)
    monkeypatch.setattr(machine, "conf_read", spy_read)
    spy(claim.interrupts, "release", "mask")
    spy(claim.dma.domain, "detach", "revoke")
    spy(host.mirror.pool, "put", "reuse")
    claim.release()
    first = [step for n, step in enumerate(did) if step not in did[:n]]
    assert first == ["mask", "master off", "wait", "reset", "revoke", "reuse"]
    assert not read(at, pr.PCI_COMMAND_STATUS_REG) & pr.PCI_COMMAND_MASTER_ENABLE
    host.close()


# ---- QEMU ----------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(url: str) -> Iterator[Guard]:
    with contextlib.closing(open_host(url)) as host:
        assert isinstance(host, Guard)
        yield host


def ram(host: Guard) -> bytes:
    """What is not the machine's own: that has the interrupt counts."""
    start, end = host.machine.memory.usable[-1]
    with open(f"/proc/self/fd/{host.machine.memory.fd}", "rb") as file:
        file.seek(start)
        return file.read(end - start)


def under_load(nvme: Nvme, rng: random.Random) -> None:
    """Reads in flight into memory of the driver's, then the driver fails."""
    tag, disk = nvme.controller.dmat, nvme.disks[0]
    segs = bus_dmamem_alloc(tag, 16 * 16384, 0, 0)
    view = bus_dmamem_map(tag, segs, 16 * 16384)
    queue = disk.queue()
    for n in range(rng.randint(1, 16)):
        part = view[16384 * n : 16384 * (n + 1)]
        queue.start(disk.rw(NvmOp.READ, 32 * n, 32), part, BUS_DMA_READ)
        if rng.random() < 0.5:
            queue.ring()
    queue.ring()
    raise Failed


def crash(host: Guard, rng: random.Random) -> None:
    """A driver that fails with I/O in flight, and whose `detach` is never reached."""
    with Autoconf(host) as autoconf:
        (nvme,) = autoconf.attach([Nvme])
        assert isinstance(nvme, Nvme)
        assert nvme.read(0, 8) == bytes(4096)
        claim = nvme.controller.dmat.root.claim
        assert claim is not None
        with contextlib.suppress(Failed):
            under_load(nvme, rng)
        nvme.detach = lambda: None  # type: ignore[method-assign]
        claim.release()


class Neighbour:
    """edu's client has memory that the device may reach, and it stays as it is."""

    def __init__(self, host: Guard) -> None:
        (self.address,) = [f.address for f in host.functions() if f.id == 0x11E8_1234]
        claim, size = host.claim(self.address, "neighbour"), 4 << 20
        self.memory = claim.dma_alloc(MemorySpec(size))
        memoryview(self.memory.view)[:] = b"\x11" * size
        claim.dma_map(MapSpec(size, 8, size)).load([Piece(self.memory, 0, size)], Direction.BOTH)

    def as_it_was(self) -> bool:
        return bytes(self.memory.view) == b"\x11" * len(self.memory.view)


@qemu
def test_nvme_that_fails_under_load() -> None:
    rng, free = random.Random(4), set[int]()  # noqa: S311
    with opened("qemu:nvme,serial=1,size=16M+edu?memory=16M") as host:
        theirs = Neighbour(host)
        (at,) = [f.address for f in host.functions() if f.class_ >> 16 == 0x0108]
        for _ in range(60):
            crash(host, rng)
            before = ram(host)
            command = host.conf_read(at, pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
            assert not command & pr.PCI_COMMAND_MASTER_ENABLE
            bar = host.machine.bar(at, 0)
            host.machine.conf_write(at, pr.PCI_COMMAND_STATUS_REG, MASTER)
            assert not bar.read(0x14, 4) & 1, "CC.EN: it was not reset"
            assert not bar.read(0x1C, 4) & 1, "CSTS.RDY"
            bar.write(0x1000, 4, 1)
            host.machine.conf_write(at, pr.PCI_COMMAND_STATUS_REG, command)
            assert len(host.dma()) == 2, "the neighbour's"
            assert {grant.device for grant in host.iommu()} == {theirs.address}
            assert host.dma_check() == []
            assert theirs.as_it_was()
            assert ram(host) == before
            free.add(host.mirror.pool.free)
    assert len(free) == 1


def raw(host: Guard, at: Any) -> RawEdu:
    assert isinstance(host.machine, QemuMachine)
    return RawEdu(host.machine, at)


def started(host: Guard, addr: int, at: Any) -> RawEdu:
    """edu begins to write to `addr`, and will in 100 ms."""
    edu = raw(host, at)
    edu.start(0x40000, addr, 64, 3)
    return edu


@qemu
@pytest.mark.parametrize("iommu", ["on", "off"])
def test_a_transfer_that_ends_after_release(iommu: str) -> None:
    """edu cannot be reset: its timer runs on, the function's next client turns it on again."""
    with opened(f"qemu:edu+edu?memory=16M&iommu={iommu}") as host:
        one, two = [f.address for f in host.functions() if f.id == 0x11E8_1234]
        claim = host.claim(one, "old")
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, MASTER)
        high = 0xFFF_FFFF  # edu has 28 address bits
        memory = claim.dma_alloc(MemorySpec(PAGE, high=high))
        claim.dma_map(MapSpec(PAGE, 1, PAGE)).load([Piece(memory, 0, PAGE)], Direction.BOTH)
        memoryview(memory.view)[:] = b"\x77" * PAGE
        raw(host, one).read(memory.segments[0].ds_addr)
        edu = started(host, memory.segments[0].ds_addr + 128, one)
        claim.release()
        other = host.claim(two, "other")
        taken = []
        with contextlib.suppress(DmaError):
            while True:
                taken.append(other.dma_alloc(MemorySpec(64 << 10)))
        if iommu == "on":
            again = host.claim(one, "next")
            mine = again.dma_alloc(MemorySpec(PAGE, high=high))
            again.dma_map(MapSpec(PAGE, 1, PAGE)).load([Piece(mine, 0, PAGE)], Direction.BOTH)
            taken.append(mine)
        host.machine.conf_write(one, pr.PCI_COMMAND_STATUS_REG, MASTER)
        before = ram(host)
        edu.finish()
        if iommu == "on":
            assert ram(host) == before
        assert not any(any(memoryview(memory.view)) for memory in taken)
        assert host.dma_check() == []
