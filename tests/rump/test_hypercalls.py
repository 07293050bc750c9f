"""Configuration space as a rump kernel's drivers see it, and what becomes of functions."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import EDU_ID, Stage

pytestmark = compiler
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]
hosts = pytest.mark.parametrize("url", HOSTS)
ONES = 0xFFFF_FFFF
COMMAND, BAR0, LINE = 0x04, 0x10, 0x3C


def scanned(stage: Stage) -> list[Any]:
    found = stage.find()
    at = stage.arguments(found)
    claimed = [f for f in stage.host.functions() if f.claimed_by]
    tags = [at.iot, at.memt, at.dmat != 0x20, at.dmat64 != 0x40, at.dmat != at.dmat64]
    return [stage.conf_read(found, 0), tags, len(claimed)]


@hosts
def test_a_scan_claims_nothing_and_each_function_gets_tags(play: Player, url: str) -> None:
    assert play(scanned, url) == [EDU_ID, [0, 1, True, True, True], 0]


def lazily(stage: Stage) -> list[Any]:
    handle = stage.registers()
    command = stage.conf_read(stage.find(), COMMAND)
    return [handle >> 56, command & 3, len(stage.kernel.unused()),
            [f.claimed_by for f in stage.host.functions() if f.claimed_by]]  # fmt: skip


def test_what_is_used_is_claimed_and_decoded(play: Player) -> None:
    magic, command, unused, claimed = play(lazily, "model:edu+edu")
    assert (magic, unused, len(claimed)) == (0xC9, 1, 1)
    assert command & 2


def tags_of_two(stage: Stage) -> list[Any]:
    both = [stage.arguments(stage.find(skip=skip)) for skip in (0, 1)]
    return [len({at.dmat for at in both} | {at.dmat64 for at in both}), [at.device for at in both]]


def test_two_functions_have_tags_of_their_own(play: Player) -> None:
    assert play(tags_of_two, "model:edu+edu") == [4, [1, 2]]


def absent(stage: Stage) -> list[Any]:
    got = []
    for bus, device, function, reg in ((0, 30, 0, 0), (9, 0, 0, 0), (0, 0, 7, 0)):
        value = ctypes.c_uint(5)
        stage.call("conf_read", bus, device, function, reg, ctypes.byref(value))
        stage.call("conf_write", bus, device, function, COMMAND, 7)
        got.append(value.value)
    return [got, stage.findings()]


@hosts
def test_where_nothing_is_there_are_ones(play: Player, url: str) -> None:
    assert play(absent, url) == [[ONES] * 3, []]


def rules(stage: Stage) -> list[Any]:
    found = stage.find()
    before = stage.conf_read(found, BAR0)
    stage.conf_write(found, LINE, stage.conf_read(found, LINE) ^ 0x55)
    stage.conf_write(found, BAR0, ONES)
    sized = stage.conf_read(found, BAR0)
    stage.conf_write(found, BAR0, before)
    handle = stage.registers()
    crooked = stage.conf_write(found, 0x11, 0)
    beyond = stage.conf_write(found, 0x1000, 0)
    return [sized, stage.conf_read(found, BAR0) == before, stage.read(handle, 0), crooked, beyond,
            stage.findings()]  # fmt: skip


@hosts
def test_a_bar_is_sized_and_stays_where_it_is(play: Player, url: str) -> None:
    sized, same, value, crooked, beyond, told = play(rules, url)
    assert sized & ~0xF == ONES & ~0xFFFFF
    assert (same, value) == (True, 0x010000ED)
    assert crooked
    assert beyond
    assert told


def given(stage: Stage) -> list[Any]:
    at = stage.arguments(stage.find())
    return [at.device, stage.call("find", EDU_ID, 1), stage.kernel.unused()]


def test_functions_that_are_not_given_are_not_seen(play: Player) -> None:
    unused = ["0000:00:02.0 (1234:11e8)"]
    assert play(given, "model:edu+edu", devices=["0000:00:02.0"]) == [2, None, unused]
