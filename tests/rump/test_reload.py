"""A map that is unloaded and loaded again at once: what the device reaches, before and after."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from rumpci.rump import _busdma, _hyper
from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import POSTREAD, PREREAD, PREWRITE, READ, WRITE, Stage
from tests.rump.test_bus_dma import PAGE, Dma, Segment, hosts, segments

pytestmark = compiler
OURS = str(_busdma.__file__)


def reached(stage: Stage) -> int:
    """How many bytes the function reaches, by the IOMMU's own tables; they are as the mirror's."""
    assert not stage.host.dma_check()
    return sum(grant.size for grant in stage.host.iommu())


def again(stage: Stage) -> list[Any]:
    """Two buffers, one after the other, as a driver does with a ring of them."""
    dma = Dma(stage)
    first, second = (ctypes.create_string_buffer(100) for _ in range(2))
    dmam = dma.map()
    dma.load(dmam, first, flags=READ)
    before = segments(dmam)
    dma.unload(dmam)
    empty = dmam.mapsize
    error = dma.load(dmam, second, flags=READ)
    dma.sync(dmam, PREREAD)
    dma.move(before[0][0], 8, to_ram=True)
    ((address, _),) = segments(dmam)
    filled = ctypes.create_string_buffer(b"\x5a" * 64, 64)
    other = dma.map()
    dma.load(other, filled, flags=WRITE)
    dma.sync(other, PREWRITE)
    dma.move(segments(other)[0][0], 64, to_ram=False)
    dma.move(address, 64, to_ram=True)
    dma.sync(dmam, POSTREAD)
    return [
        error, empty, before == segments(dmam), first.raw[:64] == b"\0" * 64,
        second.raw[:64] == b"\x5a" * 64, stage.findings(),
    ]  # fmt: skip


@hosts
def test_as_much_again_is_where_it_was_and_is_copied_to_the_new_buffer(
    play: Player, url: str
) -> None:
    assert play(again, url) == [0, 0, True, True, True, []]


def ended(stage: Stage, how: str) -> list[int]:
    """What is reached while it is loaded, and after it was unloaded and something else was done."""
    dma, buffer = Dma(stage), ctypes.create_string_buffer(100)
    dmam, other = dma.map(), dma.map()
    dma.load(dmam, buffer)
    loaded = reached(stage)
    dma.unload(dmam)
    if how == "register":
        stage.read(dma.handle, 0)
    elif how == "write":
        stage.write(dma.handle, 4, 1)
    elif how == "sync":
        dma.sync(other, PREREAD, 0, 0)
    elif how == "load":
        dma.load(other, buffer)
        dma.unload(other)
        stage.read(dma.handle, 0)
    elif how == "destroy":
        dma.destroy(other)
    elif how == "create":
        dma.map()
    elif how == "subregion":
        assert not stage.call("subtag", dma.tag, 0, PAGE, ctypes.byref(ctypes.c_void_p()))
    return [loaded, reached(stage)]


@qemu
@pytest.mark.parametrize(
    "how", ["register", "write", "sync", "load", "destroy", "create", "subregion"]
)
def test_anything_else_takes_it_from_the_device_first(play: Player, how: str) -> None:
    assert play(ended, "qemu:edu", how) == [PAGE, 0]


DIFFERENT = {"size": (200, 0), "way": (100, READ)}


def different(stage: Stage, size: int, flags: int) -> list[Any]:
    """Loaded again with another size, or for another direction."""
    dma = Dma(stage)
    buffer = ctypes.create_string_buffer(PAGE)
    dmam = dma.map()
    dma.load(dmam, buffer, 100)
    dma.unload(dmam)
    error = dma.load(dmam, buffer, size, flags)
    ((_, length),) = segments(dmam)
    ways = [grant.direction.name for grant in stage.host.iommu()]
    assert not stage.host.dma_check()
    return [error, length, ways, stage.findings()]


@qemu
@pytest.mark.parametrize("what", list(DIFFERENT))
def test_what_differs_is_loaded_as_ever(play: Player, what: str) -> None:
    size, flags = DIFFERENT[what]
    ways = ["READ" if flags else "BOTH"]
    assert play(different, "qemu:edu", size, flags) == [0, size, ways, []]


def twice(stage: Stage) -> list[str]:
    dma, buffer = Dma(stage), ctypes.create_string_buffer(100)
    dmam = dma.map()
    dma.load(dmam, buffer)
    dma.unload(dmam)
    dma.unload(dmam)
    return stage.findings()


@hosts
def test_unloaded_twice_is_told(play: Player, url: str) -> None:
    (told,) = play(twice, url)
    assert "nothing is loaded" in told


def own_memory(stage: Stage) -> list[bool]:
    """Memory of bus_dmamem_alloc is loaded as it is, whatever was loaded before."""
    dma, by = Dma(stage), ctypes.byref
    segs, n, kva = (Segment * 1)(), ctypes.c_int(), ctypes.c_void_p()
    assert not stage.call("mem_alloc", dma.tag, PAGE, PAGE, 0, segs, 1, by(n))
    assert not stage.call("mem_map", dma.tag, segs, 1, PAGE, by(kva))
    dmam, buffer = dma.map(), ctypes.create_string_buffer(PAGE)
    found = []
    for at in (ctypes.addressof(buffer), kva.value, ctypes.addressof(buffer)):
        dma.load_at(dmam, at, PAGE)
        found.append(segments(dmam)[0][0] == segs[0].addr)
        dma.unload(dmam)
    stage.call("mem_unmap", dma.tag, kva, PAGE)
    stage.call("mem_free", dma.tag, segs, 1)
    return [*found, stage.findings() == []]


@hosts
def test_memory_that_the_device_reaches_is_never_copied_instead(play: Player, url: str) -> None:
    assert play(own_memory, url) == [False, True, False, True]


def handled(stage: Stage) -> list[int]:
    """An interrupt handler whose last call is bus_dmamap_unload."""
    dma, buffer, library = Dma(stage), ctypes.create_string_buffer(100), ctypes.CDLL(OURS)
    dmam = dma.map()
    dma.load(dmam, buffer)
    loaded = reached(stage)
    at, inside = ctypes.c_void_p(ctypes.addressof(dmam)), list[int]()

    def handler(_: int | None) -> int:
        library.rumpns_bus_dmamap_unload(ctypes.c_void_p(dma.tag), at)
        inside.append(reached(stage))
        return 1

    made = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(handler)
    _hyper.call_handler(ctypes.cast(made, ctypes.c_void_p).value or 0, 0)
    return [loaded, *inside, reached(stage)]


@qemu
def test_the_end_of_a_handler_takes_it_from_the_device(play: Player) -> None:
    assert play(handled, "qemu:edu") == [PAGE, PAGE, 0]
