"""Random calls of bus_dmamap(9), and a device that reads and writes where it may and may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, multiple, precondition, rule

from rumpci import bus_dma as bd
from rumpci.errors import BadDma, DeadDma, DmaBusy, TooManySegments

from .dma_memories import Dmam, DmaMemories, memories
from .dma_model import PAGE, READ, WRITE, Buffer, Load, Memory, Part, permission

FLAGS = {READ: bd.BUS_DMA_READ, WRITE: bd.BUS_DMA_WRITE, READ | WRITE: 0}
SYNCS = [bd.BUS_DMASYNC_PREREAD, bd.BUS_DMASYNC_POSTREAD, bd.BUS_DMASYNC_PREWRITE,
         bd.BUS_DMASYNC_POSTWRITE, 5, 10, 3, 15, 0, 16]  # fmt: skip
maps: Bundle[Any] = Bundle("maps")


class BusDma(DmaMemories):
    """Maps of the memories, and of buffers that bounce."""

    @initialize(target=maps)
    def some_maps(self) -> MultipleResults[Dmam]:
        made: list[Any] = [self.create(8 * PAGE, 40, 1 << 20, 0, 0) for _ in range(3)]
        return multiple(*made)

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
