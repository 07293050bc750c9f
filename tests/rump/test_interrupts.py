"""pci_intr(9) and pci_msi(9) of a rump kernel's drivers, and its threads."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import pytest

from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import Stage
from tests.waiting import until

pytestmark = compiler
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]
hosts = pytest.mark.parametrize("url", HOSTS)
RAISE, FACTORIAL, STATUS = 0x60, 0x08, 0x20
MSI = 1


def established(stage: Stage) -> tuple[int, int]:
    handle = stage.registers()
    softc = stage.call("establish", stage.find(), handle)
    assert softc, stage.findings()
    return handle, softc


def comes(stage: Stage, softc: int, count: int) -> None:
    until(lambda: stage.call("count", softc) >= count, "no interrupt")


def some(stage: Stage, handle: int, softc: int, times: int = 20) -> int:
    """Raise that many, one after the other; how many came."""
    before = stage.call("count", softc)
    for i in range(times):
        stage.write(handle, RAISE, 1 << i)
        comes(stage, softc, before + i + 1)
    return int(stage.call("count", softc) - before)


def handled(stage: Stage) -> list[Any]:
    handle, softc = established(stage)
    got = some(stage, handle, softc)
    threads = stage.kthreads()
    stage.write(handle, STATUS, 0x80)
    stage.write(handle, FACTORIAL, 5)
    comes(stage, softc, got + 1)
    return [threads, got, stage.call("unlocked", softc), stage.call("causes", softc)]


@hosts
def test_a_handler_runs_in_a_thread_with_the_kernel_lock(play: Player, url: str) -> None:
    assert play(handled, url) == [2, 20, 0, (1 << 20) - 1]


def taken_back(stage: Stage) -> list[Any]:
    handle, softc = established(stage)
    some(stage, handle, softc, 3)
    stage.call("disestablish", softc)
    threads, count = stage.kthreads(), stage.call("count", softc)
    stage.write(handle, RAISE, 1)
    time.sleep(0.05)
    silent = stage.call("count", softc) == count
    stage.write(handle, 0x64, 1)
    again = stage.call("establish", stage.find(), handle)
    assert again, stage.findings()
    got = some(stage, handle, again, 3)
    stage.call("disestablish", again)
    stage.call("disestablish", again)
    return [threads, silent, got, stage.findings()]


@hosts
def test_after_disestablish_no_handler_runs_and_no_thread_is_left(play: Player, url: str) -> None:
    threads, silent, got, told = play(taken_back, url)
    assert (threads, silent, got) == (1, True, 3)
    assert len(told) == 1
    assert "not established" in told[0]
    assert "drv_disestablish" in told[0]


def disestablished_in_a_storm(stage: Stage) -> int:
    """The handler waits for the CPU that disestablish has to give up."""
    for _ in range(20):
        handle, softc = established(stage)
        stage.write(handle, RAISE, 1)
        stage.call("disestablish", softc)
        stage.write(handle, 0x64, 1)
    return stage.kthreads()


@hosts
def test_disestablish_while_the_handler_is_about_to_run(play: Player, url: str) -> None:
    assert play(disestablished_in_a_storm, url) == 1


def hammered(stage: Stage, times: int) -> list[int]:
    _, softc = established(stage)
    wrong = stage.call("hammer", softc, 4, times)
    until(lambda: stage.call("causes", softc) == 0xF, "a cause never came")
    return [wrong, stage.call("unlocked", softc)]


@hosts
def test_threads_use_registers_while_interrupts_come(play: Player, url: str, soak: bool) -> None:
    assert play(hammered, url, 20_000 if soak else 300) == [0, 0]


# ---- messages ------------------------------------------------------------------------------------


def allocated(stage: Stage, wanted: list[int] | None, most: int) -> tuple[int, Any, list[int]]:
    array = ctypes.c_void_p()
    counts = None if wanted is None else (ctypes.c_int * 3)(*wanted)
    error = stage.call("alloc", stage.find(), ctypes.byref(array), counts, most)
    return error, array.value, [] if counts is None else list(counts)


def by_message(stage: Stage, wanted: list[int] | None) -> list[Any]:
    handle = stage.registers()
    error, array, counts = allocated(stage, wanted, 2)
    assert not error, stage.findings()
    text = ctypes.create_string_buffer(32)
    stage.call("string", array, text, 32)
    softc = stage.call("establish_at", array, handle)
    assert softc, stage.findings()
    got = [stage.call("type", array), counts, text.value.decode(), some(stage, handle, softc)]
    stage.call("disestablish", softc)
    stage.call("release", array, 1)
    stage.call("release", array, 1)
    _, softc = established(stage)  # with INTx again
    return [*got, some(stage, handle, softc, 2), stage.findings()]


@hosts
@pytest.mark.parametrize("wanted", [None, [1, 1, 1], [0, 4, 0]])
def test_a_message(play: Player, url: str, wanted: list[int] | None) -> None:
    type_, counts, text, messages, lines, told = play(by_message, url, wanted)
    assert (type_, messages, lines) == (MSI, 20, 2)
    assert counts == ([] if wanted is None else [0, 1, 0])
    assert "msi" in text
    assert ["these were not allocated" in line for line in told] == [True]


def without_mastering(stage: Stage) -> list[Any]:
    """A driver that switched it off is told where its handler is."""
    handle = stage.registers()
    _, array, _ = allocated(stage, None, MSI)
    command = stage.conf_read(stage.find(), 4)
    stage.conf_write(stage.find(), 4, command & ~4)
    return [command & 4, stage.call("establish_at", array, handle), stage.findings()]


@hosts
def test_a_message_of_what_is_no_bus_master(play: Player, url: str) -> None:
    command, softc, told = play(without_mastering, url)
    assert (command, softc) == (4, None)
    assert "bus mastering is off" in told[0]
    assert " from intr " in told[0]


def none_of(stage: Stage) -> list[Any]:
    return [allocated(stage, wanted, most)[0] for wanted, most in (
        ([0, 0, 8], 2), ([0, 0, 0], 2), (None, -1), ([0, 1, 1], 0))]  # fmt: skip


@hosts
def test_types_that_a_function_has_not(play: Player, url: str) -> None:
    assert play(none_of, url) == [28] * 4


def only_intx(stage: Stage) -> list[Any]:
    error, array, counts = allocated(stage, [1, 1, 1], 2)
    short = ctypes.create_string_buffer(b"x" * 8, 8)
    stage.call("string", array, short, 4)
    stage.call("string", array, short, 0)
    return [error, counts, stage.call("type", array), short.raw.hex()]


@hosts
def test_a_kernel_that_offers_no_messages(play: Player, url: str) -> None:
    error, counts, type_, text = play(only_intx, url, msi=0)
    assert (error, counts, type_) == (0, [1, 0, 0], 0)
    assert bytes.fromhex(text)[3:] == b"\0xxxx"
