"""bus_dma(9) of a rump kernel's drivers, by edu's DMA: what moves, and what it is cut into."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from rumpci.rump._dmamem import memory_at
from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import POSTREAD, POSTWRITE, PREREAD, PREWRITE, READ, WRITE, Stage
from tests.waiting import until

pytestmark = compiler
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]
hosts = pytest.mark.parametrize("url", HOSTS)
BUFFER, SRC, DST, COUNT, COMMAND = 0x40000, 0x80, 0x88, 0x90, 0x98
EINVAL, EFBIG = 22, 27
PAGE = 4096


class Segment(ctypes.Structure):
    """bus_dma_segment_t."""

    _fields_ = tuple((name, ctypes.c_ulong) for name in ("addr", "len", "vacookie", "sizecookie"))


class Map(ctypes.Structure):
    """What bus_dmamap_t points at, with room for 16 segments."""

    _fields_ = (
        ("size", ctypes.c_ulong), ("segcnt", ctypes.c_int), ("maxmaxsegsz", ctypes.c_ulong),
        ("boundary", ctypes.c_ulong), ("bounce_thresh", ctypes.c_ulong), ("flags", ctypes.c_int),
        ("cookie", ctypes.c_void_p), ("maxsegsz", ctypes.c_ulong), ("mapsize", ctypes.c_ulong),
        ("nsegs", ctypes.c_int), ("segs", Segment * 16),
    )  # fmt: skip


class Dma:
    """edu's DMA as a driver of the rump kernel programs it."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.handle = stage, stage.registers(0x100)
        self.tag = stage.arguments(stage.find()).dmat

    def map(self, size: int = PAGE, n: int = 1, maxsegsz: int = 0, boundary: int = 0) -> Any:
        """bus_dmamap_create: the map, and how the driver sees it."""
        at = ctypes.c_void_p()
        error = self.stage.call(
            "map_create", self.tag, size, n, maxsegsz or size, boundary, 0, ctypes.byref(at)
        )
        assert not error, self.stage.findings()
        return Map.from_address(at.value or 0)

    def load(self, dmam: Any, buffer: Any, size: int = 0, flags: int = 0) -> int:
        return self.load_at(dmam, ctypes.addressof(buffer), size or ctypes.sizeof(buffer), flags)

    def load_at(self, dmam: Any, address: int | None, size: int, flags: int = 0) -> int:
        at = ctypes.addressof(dmam)
        return int(self.stage.call("load", self.tag, at, address, size, flags))

    def sync(self, dmam: Any, ops: int, offset: int = 0, size: int | None = None) -> None:
        size = dmam.mapsize if size is None else size
        self.stage.call("sync", self.tag, ctypes.addressof(dmam), offset, size, ops)

    def unload(self, dmam: Any) -> None:
        self.stage.call("unload", self.tag, ctypes.addressof(dmam))

    def destroy(self, dmam: Any) -> None:
        self.stage.call("map_destroy", self.tag, ctypes.addressof(dmam))

    def move(self, address: int, size: int, *, to_ram: bool, at: int = 0) -> None:
        """Between a bus address and the device's own buffer."""
        pair = (BUFFER + at, address) if to_ram else (address, BUFFER + at)
        for register, value in zip((SRC, DST, COUNT), (*pair, size), strict=True):
            self.stage.write(self.handle, register, value, 8)
        self.stage.write(self.handle, COMMAND, 3 if to_ram else 1, 8)
        until(lambda: not self.stage.read(self.handle, COMMAND, 8) & 1, "DMA does not end")


def segments(dmam: Any) -> list[tuple[int, int]]:
    return [(s.addr, s.len) for s in dmam.segs[: dmam.nsegs]]


# ---- what moves ----------------------------------------------------------------------------------


def bounced(stage: Stage) -> list[Any]:
    dma, data = Dma(stage), bytes(range(256)) * 4
    buffer = ctypes.create_string_buffer(data, len(data))
    dmam = dma.map()
    ways = ((WRITE, (PREWRITE, POSTWRITE), False), (READ, (PREREAD, POSTREAD), True))
    for flags, ops, to_ram in ways:
        assert dma.load(dmam, buffer, flags=flags) == 0
        dma.sync(dmam, ops[0])
        ((address, size),) = segments(dmam)
        dma.move(address, size, to_ram=to_ram)
        if to_ram:
            before = buffer.raw[:16].hex()
        dma.sync(dmam, ops[1])
        dma.unload(dmam)
        ctypes.memset(buffer, 0, len(data) if not to_ram else 0)
    dma.destroy(dmam)
    return [before, buffer.raw == data, stage.findings()]


@hosts
def test_a_buffer_of_the_rump_kernel_both_ways(play: Player, url: str) -> None:
    assert play(bounced, url) == ["00" * 16, True, []]


