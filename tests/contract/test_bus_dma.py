"""bus_dma(9) as a whole, against the model of dma_model.py: random calls, good and bad.

After every step the mirror says what the model says, and agrees with the IOMMU's tables.
On a model machine a device then reads and writes where it may and where it may not.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from rumpci import bus_dma as bd
from rumpci._dma import SharedMemory
from rumpci.bus_dma import BusDmamap, BusDmaTag, DmaRoot
from rumpci.errors import BadDma, DeadDma, DmaBusy, NoDmaMemory, TooManySegments
from rumpci.guard import Guard
from rumpci.host import Address, Claim, Host
from rumpci.hosts import open_host
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine
from tests.pci4_served import served
from tests.qemu.needs import qemu

from .dma_model import PAGE, READ, WRITE, Buffer, Load, Memory, Part, permission

FLAGS = {READ: bd.BUS_DMA_READ, WRITE: bd.BUS_DMA_WRITE, READ | WRITE: 0}
SYNCS = [bd.BUS_DMASYNC_PREREAD, bd.BUS_DMASYNC_POSTREAD, bd.BUS_DMASYNC_PREWRITE,
         bd.BUS_DMASYNC_POSTWRITE, 5, 10, 3, 15, 0, 16]  # fmt: skip


class Probe(Model):
    """A device that does DMA as the test tells it."""

    config = ConfigSpec(0x1234, 0x0D0A, 0x088000)


class Dmam:
    """A map: the real one, and what should be loaded."""

    def __init__(self, real: BusDmamap, size: int, nsegments: int, most: int, bound: int) -> None:
        self.real, self.size, self.nsegments = real, size, nsegments
        self.most, self.boundary = most, bound
        self.load: Load | None = None


class BusDma(RuleBasedStateMachine):
    """Rules are calls; `scatter` and what the machine is are the subclasses' choice."""

    private: str | None = None
    memories: Bundle[Any] = Bundle("memories")
    maps: Bundle[Any] = Bundle("maps")

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.host = self.open()
        self.stack.callback(self.host.close)
        self.probe: Probe | None = self.find_probe()
        function = next(f for f in self.host.functions() if not f.is_bridge)
        self.claim = self.take(function.address)
        root = DmaRoot("test0")
        root.claim = self.claim
        self.tag = BusDmaTag(root)
        self.all_memories: list[Memory] = []
        self.all_maps: list[Dmam] = []
        self.pool_before = self.host.mirror.pool.free
        command = self.claim.conf_read(4)
        self.claim.conf_write(4, command & 0xFFFF | 4)

    def open(self) -> Guard:
        raise NotImplementedError

    def take(self, address: Address) -> Claim:
        return self.host.claim(address, "test0", private=self.private)

    def find_probe(self) -> Probe | None:
        return None

    # ---- memory -----------------------------------------------------------------------

    @initialize(target=memories)
    def some_memory(self) -> Memory:
        made: Memory = self.alloc(3 * PAGE, 0, 0, 3, 0, (1 << 64) - 1)  # type: ignore[assignment]
        self.map(made)
        return made

    @initialize(target=maps)
    def some_maps(self) -> MultipleResults[Dmam]:
        made: list[Any] = [self.create(8 * PAGE, 40, 1 << 20, 0, 0) for _ in range(3)]
        return multiple(*made)

    @rule(
        target=memories,
        size=st.integers(1, 6 * PAGE),
        alignment=st.sampled_from([0, 1, PAGE, 4 * PAGE, 1 << 16]),
        boundary=st.sampled_from([0, 1 << 15, 1 << 20]),
        nsegs=st.integers(1, 5),
        low=st.sampled_from([0, 0x10_0000]),
        high=st.sampled_from([0xFF_FFFF, 0xFFFF_FFFF, (1 << 64) - 1]),
    )
    def alloc(
        self, size: int, alignment: int, boundary: int, nsegs: int, low: int, high: int
    ) -> Memory:
        tag = bd.bus_dmatag_subregion(self.tag, low, high)
        segs = bd.bus_dmamem_alloc(tag, size, alignment, boundary, nsegs)
        rounded = -(-size // PAGE) * PAGE
        assert 1 <= len(segs) <= nsegs
        assert sum(seg.ds_len for seg in segs) == rounded
        for seg in segs:
            assert seg.ds_addr % max(alignment, PAGE) == 0
            assert low <= seg.ds_addr
            assert seg.ds_addr + seg.ds_len - 1 <= high
            if boundary:
                assert (
                    seg.ds_addr // boundary == (seg.ds_addr + min(size, seg.ds_len) - 1) // boundary
                )
        made = Memory(segs, bytearray(rounded))
        self.all_memories.append(made)
        return made

    @rule(
        size=st.sampled_from([-1, 0, PAGE]),
        alignment=st.sampled_from([3, 1 << 70, PAGE]),
        boundary=st.sampled_from([0, 3 * PAGE, PAGE // 2]),
        nsegs=st.sampled_from([0, 1]),
    )
    def alloc_nonsense(self, size: int, alignment: int, boundary: int, nsegs: int) -> None:
        if (size, alignment, boundary, nsegs) == (PAGE, PAGE, 0, 1):
            return
        with pytest.raises(BadDma):
            bd.bus_dmamem_alloc(self.tag, size, alignment, boundary, nsegs)

    @rule(size=st.sampled_from([1 << 40]))
    def alloc_too_much(self, size: int) -> None:
        with pytest.raises(NoDmaMemory.__mro__[1]):
            bd.bus_dmamem_alloc(self.tag, size, 0, 0)

    @rule(memory=memories)
    def map(self, memory: Memory) -> None:
        if memory not in self.all_memories:
            return
        kva = bd.bus_dmamem_map(self.tag, memory.segs, len(memory.content))
        assert bytes(kva) == bytes(memory.content)
        memory.kvas.append(kva)

    @rule(memory=memories, at=st.integers(0, 6 * PAGE), value=st.integers(0, 255))
    def poke(self, memory: Memory, at: int, value: int) -> None:
        """The driver writes to memory."""
        if memory.kvas and at < len(memory.content):
            memory.kvas[0][at] = value
            memory.content[at] = value

    @rule(memory=memories)
    def unmap(self, memory: Memory) -> None:
        if memory.kvas:
            bd.bus_dmamem_unmap(self.tag, memory.kvas.pop(), len(memory.content))

    @rule(memory=memories)
    def free(self, memory: Memory) -> None:
        if memory not in self.all_memories:
            with pytest.raises(DeadDma):
                bd.bus_dmamem_free(self.tag, memory.segs)
        elif memory.kvas or memory.loads:
            with pytest.raises(DmaBusy):
                bd.bus_dmamem_free(self.tag, memory.segs)
        else:
            bd.bus_dmamem_free(self.tag, memory.segs)
            self.all_memories.remove(memory)

    # ---- maps --------------------------------------------------------------------------

    @rule(
        target=maps,
        size=st.sampled_from([1, 100, PAGE, 3 * PAGE, 8 * PAGE]),
        nsegments=st.sampled_from([1, 2, 9, 40]),
        most=st.sampled_from([512, PAGE, 1 << 20]),
        boundary=st.sampled_from([0, PAGE, 1 << 16]),
        flags=st.sampled_from([0, bd.BUS_DMA_ALLOCNOW, bd.BUS_DMA_NOWAIT]),
    )
    def create(self, size: int, nsegments: int, most: int, boundary: int, flags: int) -> Dmam:
        real = bd.bus_dmamap_create(self.tag, size, nsegments, most, boundary, flags)
        assert (real.dm_mapsize, real.dm_nsegs, real.dm_maxsegsz) == (0, 0, most)
        made = Dmam(real, size, nsegments, most, boundary)
        self.all_maps.append(made)
        return made

    @rule(bad=st.sampled_from([(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, 3)]))
    def create_nonsense(self, bad: tuple[int, int, int, int]) -> None:
        with pytest.raises(BadDma):
            bd.bus_dmamap_create(self.tag, *bad)

    @rule(dmam=maps)
    def destroy(self, dmam: Dmam) -> None:
        if dmam not in self.all_maps:
            with pytest.raises(DeadDma):
                bd.bus_dmamap_destroy(self.tag, dmam.real)
        elif dmam.load:
            with pytest.raises(DmaBusy):
                bd.bus_dmamap_destroy(self.tag, dmam.real)
        else:
            bd.bus_dmamap_destroy(self.tag, dmam.real)
            self.all_maps.remove(dmam)

    @rule(
        dmam=maps,
        sizes=st.lists(st.integers(0, 3 * PAGE), min_size=1, max_size=3),
        direction=st.sampled_from([READ, WRITE, READ | WRITE]),
        fill=st.integers(0, 255),
    )
    def load_buffers(self, dmam: Dmam, sizes: list[int], direction: int, fill: int) -> None:
        """Buffers of the process: they bounce."""
        parts, at = [], 0
        for size in sizes:
            if size:
                buffer = Buffer(bytearray([fill]) * size, [fill] * size)
                parts.append(Part(at, size, 0, buffer=buffer, copy=[None] * size))
                at += size
        buffers = [part.buffer.real for part in parts if part.buffer] + [bytearray()]
        load = Load(parts, direction, at)
        self.try_load(
            dmam,
            load,
            lambda: bd.bus_dmamap_load_uio(self.tag, dmam.real, buffers, FLAGS[direction]),
        )

    @rule(
        dmam=maps,
        memory=memories,
        start=st.integers(0, 3 * PAGE),
        size=st.integers(0, 6 * PAGE),
        direction=st.sampled_from([READ, WRITE, READ | WRITE]),
    )
    def load_kva(self, dmam: Dmam, memory: Memory, start: int, size: int, direction: int) -> None:
        """A part of an allocation by its view: it does not bounce."""
        size = min(size, len(memory.content) - start, max(dmam.size, start))
        if memory.kvas and size > 0:
            load = Load([Part(0, size, start, memory)], direction, size)
            view = memory.kvas[0][start : start + size]
            self.try_load(
                dmam,
                load,
                lambda: bd.bus_dmamap_load(self.tag, dmam.real, view, size, None, FLAGS[direction]),
            )

    @rule(dmam=maps, memory=memories, size=st.integers(1, 6 * PAGE))
    def load_raw(self, dmam: Dmam, memory: Memory, size: int) -> None:
        if memory not in self.all_memories:
            with pytest.raises((BadDma, DeadDma, DmaBusy)):
                bd.bus_dmamap_load_raw(self.tag, dmam.real, memory.segs, size)
            return
        if size <= len(memory.content):
            load = Load([Part(0, size, 0, memory)], READ | WRITE, size)
            self.try_load(
                dmam, load, lambda: bd.bus_dmamap_load_raw(self.tag, dmam.real, memory.segs, size)
            )

    def try_load(self, dmam: Dmam, load: Load, call: Any) -> None:
        if dmam not in self.all_maps:
            with pytest.raises(DeadDma):
                call()
        elif dmam.load:
            with pytest.raises(DmaBusy):
                call()
        elif not 0 < load.size <= dmam.size:
            with pytest.raises(BadDma):
                call()
        else:
            try:
                call()
            except TooManySegments:
                assert self.may_be_too_many(dmam, load)
                assert dmam.real.dm_mapsize == dmam.real.dm_nsegs == 0
            else:
                self.loaded(dmam, load)

    def may_be_too_many(self, dmam: Dmam, load: Load) -> bool:
        """Whether EFBIG is right: it is not if everything fits however it lies."""
        limit = min(dmam.most, dmam.boundary or dmam.most)
        return self.worst(load, limit) > dmam.nsegments

    def worst(self, load: Load, limit: int) -> int:
        """The most segments that it can come to: each part apart, each cut where it can be."""
        own = [p for p in load.parts if p.memory is None]
        pieces = [p.size for p in load.parts if p.memory] + (
            [sum(p.size for p in own)] if own else []
        )
        known = sum(len(p.memory.segs) - 1 for p in load.parts if p.memory)
        return sum(-(-size // limit) + (limit != 1 << 20) for size in pieces) + known

    def loaded(self, dmam: Dmam, load: Load) -> None:
        real = dmam.real
        dmam.load = load
        for part in load.parts:
            if part.memory:
                part.memory.loads.append(load)
        assert real.dm_mapsize == load.size
        assert real.dm_nsegs == len(real.dm_segs) <= dmam.nsegments
        assert sum(seg.ds_len for seg in real.dm_segs) == load.size
        for addr, length in real.dm_segs:
            assert 0 < length <= dmam.most
            if dmam.boundary:
                assert addr // dmam.boundary == (addr + length - 1) // dmam.boundary

    @rule(dmam=maps)
    def unload(self, dmam: Dmam) -> None:
        if dmam.load is None:
            with pytest.raises(BadDma if dmam in self.all_maps else DeadDma):
                bd.bus_dmamap_unload(self.tag, dmam.real)
            return
        addr, first = dmam.real.dm_segs[0].ds_addr, dmam.load.parts[0]
        self.device_writes(dmam, 0, 0x55)  # now the IOMMU has it in its cache
        for part in dmam.load.parts:
            if part.memory:
                part.memory.loads.remove(dmam.load)
        dmam.load = None
        bd.bus_dmamap_unload(self.tag, dmam.real)
        self.blocked_after_unload(addr, first)
        assert dmam.real.dm_mapsize == dmam.real.dm_nsegs == len(dmam.real.dm_segs) == 0

    def blocked_after_unload(self, addr: int, part: Part) -> None:
        """What no other map still grants is out of reach at once."""
        still = permission(part.memory, part.offset & -PAGE) if part.memory else 0
        if self.probe and self.translates and not still & READ:
            assert not self.probe.dma.write(addr, b"!")
            self.expect_fault(addr, "write")

    @rule(
        dmam=maps, start=st.integers(-1, 8 * PAGE), length=st.integers(-1, 8 * PAGE),
        ops=st.sampled_from(SYNCS),
    )  # fmt: skip
    def sync(self, dmam: Dmam, start: int, length: int, ops: int) -> None:
        load = dmam.load
        good = load and start >= 0 <= length and start + length <= load.size
        if not good or ops not in (1, 2, 4, 8, 5, 10):
            with pytest.raises(BadDma):
                bd.bus_dmamap_sync(self.tag, dmam.real, start, length, ops)
            return
        assert load is not None
        bd.bus_dmamap_sync(self.tag, dmam.real, start, length, ops)
        if ops & bd.BUS_DMASYNC_PREWRITE and load.direction & WRITE:
            load.sync(start, start + length, to_device=True)
        if ops & bd.BUS_DMASYNC_POSTREAD and load.direction & READ:
            load.sync(start, start + length, to_device=False)

    # ---- the device ------------------------------------------------------------------------

    def address(self, dmam: Dmam, at: int) -> int:
        """The bus address of byte `at` of what is loaded."""
        for addr, length in dmam.real.dm_segs:
            if at < length:
                return addr + at
            at -= length
        raise AssertionError("outside the segments")

    @precondition(lambda self: self.probe)
    @rule(dmam=maps, at=st.integers(0, 8 * PAGE), value=st.integers(0, 255))
    def device_writes(self, dmam: Dmam, at: int, value: int) -> None:
        if self.probe and dmam.load and at < dmam.load.size:
            done = self.probe.dma.write(self.address(dmam, at), bytes([value]))
            assert done == bool(self.allowed(dmam.load, at) & READ) or not self.translates
            if done:
                dmam.load.put(at, value)
            else:
                self.expect_fault(self.address(dmam, at), "write")

    @precondition(lambda self: self.probe)
    @rule(dmam=maps, at=st.integers(0, 8 * PAGE))
    def device_reads(self, dmam: Dmam, at: int) -> None:
        if dmam.load and at < dmam.load.size:
            assert self.probe
            got = self.probe.dma.read(self.address(dmam, at), 1)
            assert (got is not None) == bool(
                self.allowed(dmam.load, at) & WRITE
            ) or not self.translates
            if got is None:
                self.expect_fault(self.address(dmam, at), "read")
            elif (wanted := dmam.load.get(at)) is not None:
                assert got[0] == wanted

    @precondition(lambda self: self.probe and self.translates)
    @rule(memory=memories, page=st.integers(0, 7), value=st.integers(0, 255))
    def device_writes_anywhere(self, memory: Memory, page: int, value: int) -> None:
        """Freed, unloaded, and just past the end: nothing lands that was not granted."""
        assert self.probe
        addr = memory.segs[0].ds_addr + page * PAGE
        owner = self.owner(addr)
        if owner is None:
            if not self.bounces(addr):
                assert not self.probe.dma.write(addr, bytes([value]))
                self.expect_fault(addr, "write")
        elif not permission(*owner) & READ:
            assert not self.probe.dma.write(addr, bytes([value]))
            self.expect_fault(addr, "write")

    def allowed(self, load: Load, at: int) -> int:
        part = load.part_at(at)
        if part.memory is None:
            return load.direction
        return permission(part.memory, part.offset + at - part.at & -PAGE)

    def owner(self, addr: int) -> tuple[Memory, int] | None:
        for memory in self.all_memories:
            for offset, start in memory.addresses().items():
                if start <= addr < start + PAGE:
                    return memory, offset
        return None

    def bounces(self, addr: int) -> bool:
        """Whether a map's own memory is there."""
        spans = [s for m in self.all_maps if m.real.bounce for s in m.real.bounce.segments]
        return any(start <= addr < start + size for start, size in spans)

    def expect_fault(self, addr: int, verb: str) -> None:
        faults = bd.bus_dma_faults(self.tag)
        assert [(fault.addr & -PAGE, fault.verb) for fault in faults] == [(addr & -PAGE, verb)]
        assert faults[0].who == "test0"

    # ---- after every step -----------------------------------------------------------------

    @property
    def translates(self) -> bool:
        return self.host.machine.iommu is not None

    @invariant()
    def mirror_and_tables_agree(self) -> None:
        assert list(self.host.dma_check()) == []

    @invariant()
    def mirror_is_the_model(self) -> None:
        rows = self.host.dma()
        maps = [row for row in rows if row.kind == "map"]
        assert len(maps) == len(self.all_maps)
        assert sum(bool(row.segments) for row in maps) == sum(bool(m.load) for m in self.all_maps)
        bounced = sum(1 for m in self.all_maps if m.real.bounce)
        assert len(rows) - len(maps) == len(self.all_memories) + bounced

    @invariant()
    def contents_are_the_models(self) -> None:
        for memory in self.all_memories:
            if memory.kvas:
                assert memory.kvas[0] == memory.content
        for dmam in self.all_maps:
            for part in dmam.load.parts if dmam.load else ():
                if part.buffer:
                    pairs = zip(part.buffer.real, part.buffer.content, strict=True)
                    assert all(want is None or want == got for got, want in pairs)

    def teardown(self) -> None:
        try:
            views = [memory.kvas[0] for memory in self.all_memories if memory.kvas]
            self.claim.release()
            assert all(not any(view) for view in views), "a view of what is gone is zeros"
            if self.translates:
                assert self.host.mirror.pool.free >= self.pool_before
            assert not self.host.dma()
            assert not self.host.iommu()
        finally:
            self.stack.close()


class OnModel(BusDma):
    scatter: int | None = None

    def open(self) -> Guard:
        return Guard(ModelMachine([Probe()], memory=16 << 20), scatter=self.scatter)

    def find_probe(self) -> Probe:
        function = next(f for f in self.host.functions() if not f.is_bridge)
        machine = self.host.machine
        assert isinstance(machine, ModelMachine)
        model = machine.model(function.address)
        assert isinstance(model, Probe)
        return model


class Scattered(OnModel):
    scatter = 7


class WithoutIommu(OnModel):
    def open(self) -> Guard:
        return Guard(ModelMachine([Probe()], memory=16 << 20, iommu=False))


class Private(OnModel):
    """All memory is in a bank that could be handed to another process."""

    private = "uid 1000"
    scatter = 5

    def open(self) -> Guard:
        machine = ModelMachine([Probe()], memory=16 << 20, banks=1)
        return Guard(machine, scatter=self.scatter)

    @invariant()
    def nothing_is_in_the_shared_memory(self) -> None:
        bank = self.host.machine.memory.banks[0]
        views = [kva.obj for memory in self.all_memories for kva in memory.kvas]
        assert all(view.fd == bank.fd for view in views if isinstance(view, SharedMemory))
        assert all(bank.start <= grant.page < bank.start + bank.size for grant in self.host.iommu())


class Served(OnModel):
    """A client of a guard's server; what is compared is the guard's own."""

    url: str | None = None

    def open(self) -> Guard:
        if self.url is None:
            return Guard(ModelMachine([Probe()], memory=16 << 20, banks=1), scatter=5)
        host = open_host(self.url)
        assert isinstance(host, Guard)
        return host

    def take(self, address: Address) -> Claim:
        url = self.stack.enter_context(served(self.host))
        self.client = self.stack.enter_context(contextlib.closing(open_host(url)))
        return self.client.claim(address, "test0")

    @invariant()
    def the_client_is_told_the_same(self) -> None:
        assert self.client.dma() == self.host.dma()
        assert self.client.dma_check() == []
        assert [g[:3] for g in self.grants(self.client)] == [g[:3] for g in self.grants(self.host)]

    def grants(self, host: Host) -> list[tuple[Any, ...]]:
        return [(g.device, g.addr, g.size, g.direction) for g in host.iommu()]


class ServedOnQemu(Served):
    url = "qemu:edu?banks=1&scatter=3"

    def find_probe(self) -> Probe | None:  # type: ignore[override]
        return None


class OnQemu(BusDma):
    def open(self) -> Guard:
        host = open_host("qemu:edu?scatter=3")
        assert isinstance(host, Guard)
        return host


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
TestOnModel = OnModel.TestCase
TestOnModel.settings = settings(max_examples=250, deadline=None, suppress_health_check=QUIET)
TestScattered = Scattered.TestCase
TestScattered.settings = settings(max_examples=250, deadline=None, suppress_health_check=QUIET)
TestPrivate = Private.TestCase
TestPrivate.settings = settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
TestServed = Served.TestCase
TestServed.settings = settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
TestServedOnQemu = qemu(ServedOnQemu.TestCase)
TestServedOnQemu.settings = settings(max_examples=4, deadline=None, suppress_health_check=QUIET)
TestWithoutIommu = WithoutIommu.TestCase
TestWithoutIommu.settings = settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
TestOnQemu = qemu(OnQemu.TestCase)
TestOnQemu.settings = settings(max_examples=12, deadline=None, suppress_health_check=QUIET)
