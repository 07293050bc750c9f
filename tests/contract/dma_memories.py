"""Random calls of bus_dmamem(9), and what holds after every call of bus_dma(9)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from rumpci import bus_dma as bd
from rumpci.bus_dma import BusDmamap, BusDmaTag, DmaRoot
from rumpci.errors import BadDma, DeadDma, DmaBusy, NoDmaMemory
from rumpci.guard import Guard
from rumpci.host import Address, Claim
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model

from .dma_model import PAGE, Load, Memory

memories: Bundle[Any] = Bundle("memories")


class Probe(Model):
    """A device that does DMA as the test tells it."""

    config = ConfigSpec(0x1234, 0x0D0A, 0x088000)


class Dmam:
    """A map: the real one, and what should be loaded."""

    def __init__(self, real: BusDmamap, size: int, nsegments: int, most: int, bound: int) -> None:
        self.real, self.size, self.nsegments = real, size, nsegments
        self.most, self.boundary = most, bound
        self.load: Load | None = None


class DmaMemories(RuleBasedStateMachine):
    """Rules are calls; what the machine is, is the subclasses' choice."""

    private: str | None = None

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