def in_part(stage: Stage) -> list[Any]:
    """What is not synced stays as it is, byte by byte."""
    dma = Dma(stage)
    buffer = ctypes.create_string_buffer(b"\xaa" * 64, 64)
    dmam = dma.map()
    dma.load(dmam, buffer)
    ((address, _),) = segments(dmam)
    dma.sync(dmam, PREREAD | PREWRITE)
    ctypes.memset(buffer, 0xBB, 64)
    dma.sync(dmam, PREWRITE, 8, 8)
    dma.move(address, 64, to_ram=False)
    dma.move(address, 64, to_ram=True)
    ctypes.memset(buffer, 0, 64)
    dma.sync(dmam, POSTREAD, 7, 10)
    dma.destroy(dmam)  # loaded: as the manual page has it
    return [buffer.raw.hex(), stage.findings()]


@hosts
def test_a_sync_of_a_part_copies_that_part(play: Player, url: str) -> None:
    data, told = play(in_part, url)
    assert bytes.fromhex(data) == b"\0" * 7 + b"\xaa" + b"\xbb" * 8 + b"\xaa" + b"\0" * 47
    assert told == []


def in_memory(stage: Stage) -> list[Any]:
    dma, segs, n, kva = Dma(stage), (Segment * 2)(), ctypes.c_int(), ctypes.c_void_p()
    by = ctypes.byref
    assert not stage.call("mem_alloc", dma.tag, PAGE, 256, 0, segs, 1, by(n))
    assert not stage.call("mem_map", dma.tag, segs, n.value, PAGE, by(kva))
    memory = memory_at(kva.value or 0, PAGE)
    dmam = dma.map()
    got = []
    raw = lambda: stage.call("load_raw", dma.tag, ctypes.addressof(dmam), segs, 1, PAGE, 0)  # noqa: E731
    for load in (lambda: dma.load_at(dmam, kva.value, PAGE), raw):
        memory[0:8] = b"hardware"
        assert load() == 0, stage.findings()
        ((address, _),) = segments(dmam)
        got.append(address == segs[0].addr)
        dma.sync(dmam, PREWRITE | PREREAD)
        dma.move(address, 8, to_ram=False)
        dma.move(address + 100, 8, to_ram=True)
        got.append(memory[100:108].tobytes().decode())  # no sync copies: it is the memory
        dma.sync(dmam, POSTWRITE | POSTREAD)
        dma.unload(dmam)
        memory[100:108] = b"\0" * 8
    dma.destroy(dmam)
    stage.call("mem_unmap", dma.tag, kva, PAGE)
    stage.call("mem_free", dma.tag, segs, n.value)
    return [got, n.value, stage.findings(), len(stage.host.dma())]


@hosts
def test_memory_of_bus_dmamem_alloc_is_loaded_as_it_is(play: Player, url: str) -> None:
    assert play(in_memory, url) == [[True, "hardware"] * 2, 1, [], 0]


def chained(stage: Stage) -> list[Any]:
    dma = Dma(stage)
    first, second = (
        ctypes.create_string_buffer(b"mbuf", 4),
        ctypes.create_string_buffer(b"chain", 5),
    )
    dmam = dma.map(PAGE, 8)
    at, one, two = (ctypes.addressof(each) for each in (dmam, first, second))
    error = stage.call("load_chain", dma.tag, at, one, 4, two, 5, WRITE)
    dma.sync(dmam, PREWRITE)
    where, offset = segments(dmam), 0
    for address, size in where:
        dma.move(address, size, to_ram=False, at=offset)
        offset += size
    back = ctypes.create_string_buffer(9)
    mapsize = dmam.mapsize
    dma.unload(dmam)
    dma.load(dmam, back, 9, READ)
    dma.sync(dmam, PREREAD)
    dma.move(segments(dmam)[0][0], 9, to_ram=True)
    dma.sync(dmam, POSTREAD)
    dma.destroy(dmam)
    return [error, mapsize, back.raw.decode(), stage.findings()]


@hosts
def test_a_chain_of_mbufs(play: Player, url: str) -> None:
    assert play(chained, url) == [0, 9, "mbufchain", []]


# ---- what it is cut into -------------------------------------------------------------------------


