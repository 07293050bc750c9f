"""A driver's own buffers, mapped by a real kernel where they are: edu reads and writes them."""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from rumpci import bus_dma as bd
from rumpci.drivers.edureg import EDU_DMA_BUFFER
from rumpci.errors import NoDmaMemory
from rumpci.hosts.vfio.host import VfioHost
from tests.linux.binding import EDU
from tests.linux.guest.urls import vfio
from tests.unit.edu_dma import Bench, attached, pattern

pytestmark = pytest.mark.machine("vfio")
SIZE, PAGE = 256 << 10, 4096


@pytest.fixture
def b() -> Iterator[Bench]:
    with attached(vfio(EDU)) as made:
        yield made


@pytest.fixture
def dmam(b: Bench) -> Iterator[bd.BusDmamap]:
    made = bd.bus_dmamap_create(b.tag, SIZE, 8, SIZE, 0, name="own")
    yield made
    if made.dm_mapsize:
        bd.bus_dmamap_unload(b.tag, made)
    bd.bus_dmamap_destroy(b.tag, made)


def to_ram(b: Bench, addr: int, data: bytes) -> None:
    b.edu.dma_write(0, data)
    b.edu.transfer(EDU_DMA_BUFFER, addr, len(data), to_ram=True)


def from_ram(b: Bench, addr: int, size: int) -> bytes:
    b.edu.transfer(addr, EDU_DMA_BUFFER, size, to_ram=False)
    return b.edu.dma_read(0, size)


def adopted(b: Bench) -> list[str]:
    """The maps' own buffers that the device reaches."""
    return [row.name for row in b.host.dma() if row.name == "own buffer" and row.direction]


def test_the_device_writes_the_buffer_itself(b: Bench, dmam: bd.BusDmamap) -> None:
    buffer = mmap.mmap(-1, SIZE)
    bd.bus_dmamap_load(b.tag, dmam, buffer)
    ((addr, _),) = dmam.dm_segs
    assert adopted(b) == ["own buffer"]
    assert b.host.dma_check() == []
    to_ram(b, addr + 40 * PAGE + 8, pattern(100))
    assert buffer[40 * PAGE + 8 :][:100] == pattern(100), "with no sync: nothing was copied"
    buffer[PAGE : PAGE + 200] = pattern(200, 3)
    assert from_ram(b, addr + PAGE, 200) == pattern(200, 3)
    assert b.faults() == []


OWN = {
    "bytearray": bytearray(SIZE - 100),
    "a part of one": memoryview(bytearray(SIZE))[48:-900],
    "ends of a few bytes": memoryview(mmap.mmap(-1, SIZE))[PAGE - 16 : 5 - PAGE],
}


@pytest.mark.parametrize("buffer", OWN.values(), ids=OWN)
def test_ends_that_share_their_pages(b: Bench, dmam: bd.BusDmamap, buffer: Any) -> None:
    bd.bus_dmamap_load(b.tag, dmam, buffer)
    assert adopted(b) == ["own buffer"]
    assert len(dmam.dm_segs) == 3
    bd.bus_dmamap_sync(b.tag, dmam, 0, dmam.dm_mapsize, bd.BUS_DMASYNC_PREREAD)
    at, expected = 0, bytearray(dmam.dm_mapsize)
    for number, (addr, size) in enumerate(dmam.dm_segs):
        data = pattern(min(16, size), 5 + number)
        to_ram(b, addr + size - len(data), data)
        at += size
        expected[at - len(data) : at] = data
    bd.bus_dmamap_sync(b.tag, dmam, 0, dmam.dm_mapsize, bd.BUS_DMASYNC_POSTREAD)
    assert bytes(buffer) == expected
    buffer[:] = bytes(len(buffer))


def test_pages_that_nobody_had_written(b: Bench, dmam: bd.BusDmamap) -> None:
    """They are zeros that all share, when the kernel pins them to be read only."""
    buffer = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert not any(buffer[::PAGE])
    bd.bus_dmamap_load(b.tag, dmam, buffer, flags=bd.BUS_DMA_WRITE)
    buffer[5 * PAGE : 5 * PAGE + 64] = pattern(64)
    bd.bus_dmamap_sync(b.tag, dmam, 0, SIZE, bd.BUS_DMASYNC_PREWRITE)
    assert from_ram(b, dmam.dm_segs[0].ds_addr + 5 * PAGE, 64) == pattern(64)


def test_a_fork_does_not_take_the_pages_away(b: Bench, dmam: bd.BusDmamap) -> None:
    buffer = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer[:] = b"p" * SIZE
    bd.bus_dmamap_load(b.tag, dmam, buffer)
    if not (child := os.fork()):
        os._exit(0)
    buffer[0:4] = b"mine"  # what a write after a fork copies is the child's
    os.waitpid(child, 0)
    to_ram(b, dmam.dm_segs[0].ds_addr + 8, b"the device's")
    assert buffer[:20] == b"minepppp" + b"the device's"


def test_unloaded_it_is_out_of_reach(b: Bench, dmam: bd.BusDmamap) -> None:
    buffer = mmap.mmap(-1, SIZE)
    bd.bus_dmamap_load(b.tag, dmam, buffer)
    addr = dmam.dm_segs[0].ds_addr
    bd.bus_dmamap_unload(b.tag, dmam)
    b.edu.dma_write(0, pattern(64))
    b.stray(addr + PAGE, 64, to_ram=True)
    assert not any(buffer[:])
    if fault := b.fault("write", addr + PAGE):
        assert "inside dmamap 'own', unloaded" in str(fault)
    assert isinstance(b.host, VfioHost)
    assert addr not in [grant.addr for grant in b.host.iommu()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may all: the machine vfio_user has it")
def test_memlock_is_named_for_a_buffer(b: Bench, dmam: bd.BusDmamap) -> None:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (16 * PAGE, before[1]))
    try:
        with pytest.raises(NoDmaMemory, match=f"RLIMIT_MEMLOCK is {16 * PAGE}"):
            bd.bus_dmamap_load(b.tag, dmam, mmap.mmap(-1, SIZE))
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    bd.bus_dmamap_load(b.tag, dmam, mmap.mmap(-1, SIZE))
