"""Buffers of a driver's own that the kernel maps as they are; the kernel is played here."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings, strategies as st

from rumpci._dma import Flat
from rumpci.bus_dma import (
    BUS_DMA_READ,
    BUS_DMA_WRITE,
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE,
    BusDmamap,
    BusDmaTag,
    DmaRoot,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_load_uio,
    bus_dmamap_sync,
    bus_dmamap_unload,
)
from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import AdoptedMemory, GuardMemory
from rumpci.guard.recorder import Recorder
from rumpci.host import Address, Claim
from rumpci.host_dma import PAGE_SIZE, Adopter, Direction, MapSpec, MemorySpec
from rumpci.hosts.vfio.dma import GroupMirror, Memory
from rumpci.machines.kernellog import KernelLog
from tests.unit.test_vfio_maps import Kernel

P = PAGE_SIZE
AT = Address.parse("0000:00:01.0")


class Machine(Kernel):
    """A kernel that maps, and the device behind it; `refuses` is the error of its next maps."""

    refuses: NoDmaMemory | None = None

    def map(self, addr: int, vaddr: int, size: int, direction: Direction) -> None:
        if self.refuses:
            raise self.refuses
        super().map(addr, vaddr, size, direction)

    def _places(self, addr: int, size: int, needed: Direction) -> Iterator[tuple[int, int]]:
        pages = self.pages()
        while size:
            some = min(size, P - addr % P)
            vaddr, direction = pages[addr & -P]
            assert needed in direction
            yield vaddr + addr % P, some
            addr, size = addr + some, size - some

    def reads(self, segments: Sequence[tuple[int, int]]) -> bytes:
        """What the device finds there."""
        return b"".join(
            ctypes.string_at(vaddr, some)
            for addr, size in segments
            for vaddr, some in self._places(addr, size, Direction.WRITE)
        )

    def writes(self, segments: Sequence[tuple[int, int]], data: bytes) -> None:
        """The device writes there."""
        at = 0
        for addr, size in segments:
            for vaddr, some in self._places(addr, size, Direction.READ):
                ctypes.memmove(vaddr, data[at : at + some], some)
                at += some
        assert at == len(data)


class Claimed:
    """The DMA half of a claim, with buffers taken as they are from a page on."""

    def __init__(self, machine: Machine, *, lazy: bool = False) -> None:
        nowhere = KernelLog(Path("/nonexistent"))
        self.mirror = GroupMirror(machine, Memory(8 << 20), nowhere, Recorder(16), lazy=lazy)
        self.adopt_min = min(P, self.mirror.adopt_min)
        if lazy:
            self.adopt_min = self.mirror.adopt_min
        self.client = self.mirror.attach(AT, "test0")
        root = DmaRoot("test0")
        root.claim = cast("Claim", self)
        self.tag = BusDmaTag(root)

    def dma_alloc(self, spec: MemorySpec) -> GuardMemory:
        return self.client.alloc(spec)

    def dma_map(self, spec: MapSpec) -> GuardMap:
        return self.client.map(spec)

    def dma_adopt(self, address: int, spec: MemorySpec) -> AdoptedMemory:
        return self.mirror.adopt(self.client, address, spec)

    def adopted(self) -> list[AdoptedMemory]:
        """What is adopted and loaded."""
        return [m for m in self.client.memories if isinstance(m, AdoptedMemory) and m.loads]

    def create(self, size: int, nsegments: int = 64, maxsegsz: int = 1 << 20) -> BusDmamap:
        return bus_dmamap_create(self.tag, size, nsegments, maxsegsz, 0, name="one")


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def claim(machine: Machine) -> Claimed:
    made = Claimed(machine)
    assert isinstance(made, Adopter)
    return made


def pages(size: int) -> mmap.mmap:
    """Memory that begins with a page."""
    return mmap.mmap(-1, size)


def address(buffer: Any) -> int:
    return Flat(buffer).address


def test_whole_pages_are_mapped_where_they_are(machine: Machine, claim: Claimed) -> None:
    buffer, dmam = pages(4 * P), claim.create(4 * P)
    bus_dmamap_load(claim.tag, dmam, buffer)
    ((addr, size),) = dmam.dm_segs
    assert size == 4 * P
    assert machine.maps == {addr: (address(buffer), 4 * P, Direction.BOTH)}
    machine.writes(dmam.dm_segs, b"x" * 4 * P)
    assert buffer[:] == b"x" * 4 * P, "with no sync: nothing was copied"
    bus_dmamap_unload(claim.tag, dmam)
    assert machine.maps == {}
    assert claim.adopted() == []


def test_the_mirror_shows_it(claim: Claimed) -> None:
    buffer, dmam = pages(2 * P), claim.create(2 * P)
    bus_dmamap_load(claim.tag, dmam, buffer, flags=BUS_DMA_READ)
    rows = {row.name: row for row in claim.mirror.rows()}
    assert rows["one buffer"].segments == tuple(dmam.dm_segs)
    assert rows["one buffer"].direction == rows["one"].direction == "read"
    assert claim.mirror.check() == []
    assert claim.client.bytes == 0, "it is no memory of the pool"
    bus_dmamap_unload(claim.tag, dmam)
    assert {row.name: row for row in claim.mirror.rows()}["one buffer"].direction == ""
    bus_dmamap_destroy(claim.tag, dmam)
    assert claim.mirror.rows() == []


def test_neighbours_on_the_same_pages_are_out_of_reach(machine: Machine, claim: Claimed) -> None:
    around = pages(6 * P)
    around[:] = b"n" * 6 * P
    mine, dmam = memoryview(around)[160 : 4 * P + 32], claim.create(6 * P)
    bus_dmamap_load(claim.tag, dmam, mine)
    assert [size for _, size in dmam.dm_segs] == [P - 160, 3 * P, 32]
    assert (dmam.dm_segs[0].ds_addr + P - 160) % P == dmam.dm_segs[2].ds_addr % P == 0
    reached = {vaddr for vaddr, _ in machine.pages().values()}
    assert not reached & {address(around), address(around) + 4 * P}
    data = random.Random(1).randbytes(len(mine))  # noqa: S311
    bus_dmamap_sync(claim.tag, dmam, 0, len(mine), BUS_DMASYNC_PREREAD)
    machine.writes(dmam.dm_segs, data)
    bus_dmamap_sync(claim.tag, dmam, 0, len(mine), BUS_DMASYNC_POSTREAD)
    assert bytes(mine) == data
    assert around[:160] == b"n" * 160
    assert around[4 * P + 32 :] == b"n" * (2 * P - 32)
    bus_dmamap_unload(claim.tag, dmam)


def test_pages_that_nobody_has_written_are_ones_own(machine: Machine, claim: Claimed) -> None:
    """What is only to be read is pinned as it is: the page of zeros would be replaced."""
    buffer, dmam = mmap.mmap(-1, 4 * P, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), claim.create(4 * P)
    assert buffer[0] == buffer[3 * P] == 0  # mapped now, and shared with everybody
    bus_dmamap_load(claim.tag, dmam, buffer, flags=BUS_DMA_WRITE)
    before = _frames(address(buffer), 4)
    buffer[:] = b"w" * 4 * P
    bus_dmamap_sync(claim.tag, dmam, 0, 4 * P, BUS_DMASYNC_PREWRITE)
    assert _frames(address(buffer), 4) == before
    assert machine.reads(dmam.dm_segs) == b"w" * 4 * P
    bus_dmamap_unload(claim.tag, dmam)


def _frames(vaddr: int, count: int) -> bytes:
    """What /proc/self/pagemap says of pages: the frame for root, for others that they are there."""
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(vaddr // P * 8)
        return file.read(8 * count)


def test_a_buffer_is_held_until_it_is_unloaded(claim: Claimed) -> None:
    buffer, dmam = bytearray(8 * P), claim.create(8 * P)
    bus_dmamap_load(claim.tag, dmam, buffer)
    assert claim.adopted()
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    bus_dmamap_unload(claim.tag, dmam)
    buffer.extend(b"more")


@pytest.mark.parametrize("why", ["small", "odd", "one segment", "read-only pages", "lazy"])
def test_what_cannot_be_mapped_bounces(
    machine: Machine, claim: Claimed, why: str, tmp_path: Path
) -> None:
    buffer: Any = memoryview(pages(5 * P))[: 4 * P]
    dmam, flags = claim.create(5 * P), BUS_DMA_WRITE
    if why == "small":
        buffer = memoryview(pages(2 * P))[1600 : 1600 + P]
    elif why == "odd":
        buffer = memoryview(pages(5 * P))[7 : 7 + 4 * P]
    elif why == "one segment":
        buffer, dmam = memoryview(pages(5 * P))[160 : 160 + 4 * P], claim.create(5 * P, nsegments=1)
    elif why == "read-only pages":
        (tmp_path / "file").write_bytes(b"x" * 4 * P)
        with (tmp_path / "file").open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 4 * P, access=mmap.ACCESS_READ)
    elif why == "lazy":
        claim = Claimed(machine, lazy=True)
        dmam = claim.create(5 * P)
    bus_dmamap_load(claim.tag, dmam, buffer, flags=flags)
    assert claim.adopted() == []
    assert len(dmam.dm_segs) == 1
    bus_dmamap_sync(claim.tag, dmam, 0, dmam.dm_mapsize, BUS_DMASYNC_PREWRITE)
    assert machine.reads(dmam.dm_segs) == bytes(buffer)
    bus_dmamap_unload(claim.tag, dmam)


def test_what_the_kernel_refuses_is_told_as_ever(machine: Machine, claim: Claimed) -> None:
    machine.refuses = NoDmaMemory("mapping", "RLIMIT_MEMLOCK", "raise it", errno=errno.ENOMEM)
    dmam = claim.create(4 * P)
    with pytest.raises(NoDmaMemory, match="RLIMIT_MEMLOCK"):
        bus_dmamap_load(claim.tag, dmam, pages(4 * P))
    assert claim.adopted() == []
    assert not dmam.dm_mapsize
    machine.refuses = None
    bus_dmamap_load(claim.tag, dmam, pages(4 * P))


def test_the_claim_ends_with_a_buffer_loaded(machine: Machine, claim: Claimed) -> None:
    dmam = claim.create(4 * P)
    bus_dmamap_load(claim.tag, dmam, pages(4 * P))
    claim.mirror.detach(claim.client, quiet=True)
    assert machine.maps == {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_buffers_any_way(data: st.DataObject) -> None:
    """What the device writes is in the buffers, what it reads is theirs, and nothing else is."""
    machine = Machine()
    claim, whole = Claimed(machine), pages(64 * P)
    whole[:] = os.urandom(64 * P)
    spans, at = list[tuple[int, int]](), 0
    for _ in range(data.draw(st.integers(1, 3), "buffers")):
        at += data.draw(st.integers(0, 2 * P), "gap")
        size = data.draw(st.integers(1, 12 * P), "size")
        spans.append((at, at + size))
        at += size
    expected, mine = bytearray(whole), [memoryview(whole)[a:b] for a, b in spans]
    size = sum(b - a for a, b in spans)
    dmam = claim.create(size, nsegments=data.draw(st.sampled_from([1, 4, 64]), "segments"))
    for round_ in range(2):
        bus_dmamap_load_uio(claim.tag, dmam, mine)
        bus_dmamap_sync(claim.tag, dmam, 0, size, BUS_DMASYNC_PREWRITE | BUS_DMASYNC_PREREAD)
        assert machine.reads(dmam.dm_segs) == b"".join(expected[a:b] for a, b in spans)
        new = random.Random(round_).randbytes(size)  # noqa: S311
        machine.writes(dmam.dm_segs, new)
        bus_dmamap_sync(claim.tag, dmam, 0, size, BUS_DMASYNC_POSTREAD)
        assert claim.mirror.check() == []
        bus_dmamap_unload(claim.tag, dmam)
        assert machine.maps == {}
        for a, b in spans:
            expected[a:b], new = new[: b - a], new[b - a :]
        assert whole[:] == bytes(expected)
