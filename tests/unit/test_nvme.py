"""nvme without a device: PRPs as a controller reads them, entries, declarations."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, strategies as st

from rumpci.drivers import nvmedata, nvmereg
from rumpci.drivers.nvmedata import (
    HealthLog,
    IdentifyController,
    IdentifyNamespace,
    LbaFormat,
    Member,
    Structure,
    active_namespaces,
)
from rumpci.drivers.nvmeprp import prp_entries, prp_pair
from rumpci.drivers.nvmereg import (
    NVME_COMMAND_DWORDS,
    NVME_CQE,
    NVME_CQHDBL,
    NVME_REGISTERS,
    NVME_RW_12,
    NVME_SQE,
    NVME_SQE_LBA,
    NVME_SQTDBL,
    status_text,
)
from rumpci.errors import BadRange, DriverError, ValueTooWide
from rumpci.regs import Register

PAGE = 4096
LIST = 0x7000_0000
"""Where the PRP list is on the bus."""


def controller_reads(prp1: int, prp2: int, prps: memoryview, size: int) -> list[tuple[int, int]]:
    """The (address, bytes) that a controller transfers, by 4.3."""
    first = min(size, PAGE - prp1 % PAGE)
    parts, left = [(prp1, first)], size - first
    if 0 < left <= PAGE:
        entries = [prp2]
    else:
        assert not left or prp2 == LIST
        entries = list(prps)
    for entry in entries:
        if left > 0:
            assert entry % PAGE == 0
            parts.append((entry, min(left, PAGE)))
            left -= min(left, PAGE)
    assert left <= 0
    return parts


@st.composite
def transfers(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Bytes of a transfer's first page that come before it, and its pages, anywhere."""
    pages = draw(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=40, unique=True))
    return draw(st.integers(0, PAGE // 4 - 1)) * 4, [PAGE * page for page in pages]


def cut(offset: int, pages: list[int], size: int) -> list[tuple[int, int]]:
    """The segments of a map with page-sized segments."""
    segments = []
    for number, page in enumerate(pages):
        start = offset if number == 0 else 0
        length = min(PAGE - start, size)
        if length:
            segments.append((page + start, length))
            size -= length
    return segments


def merged(segments: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes with neighbours as one segment."""
    out: list[tuple[int, int]] = []
    for start, length in segments:
        if out and sum(out[-1]) == start:
            out[-1] = (out[-1][0], out[-1][1] + length)
        else:
            out.append((start, length))
    return out


@given(transfers(), st.data())
def test_a_controller_finds_every_byte(
    transfer: tuple[int, list[int]], data: st.DataObject
) -> None:
    offset, pages = transfer
    size = data.draw(st.integers(1, len(pages) * PAGE - offset))
    segments = cut(offset, pages, size)
    prps = memoryview(bytearray(8 * 64)).cast("Q")
    for form in (segments, merged(segments)):
        entries = prp_entries(form, PAGE)
        assert controller_reads(*prp_pair(entries, prps, LIST), prps, size) == segments


@pytest.mark.parametrize(
    ("segments", "why"),
    [
        ([(0x1000, 4096), (0x2004, 4)], "segment 1 .* does not start at a page"),
        ([(0x1000, 512), (0x3000, 4096)], "segment 1 .* the one before it ends at 0x1200"),
        ([(0x1002, 512)], "segment 0 .* multiple of four"),
        ([(0x1000, 4096), (0x2000, 0)], "segment 1 .* empty"),
        ([(0x1000, 4096), (0x2000, 4096), (0x3000, 100), (0x4000, 4)], "segment 3"),
    ],
)
def test_segments_that_no_prp_can_name(segments: list[tuple[int, int]], why: str) -> None:
    with pytest.raises(BadRange, match=why):
        prp_entries(segments, PAGE)


def test_a_list_without_room() -> None:
    prps = memoryview(bytearray(8 * 3)).cast("Q")
    assert prp_pair([1, 2, 3, 4], prps, LIST) == (1, LIST)
    with pytest.raises(DriverError, match="room for 3"):
        prp_pair([1, 2, 3, 4, 5], prps, LIST)


# ---- declarations -------------------------------------------------------------------------


@pytest.mark.parametrize("register", [*NVME_REGISTERS, *NVME_COMMAND_DWORDS])
def test_fields_do_not_overlap(register: type[Register]) -> None:
    masks = [field.mask for field in register.fields.values()]
    assert sum(masks) == sum(set(masks))
    assert sum(masks).bit_count() == sum(mask.bit_count() for mask in masks)
    assert register.section
    assert register.__doc__


def test_registers_do_not_overlap() -> None:
    spans = sorted((r.offset, r.offset + r.width) for r in NVME_REGISTERS)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
    assert spans[-1][1] <= nvmereg.NVME_REGS_SIZE


STRUCTURES = [c for c in vars(nvmedata).values() if isinstance(c, type) and c is not Structure]
STRUCTURES = [c for c in STRUCTURES if issubclass(c, Structure)]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_members_do_not_overlap(structure: type[Structure]) -> None:
    spans = sorted((m.offset, m.offset + m.size) for m in structure.members().values())
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
    with pytest.raises(BadRange):
        structure(bytes(structure.size - 1))


def test_a_member_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="ends outside"):

        class Wrong(Structure, size=4):
            LATE = Member(2, 4)


def test_entries_have_the_size_of_the_specification() -> None:
    assert (NVME_SQE.size, NVME_CQE.size) == (1 << 6, 1 << 4)
    entry = NVME_SQE.pack(2, 0, 7, 1, 0, 0, 11, 12, 0x55667788, 0x11223344, 0, 0, 0, 0)
    assert struct.unpack_from("<Q", entry, NVME_SQE_LBA) == (0x1122334455667788,)
    assert struct.unpack_from("<QQ", entry, 24) == (11, 12)


@pytest.mark.parametrize("dstrd", [0, 1, 4])
def test_doorbells(dstrd: int) -> None:
    stride = 4 << dstrd
    assert [NVME_SQTDBL(q, dstrd) for q in (0, 1, 3)] == [0, 2 * stride, 6 * stride]
    assert [NVME_CQHDBL(q, dstrd) for q in (0, 1, 3)] == [stride, 3 * stride, 7 * stride]


def test_too_many_blocks_for_a_command() -> None:
    with pytest.raises(ValueTooWide):
        NVME_RW_12(NLB=1 << 16)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x080, "LBA out of range (type 0x0, code 0x80)"),
        (0x4080, "LBA out of range (type 0x0, code 0x80)"),  # with DNR
        (0x281, "unrecovered read error (type 0x2, code 0x81)"),
        (0x77F, "unknown status (type 0x7, code 0x7f)"),
    ],
)
def test_status_text(status: int, text: str) -> None:
    assert status_text(status) == text


def test_identify_data() -> None:
    data = bytearray(4096)
    data[4:24] = b"12\x07".ljust(20)
    data[77] = 7
    data[516:520] = (256).to_bytes(4, "little")
    controller = IdentifyController(data)
    assert (controller.SN, controller.MDTS, controller.NN) == ("12?", 7, 256)


def test_namespace_data() -> None:
    data = bytearray(4096)
    data[0:8] = (1 << 33).to_bytes(8, "little")
    data[26] = 0x13  # format 3, and a bit above it
    data[99] = 1
    data[140:144] = bytes([8, 0, 12, 0])
    namespace = IdentifyNamespace(data)
    lbaf = namespace.lbaf()
    assert (namespace.NSZE, lbaf.MS, lbaf.LBADS) == (1 << 33, 8, 12)
    assert namespace.write_protected
    assert LbaFormat.size == 4


def test_active_namespaces() -> None:
    assert active_namespaces(struct.pack("<4I", 1, 5, 0, 9)) == [1, 5]
    assert active_namespaces(struct.pack("<2I", 1, 5)) == [1, 5]
    assert active_namespaces(bytes(4096)) == []


def test_health_log() -> None:
    data = bytearray(512)
    data[1:3] = (323).to_bytes(2, "little")
    data[64:80] = (1 << 100).to_bytes(16, "little")
    health = HealthLog(data)
    assert (health.TEMPERATURE, health.HOST_READS) == (323, 1 << 100)