def cut(stage: Stage, n: int, maxsegsz: int, lowered: int, boundary: int) -> list[Any]:
    dma, buffer = Dma(stage), ctypes.create_string_buffer(PAGE)
    dmam = dma.map(PAGE, n, maxsegsz, boundary)
    if lowered:
        dmam.maxsegsz = lowered
    error = dma.load(dmam, buffer)
    found, mapsize = segments(dmam), dmam.mapsize
    if not error:
        dma.unload(dmam)
    again = dmam.maxsegsz
    dma.destroy(dmam)
    crossing = [a for a, size in found if boundary and a // boundary != (a + size - 1) // boundary]
    return [error, [size for _, size in found], mapsize, again, crossing]


CUTS = [
    pytest.param((4, 1024, 0, 0), [1024] * 4, id="maxsegsz"),
    pytest.param((4, PAGE, 1024, 0), [1024] * 4, id="lowered"),
    pytest.param((8, PAGE, 0, 512), [512] * 8, id="boundary"),
    pytest.param((16, 1024, 256, 512), [256] * 16, id="all"),
    pytest.param((1, PAGE, 0, 0), [PAGE], id="one"),
]


@hosts
@pytest.mark.parametrize(("limits", "sizes"), CUTS)
def test_segments(play: Player, url: str, limits: tuple[int, ...], sizes: list[int]) -> None:
    error, found, mapsize, again, crossing = play(cut, url, *limits)
    assert (error, mapsize, crossing) == (0, PAGE, [])
    assert (found, sum(found)) == (sizes, PAGE)
    assert again == limits[1], "unload gives dm_maxsegsz its value back"


@hosts
@pytest.mark.parametrize("limits", [(3, 1024, 0, 0), (3, PAGE, 1024, 0), (7, PAGE, 0, 512)])
def test_more_segments_than_the_map_has_is_efbig(
    play: Player, url: str, limits: tuple[int, ...]
) -> None:
    error, found, mapsize, *_ = play(cut, url, *limits)
    assert (error, found, mapsize) == (EFBIG, [], 0)


def refused(stage: Stage) -> list[Any]:
    dma, buffer = Dma(stage), ctypes.create_string_buffer(PAGE + 1)
    dmam = dma.map()
    by, at, got = ctypes.byref, ctypes.c_void_p(), []
    got.append(dma.load(dmam, buffer))  # more than the map's size
    good, dma.tag = dma.tag, 0x99
    got.append(stage.call("map_create", dma.tag, PAGE, 1, PAGE, 0, 0, by(at)))
    dma.tag = good
    for size, n in ((0, 1), (PAGE, 0), (PAGE, -1)):
        got.append(stage.call("map_create", dma.tag, size, n, size, 0, 0, by(at)))
    segs, n_got = (Segment * 1)(), ctypes.c_int()
    for size, alignment in ((PAGE, 3), (1 << 60, 1), (0, 1)):
        got.append(stage.call("mem_alloc", dma.tag, size, alignment, 0, segs, 1, by(n_got)))
    got.append(stage.call("mem_map", dma.tag, segs, 1, PAGE, by(at)))
    stage.call("mem_free", dma.tag, segs, 1)
    stage.call("mem_unmap", dma.tag, 0x1000, PAGE)
    dma.destroy(dmam)
    return [got, len(stage.findings())]


@hosts
def test_what_makes_no_sense_is_einval_and_told(play: Player, url: str) -> None:
    errors, told = play(refused, url)
    assert all(errors), errors
    assert set(errors) <= {EINVAL, 12, EFBIG}, errors
    assert told >= 5


def ranged(stage: Stage) -> list[Any]:
    dma, low = Dma(stage), ctypes.c_void_p()
    assert not stage.call("subtag", dma.tag, 0, (16 << 20) - 1, ctypes.byref(low))
    dma.tag, buffer = low.value, ctypes.create_string_buffer(64)
    dmam = dma.map()
    error = dma.load(dmam, buffer)
    ((address, _),) = segments(dmam)
    dma.unload(dmam)
    dma.destroy(dmam)
    return [error, address + 64 <= 16 << 20]


@hosts
def test_a_tag_with_a_range(play: Player, url: str) -> None:
    assert play(ranged, url) == [0, True]


# ---- the old way -------------------------------------------------------------------------------


def old(stage: Stage) -> list[Any]:
    dma, by = Dma(stage), ctypes.byref
    pa, va = ctypes.c_ulong(), ctypes.c_ulong()
    assert not stage.call("dmalloc", 100, 64, by(pa), by(va))
    memory = memory_at(va.value, PAGE)
    memory[0:3] = b"old"
    same = stage.call("virt_to_mach", va.value + 50) == pa.value + 50
    dma.move(pa.value, 3, to_ram=False)
    dma.move(pa.value + 8, 3, to_ram=True)
    got = memory[8:11].tobytes().decode()
    stage.call("dmafree", va.value, 100)
    nowhere = stage.call("virt_to_mach", va.value) == (1 << 64) - 1
    stage.call("dmafree", va.value, 100)
    return [same, got, nowhere, len(stage.findings()), len(stage.host.dma())]


@hosts
def test_hypercalls_of_a_bus_dma_that_is_not_ours(play: Player, url: str) -> None:
    assert play(old, url) == [True, "old", True, 2, 0]
