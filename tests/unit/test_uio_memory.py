"""Memory in pages that lie anywhere: where they are, and how the guard uses them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, Direction, MapSpec, MemorySpec, Piece
from rumpci.machines.machine import Bank, Extent, Wired
from rumpci.machines.uio.memory import within
from rumpci.machines.uio.pages import _joined

AT = Address(0, 1, 0, 0)
P = PAGE_SIZE
EXTENTS = [
    Extent(0x90 * P, 0, 2 * P),
    Extent(0x10 * P, 2 * P, 3 * P),
    Extent(0x92 * P, 5 * P, 2 * P),
]
"""As the file has them: the first and the last are adjacent in memory, not in the file."""


class Scattered:
    """Seven pages of a file that pretend to be where EXTENTS says."""

    size = 7 * P
    banks: Sequence[Bank] = ()

    def __init__(self) -> None:
        self.fd = os.memfd_create("scattered")
        os.ftruncate(self.fd, self.size)
        self.extents: Sequence[Extent] = EXTENTS
        self.usable: Sequence[tuple[int, int]] = [(e.start, e.start + e.size) for e in EXTENTS]
        self.refusal: NoDmaMemory | None = None
        self.moved: set[int] = set()

    def admit(self, device: Address) -> None:
        if self.refusal:
            raise self.refusal

    def check(self, start: int, size: int) -> None:
        if self.moved & set(range(start, start + size, P)):
            raise NoDmaMemory("loading", "it moved", "pin it")

    def at(self, addr: int) -> int:
        """Where in the file an address is."""
        (found,) = within(self.extents, addr, 1)
        return found.offset


class Machine:
    iommu = None

    def __init__(self) -> None:
        self.memory = Scattered()


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    os.close(made.memory.fd)


def test_it_is_wired(machine: Machine) -> None:
    assert isinstance(machine.memory, Wired)


def test_frames_are_joined_where_both_sides_are_adjacent() -> None:
    frames = [0x90, 0x91, 0x10, 0x11, 0x12, 0x92, 0x93]
    assert list(_joined((page, frame * P) for page, frame in enumerate(frames))) == EXTENTS
    assert list(_joined([])) == []


def test_parts_of_extents() -> None:
    assert within(EXTENTS, 0x91 * P, 2 * P) == [Extent(0x91 * P, P, P), Extent(0x92 * P, 5 * P, P)]
    assert within(EXTENTS, 0x11 * P + 5, 7) == [Extent(0x11 * P + 5, 3 * P + 5, 7)]
    assert within(EXTENTS, 0x20 * P, P) == []


def test_what_is_written_is_where_its_segments_say(machine: Machine) -> None:
    """A run over pages that are apart in the file is contiguous in both."""
    mirror = Mirror(machine)
    client = mirror.attach(AT, "one")
    memories = [client.alloc(MemorySpec(size * P)) for size in (2, 1, 1)]
    for number, memory in enumerate(memories, 1):
        memoryview(memory.view)[:] = bytes([number]) * memory.size
    for number, memory in enumerate(memories, 1):
        ((start, size),) = memory.segments
        for page in range(start, start + size, P):
            found = os.pread(machine.memory.fd, P, machine.memory.at(page))
            assert found == bytes([number]) * P
    mirror.detach(client, quiet=True)
    mirror.close()


def test_a_run_that_is_apart_in_the_file(machine: Machine) -> None:
    """Four pages that are adjacent in memory; the file has two of them at its end."""
    pool = Mirror(machine).pool
    run = pool.take_run(4 * P, P, 0x90 * P, 0x94 * P - 1)
    assert run == (0x90 * P, 4 * P)
    assert pool.in_file([run]) == [(0, 2 * P), (5 * P, 2 * P)]


def test_it_is_zeros_again(machine: Machine) -> None:
    os.pwrite(machine.memory.fd, b"\xff" * machine.memory.size, 0)
    mirror = Mirror(machine)
    client = mirror.attach(AT, "one")
    for size in (2, 2):
        memory = client.alloc(MemorySpec(size * P))
        assert bytes(memoryview(memory.view)) == bytes(size * P)
    mirror.detach(client, quiet=True)
    mirror.close()


def test_limits_are_met_or_refused(machine: Machine) -> None:
    mirror = Mirror(machine)
    client = mirror.attach(AT, "one")
    low = client.alloc(MemorySpec(P, high=0x20 * P - 1))
    assert low.segments[0].ds_addr < 0x20 * P
    with pytest.raises(NoDmaMemory, match="nothing free satisfies"):
        client.alloc(MemorySpec(3 * P, high=0x20 * P - 1, nsegs=3))
    mirror.detach(client, quiet=True)
    mirror.close()


def test_a_page_that_moved_is_not_loaded(machine: Machine) -> None:
    mirror = Mirror(machine)
    client = mirror.attach(AT, "one")
    memory = client.alloc(MemorySpec(P))
    dmamap = client.map(MapSpec(P, 1, P, 0))
    machine.memory.moved.add(memory.segments[0].ds_addr)
    with pytest.raises(NoDmaMemory, match="it moved"):
        dmamap.load([Piece(memory, 0, P)], Direction.BOTH)
    assert any("it moved" in line for line in mirror.check())
    machine.memory.moved.clear()
    dmamap.load([Piece(memory, 0, P)], Direction.BOTH)
    assert mirror.check() == []
    mirror.detach(client, quiet=True)
    mirror.close()


def test_the_reason_why_there_is_none(machine: Machine) -> None:
    mirror = Mirror(machine)
    client = mirror.attach(AT, "one")
    machine.memory.refusal = NoDmaMemory("DMA", "only root", "be root")
    with pytest.raises(NoDmaMemory, match="only root"):
        client.alloc(MemorySpec(P))
    mirror.detach(client, quiet=True)
    mirror.close()
