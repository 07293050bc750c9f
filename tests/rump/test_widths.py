"""One access of a driver is one access of that width: QEMU's own trace is the judge."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import pytest

from tests.needs import compiler
from tests.qemu.needs import qemu
from tests.rump.scene import Player
from tests.rump.stage import IOT, MEMT, Stage

pytestmark = [compiler, qemu]
RTL8139 = 0x813910EC
BASE = 0x08
"""rtl8139's multicast filter: 8 bytes that keep what is written, at any width."""
LINE = re.compile(r"memory_region_ops_(read|write) cpu -1 .*addr (0x\w+) value (0x\w+) size (\d+)")
VALUE = 0x0123_4567_89AB_CDEF
PLACES = [
    pytest.param("rtl8139", RTL8139, 0, IOT, (1, 2, 4), id="ports"),
    pytest.param("rtl8139", RTL8139, 1, MEMT, (1, 2, 4), id="memory"),
    pytest.param("edu", 0x11E81234, 0, MEMT, (8,), id="eight"),
]
places = pytest.mark.parametrize(("device", "pci_id", "bar", "tag", "widths"), PLACES)


def opened(stage: Stage, pci_id: int, bar: int, tag: int) -> tuple[int, int]:
    """A handle, and the bus address that it has in a trace: rtl8139's memory has its ports'."""
    offset, size = (BASE, 8) if pci_id == RTL8139 else (0x80, 0x18)
    found = stage.find(pci_id)
    return stage.map(stage.bar(found, bar) + offset, size, tag), stage.bar(found, 0) + offset


def traced(path: Path, base: int, size: int = 0x18) -> list[tuple[str, int, int, int]]:
    """Verb, offset, width and value of the accesses at [base, base + size) in a trace."""
    rows = LINE.findall(path.read_text())
    made = [(verb, int(at, 16) - base, int(n), int(value, 16)) for verb, at, value, n in rows]
    # what QEMU logs of a narrow read may have more bits
    cut = [(verb, at, n, value & (1 << 8 * n) - 1) for verb, at, n, value in made]
    return [row for row in cut if 0 <= row[1] < size]


def singles(stage: Stage, pci_id: int, bar: int, tag: int, widths: list[int]) -> Any:
    handle, at = opened(stage, pci_id, bar, tag)
    got = []
    for width in widths:
        for offset in range(0, 8, width):
            stage.write(handle, offset, VALUE >> 8 * offset, width, tag)
            got.append(stage.read(handle, offset, width, tag))
    return [at, got]


@places
def test_single_accesses(
    play: Player, tmp_path: Path, device: str, pci_id: int, bar: int, tag: int, widths: list[int]
) -> None:
    trace = tmp_path / "trace"
    at, got = play(singles, f"qemu:{device}?trace={trace}", pci_id, bar, tag, widths)
    wanted = [
        (verb, offset, width, VALUE >> 8 * offset & (1 << 8 * width) - 1)
        for width in widths for offset in range(0, 8, width) for verb in ("write", "read")
    ]  # fmt: skip
    assert got == [value for verb, _, _, value in wanted if verb == "read"]
    assert traced(trace, at) == wanted


def many(stage: Stage, pci_id: int, bar: int, tag: int, widths: list[int]) -> Any:
    handle, at = opened(stage, pci_id, bar, tag)
    data = VALUE.to_bytes(8, "little")
    got = []
    for width in widths:
        count, buffer = 8 // width, ctypes.create_string_buffer(8)
        stage.call("write_region", width, tag, handle, 0, data, count)
        stage.call("read_region", width, tag, handle, 0, buffer, count)
        got.append(buffer.raw.hex())
        stage.call("write_multi", width, tag, handle, 0, data, count)
        stage.call("read_multi", width, tag, handle, 0, buffer, count)
        got.append(buffer.raw.hex())
        stage.call("set_region", width, tag, handle, 0, 0x1111_1111_1111_1111, count)
        for name in ("read_region", "write_multi", "set_region"):  # nothing is nothing
            stage.call(name, width, tag, handle, 0, 0 if name == "set_region" else buffer, 0)
    return [at, got]


def wanted_of_many(width: int) -> list[tuple[str, int, int, int]]:
    offsets, mask = range(0, 8, width), (1 << 8 * width) - 1
    parts = [VALUE >> 8 * offset & mask for offset in offsets]
    rows = [
        (v, o, width, p) for v in ("write", "read") for o, p in zip(offsets, parts, strict=True)
    ]
    rows += [("write", 0, width, part) for part in parts]
    rows += [("read", 0, width, parts[-1]) for _ in parts]
    return rows + [("write", o, width, 0x1111_1111_1111_1111 & mask) for o in offsets]


@places
def test_regions_and_ports_of_many(
    play: Player, tmp_path: Path, device: str, pci_id: int, bar: int, tag: int, widths: list[int]
) -> None:
    trace = tmp_path / "trace"
    at, got = play(many, f"qemu:{device}?trace={trace}", pci_id, bar, tag, widths)
    last = [VALUE.to_bytes(8, "little")[-width:] * (8 // width) for width in widths]
    whole = VALUE.to_bytes(8, "little")
    assert got == [part.hex() for each in last for part in (whole, each)]
    wanted = [row for width in widths for row in wanted_of_many(width)]
    assert traced(trace, at) == wanted


def copied(stage: Stage) -> list[list[int]]:
    handle, _ = opened(stage, RTL8139, 1, MEMT)
    for offset, value in enumerate(b"abcdefgh"):
        stage.write(handle, offset, value, 1)
    stage.call("copy_region", 1, MEMT, handle, 0, handle, 2, 6)  # overlapping, upwards
    up = [stage.read(handle, offset, 1) for offset in range(8)]
    stage.call("copy_region", 2, MEMT, handle, 2, handle, 0, 3)
    return [up, [stage.read(handle, offset, 1) for offset in range(8)]]


def test_a_region_is_copied_as_if_all_of_it_were_read_first(play: Player) -> None:
    assert play(copied, "qemu:rtl8139") == [list(b"ababcdef"), list(b"abcdefef")]


def past(stage: Stage) -> list[object]:
    handle, _ = opened(stage, RTL8139, 0, IOT)
    buffer = ctypes.create_string_buffer(16)
    stage.call("read_region", 4, IOT, handle, 0, buffer, 4)
    stage.call("write_region", 4, IOT, handle, 4, buffer, 2)
    stage.call("read_multi", 1, IOT, 0, 0, buffer, 4)
    return [buffer.raw.hex(), stage.findings()]


def test_a_region_that_goes_past_its_window_is_not_begun(play: Player) -> None:
    data, told = play(past, "qemu:rtl8139")
    assert data == "ff" * 16
    for line, words in zip(told, ("drv_read_region", "drv_write_region", "of 0x0"), strict=True):
        assert words in line


def serial(stage: Stage) -> list[int]:
    found = stage.find(0x00021B36)
    handle = stage.map(stage.bar(found, 0), 8, IOT)
    got = []
    for value in (0x5A, 0xA5):
        stage.write(handle, 7, value, 1, IOT)
        got.append(stage.read(handle, 7, 1, IOT))
    stage.call("unmap", IOT, handle, 8)
    return [*got, stage.read(handle, 7, 1, IOT)]


def test_ports_of_a_serial_card(play: Player) -> None:
    assert play(serial, "qemu:pci-serial") == [0x5A, 0xA5, 0xFF]
