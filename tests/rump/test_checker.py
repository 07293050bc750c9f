"""What a driver does wrong with bus_dma(9) is named with the call site, and then works anyway."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import POSTREAD, POSTWRITE, PREREAD, PREWRITE, READ, WRITE, Stage
from tests.rump.test_bus_dma import PAGE, Dma, Segment, segments

pytestmark = compiler
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]
hosts = pytest.mark.parametrize("url", HOSTS)


def loaded(stage: Stage, flags: int = 0) -> tuple[Dma, Any, Any]:
    dma = Dma(stage)
    buffer, dmam = ctypes.create_string_buffer(64), dma.map()
    assert dma.load(dmam, buffer, flags=flags) == 0
    return dma, dmam, buffer


def load_twice(stage: Stage) -> None:
    dma, dmam, buffer = loaded(stage)
    assert dma.load(dmam, buffer) == 0
    dma.unload(dmam)


def unload_twice(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.unload(dmam)
    dma.unload(dmam)


def sync_outside(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, PREREAD, 60, 8)


def sync_far_outside(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, PREREAD, (1 << 64) - 1, 8)


def sync_unloaded(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.unload(dmam)
    dma.sync(dmam, PREREAD, 0, 1)


def sync_nothing(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, 0)


def sync_mixed(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, PREREAD | POSTWRITE)


def post_alone(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, PREWRITE)
    dma.sync(dmam, POSTREAD)


def post_write_alone(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage)
    dma.sync(dmam, POSTWRITE)


def post_of_an_older_load(stage: Stage) -> None:
    dma, dmam, buffer = loaded(stage)
    dma.sync(dmam, PREREAD)
    dma.unload(dmam)
    dma.load(dmam, buffer)
    dma.sync(dmam, POSTREAD)


def read_hint(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage, READ)
    dma.sync(dmam, PREWRITE)


def write_hint(stage: Stage) -> None:
    dma, dmam, _ = loaded(stage, WRITE)
    dma.sync(dmam, PREREAD)


def load_nothing(stage: Stage) -> None:
    dma, dmam, buffer = loaded(stage)
    dma.unload(dmam)
    assert dma.load_at(dmam, ctypes.addressof(buffer), 0) == 0
    assert (dmam.mapsize, segments(dmam)) == (0, [])
    dma.unload(dmam)
    assert dma.load(dmam, buffer) == 0


FINDINGS = [
    (load_nothing, "0 bytes", "drv_load"),
    (load_twice, "never unloaded", "drv_load"),
    (unload_twice, "nothing is loaded", "drv_unload"),
    (sync_outside, "outside of what is loaded", "drv_sync"),
    (sync_far_outside, "outside of what is loaded", "drv_sync"),
    (sync_unloaded, "nothing is loaded", "drv_sync"),
    (sync_nothing, "no operation", "drv_sync"),
    (sync_mixed, "PRE is mixed with POST", "drv_sync"),
    (post_alone, "POSTREAD without a PREREAD", "drv_sync"),
    (post_write_alone, "POSTWRITE without a PREWRITE", "drv_sync"),
    (post_of_an_older_load, "POSTREAD without a PREREAD", "drv_sync"),
    (read_hint, "loaded with BUS_DMA_READ", "drv_sync"),
    (write_hint, "loaded with BUS_DMA_WRITE", "drv_sync"),
]
MISTAKES = {scene.__name__: scene for scene, _, _ in FINDINGS}


def wrong(stage: Stage, name: str) -> list[Any]:
    MISTAKES[name](stage)
    return [[str(f), n] for f, n in stage.kernel.findings.all()]


@pytest.mark.parametrize(
    ("mistake", "words", "site"),
    [pytest.param(f.__name__, w, s, id=f.__name__) for f, w, s in FINDINGS],
)
def test_a_mistake_is_named_once_with_its_place(
    play: Player, mistake: str, words: str, site: str
) -> None:
    ((told, times),) = play(wrong, "model:edu", mistake)
    assert times == 1
    assert words in told
    assert f"from {site} " in told or f"from {site}+" in told, told
    assert "librumpdev_pci.so" in told


def wrong_hint_moves(stage: Stage) -> list[Any]:
    """A device may read what was loaded for writing once the driver said so by its syncs."""
    dma, dmam, buffer = loaded(stage, READ)
    ((before, _),) = segments(dmam)
    ctypes.memmove(buffer, b"hello", 5)
    dma.sync(dmam, PREREAD | PREWRITE)
    ((address, _),) = segments(dmam)
    dma.move(address, 5, to_ram=False)
    dma.move(address + 8, 5, to_ram=True)
    dma.sync(dmam, POSTREAD | POSTWRITE)
    dma.unload(dmam)
    other = ctypes.create_string_buffer(64)
    dma.load(dmam, other, flags=READ)  # its hints are not believed any more
    dma.sync(dmam, PREWRITE)
    return [before == address, buffer.raw[8:13].decode(), len(stage.findings()),
            len(stage.host.functions()) > 0]  # fmt: skip


@hosts
def test_a_hint_that_is_wrong_is_told_and_the_data_moves(play: Player, url: str) -> None:
    assert play(wrong_hint_moves, url) == [True, "hello", 1, True]


def again_and_again(stage: Stage, times: int) -> list[Any]:
    dma, dmam, buffer = loaded(stage)
    for _ in range(times):
        dma.load(dmam, buffer)
    return [[n for _, n in stage.kernel.findings.all()], len(stage.host.dma())]


def test_a_mistake_that_is_repeated_is_counted_and_leaks_nothing(play: Player) -> None:
    (counts, held) = play(again_and_again, "model:edu", 200)
    assert counts == [200]
    assert held < 10


def busy(stage: Stage) -> list[Any]:
    dma, segs, n, kva = Dma(stage), (Segment * 1)(), ctypes.c_int(), ctypes.c_void_p()
    assert not stage.call("mem_alloc", dma.tag, PAGE, 1, 0, segs, 1, ctypes.byref(n))
    assert not stage.call("mem_map", dma.tag, segs, 1, PAGE, ctypes.byref(kva))
    dmam = dma.map()
    dma.load_at(dmam, kva.value, PAGE)
    stage.call("mem_free", dma.tag, segs, 1)
    told = stage.findings()
    dma.move(segments(dmam)[0][0], 8, to_ram=True)  # still the driver's
    dma.unload(dmam)
    stage.call("mem_unmap", dma.tag, kva, PAGE)
    stage.call("mem_free", dma.tag, segs, 1)
    dma.destroy(dmam)
    return [told, len(stage.findings()), len(stage.host.dma())]


@hosts
def test_memory_that_is_loaded_is_not_freed(play: Player, url: str) -> None:
    told, after, left = play(busy, url)
    assert len(told) == 1
    assert "drv_mem_free" in told[0]
    assert (after, left) == (1, 0)
