"""bus_space(9) of a rump kernel's drivers: registers of edu, and what is no register."""

from __future__ import annotations

import ctypes

import pytest

from rumpci.rump.windows import _MOST
from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import MEMT, Stage

pytestmark = compiler
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]
hosts = pytest.mark.parametrize("url", HOSTS)
ID, LIVENESS, FACTORIAL, STATUS, DMA = 0x00, 0x04, 0x08, 0x20, 0x80
ONES = 0xFFFF_FFFF


def factorials(stage: Stage) -> list[int]:
    handle = stage.registers()
    stage.write(handle, LIVENESS, 0x1234)
    got = [stage.read(handle, ID), stage.read(handle, LIVENESS)]
    for n in (5, 12):
        stage.write(handle, FACTORIAL, n)
        while stage.read(handle, STATUS) & 1:
            pass
        got.append(stage.read(handle, FACTORIAL))
    assert stage.findings() == []
    return got


@hosts
def test_a_driver_reads_and_writes_registers(play: Player, url: str) -> None:
    assert play(factorials, url) == [0x010000ED, ONES ^ 0x1234, 120, 479001600]


def past_the_end(stage: Stage) -> list[int]:
    handle = stage.registers(0x10)
    stage.write(handle, 0x10, 1)
    stage.write(handle, LIVENESS, 7)
    return [stage.read(handle, 0x10), stage.read(handle, 0x0E), stage.read(handle, LIVENESS)]


def past_and_told(stage: Stage) -> list[object]:
    return [past_the_end(stage), stage.findings()]


@hosts
def test_past_a_window_there_are_ones_and_it_is_told_with_the_call_site(
    play: Player, url: str
) -> None:
    values, told = play(past_and_told, url)
    assert values == [ONES, ONES, ONES ^ 7]
    assert len(told) == 3, told
    assert "drv_write" in told[0]
    assert "drv_read" in told[1]
    assert "librumpdev_pci.so" in told[0]


def after_unmap(stage: Stage) -> list[object]:
    handle = stage.registers()
    stage.call("unmap", MEMT, handle, 0x100)
    value = stage.read(handle, ID)
    stage.write(handle, LIVENESS, 1)
    stage.call("unmap", MEMT, handle, 0x100)
    again = stage.registers()
    return [value, stage.read(again, ID), stage.findings()]


@hosts
def test_unmapped_means_ones_and_unmapping_twice_is_told(play: Player, url: str) -> None:
    value, id_, told = play(after_unmap, url)
    assert (value, id_) == (ONES, 0x010000ED)
    words = ("no mapped window", "no mapped window", "no handle")
    assert all(word in line for word, line in zip(words, told, strict=True)), told


def no_handles(stage: Stage) -> list[object]:
    stage.registers()
    values = [stage.read(wrong, 0) for wrong in (0, 0x1000, (1 << 64) - 1, 0xC9 << 56 | 5 << 40)]
    return [values, len(stage.findings())]


@hosts
def test_what_is_no_handle_is_ones(play: Player, url: str) -> None:
    assert play(no_handles, url) == [[ONES] * 4, 1]


def part(stage: Stage) -> list[int]:
    handle, to = stage.registers(), ctypes.c_uint64()
    got = [stage.call("subregion", MEMT, handle, FACTORIAL, 4, ctypes.byref(to))]
    stage.write(to.value, 0, 4)
    while stage.read(handle, STATUS) & 1:
        pass
    got.append(stage.read(to.value, 0))
    for offset, size in ((0xFC, 8), (0x101, 0), (1 << 40, 4), (0, 1 << 63)):
        got.append(stage.call("subregion", MEMT, handle, offset, size, ctypes.byref(to)))
    got.append(stage.call("subregion", MEMT, 0x1000, 0, 4, ctypes.byref(to)))
    return got


@hosts
def test_a_subregion_is_a_handle_and_no_more_than_its_window(play: Player, url: str) -> None:
    assert play(part, url) == [0, 24, 22, 22, 22, 22, 22]


def maps(stage: Stage) -> list[object]:
    start, handle = stage.bar(stage.find(), 0), ctypes.c_uint64()
    wrong = [(MEMT, start + 0xFFFFC, 8), (MEMT, 0x1000, 4), (7, start, 4), (0, start, 4),
             (MEMT, start, 1 << 63)]  # fmt: skip
    errors = [stage.call("map", tag, at, size, ctypes.byref(handle)) for tag, at, size in wrong]
    inside = stage.map(start + FACTORIAL, 4)
    stage.write(inside, 0, 3)
    old = stage.call("old_map", start, 0x100)
    value = stage.read(old, ID)
    return [errors, value, stage.call("old_map", 0x1000, 4), len(stage.findings())]


@hosts
def test_only_what_a_bar_has_is_mapped(play: Player, url: str) -> None:
    assert play(maps, url) == [[6, 6, 22, 6, 6], 0x010000ED, 0, 3]


def many_windows(stage: Stage) -> list[object]:
    start, handle = stage.bar(stage.find(), 0), ctypes.c_uint64()
    handles = [stage.map(start, 0x100) for _ in range(_MOST)]
    full = stage.call("map", MEMT, start, 4, ctypes.byref(handle))
    got = {stage.read(handles[0], ID), stage.read(handles[-1], ID)}
    for each in handles:
        stage.call("unmap", MEMT, each, 0x100)
    return [len(set(handles)), full, list(got), stage.read(stage.registers(), ID)]


def test_as_many_windows_as_there_are_handles(play: Player) -> None:
    assert play(many_windows, "model:edu") == [_MOST, 22, [0x010000ED], 0x010000ED]


def eight(stage: Stage) -> list[int]:
    handle = stage.registers()
    stage.write(handle, DMA, 0x0123456789ABCDEF, 8)
    return [stage.read(handle, DMA, 8), stage.read(handle, 0x84, 8)]


@hosts
def test_eight_bytes_are_one_access(play: Player, url: str) -> None:
    whole, crooked = play(eight, url)
    assert whole == 0x0123456789ABCDEF
    assert crooked == (1 << 64) - 1
