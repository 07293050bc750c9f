"""Parts of the VFIO host that need no kernel: its interface, its addresses, its log, regions."""

from __future__ import annotations

import errno
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from rumpci._native import BusSpaceHandle, Region as Mapped, bus_space_read_4
from rumpci.errors import DeviceBusy, NotSupported
from rumpci.host import Address
from rumpci.hosts.vfio import abi, iommufd
from rumpci.hosts.vfio.container import IommuInfo
from rumpci.hosts.vfio.device import VfioDevice
from rumpci.hosts.vfio.region import Region
from rumpci.hosts.vfio.reset import hot_reset
from rumpci.machines.kernellog import KernelLog, parse
from tests import needs

HEADER = Path("/usr/include/linux/vfio.h")
P = 4096


# ---- the kernel's interface ---------------------------------------------------------


@needs.file(HEADER, "linux-libc-dev")
@pytest.mark.parametrize("request_", list(abi.Request.__members__))
def test_requests_are_those_of_the_kernels_header(request_: str) -> None:
    found = re.search(rf"#define VFIO_{request_}\s+_IO\(VFIO_TYPE, VFIO_BASE \+ (\d+)\)",
                      HEADER.read_text())  # fmt: skip
    assert found
    assert abi.Request[request_] == ord(";") << 8 | 100 + int(found[1])


def chain(*caps: bytes, loop: bool = False) -> bytes:
    """An answer of 24 bytes, then capabilities of (id, body) one after the other."""
    data, at = bytes(24), 24
    for index, cap in enumerate(caps):
        following = at + len(cap) if index + 1 < len(caps) else 24 if loop else 0
        data += cap[:4] + struct.pack("<I", following) + cap[8:]
        at += len(cap)
    return data


def cap(id_: int, body: bytes) -> bytes:
    return struct.pack("<HHI", id_, 1, 0) + body


RANGES = cap(1, struct.pack("<IIQQQQ", 2, 0, 0, 0xFEDF_FFFF, 0xFEF0_0000, (1 << 39) - 1))
AVAIL = cap(3, struct.pack("<I", 65535))


def test_capabilities_of_an_answer() -> None:
    data = chain(RANGES, AVAIL)
    found = dict(abi.capabilities(data, 24))
    assert list(found) == [1, 3]
    assert abi.iova_ranges(data, found[1]) == [(0, 0xFEE0_0000), (0xFEF0_0000, 1 << 39)]
    assert list(abi.capabilities(data, 0)) == []


@pytest.mark.parametrize("first", [24, 4096, len(chain(RANGES)) - 4])
def test_a_chain_that_is_none_ends(first: int) -> None:
    assert len(list(abi.capabilities(chain(RANGES, loop=True), first))) <= 64


def test_sparse_areas() -> None:
    data = chain(cap(1, struct.pack("<IIQQQQ", 2, 0, 0, P, 4 * P, 0)))
    assert abi.sparse_areas(data, 24) == [(0, P)]


@pytest.mark.parametrize(
    ("ranges", "bits", "reserved"),
    [
        ([(0, 1 << 39)], 39, []),
        ([(0, 0xFEE0_0000), (0xFEF0_0000, 1 << 39)], 39, [(0xFEE0_0000, 0xFEF0_0000)]),
        ([(0x1_0800, 0x2_0800)], 18, [(0, 0x1_1000), (0x2_0000, 0x4_0000)]),
    ],
)
def test_reserved_addresses(
    ranges: list[tuple[int, int]], bits: int, reserved: list[tuple[int, int]]
) -> None:
    info = IommuInfo(P, ranges, None)
    assert (info.address_bits, info.reserved) == (bits, reserved)


# ---- the kernel's log ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "source", "addr", "write", "why"),
    [
        ("DMAR: [DMA Write NO_PASID] Request device [00:10.0] fault addr 0x1234000 "
         "[fault reason 0x05] PTE Write access is not set", 0x80, 0x1234000, True, "PTE Write"),
        ("DMAR: [DMA Read] Request device [01:00.1] PASID ffffffff fault addr ffff0000 "
         "[fault reason 06] PTE Read access is not set", 0x101, 0xFFFF0000, False, "PTE Read"),
        ("vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d "
         "address=0x1000 flags=0x0020]", 0x100, 0x1000, True, "page fault"),
        ("AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x000d "
         "address=0x1000 flags=0x0000]", 0x100, 0x1000, False, "page fault"),
    ],
)  # fmt: skip
def test_lines_that_tell_of_a_fault(
    line: str, source: int, addr: int, write: bool, why: str
) -> None:
    fault = parse(line)
    assert fault
    assert (fault.source, fault.addr, fault.write) == (source, addr, write)
    assert why in fault.reason


@pytest.mark.parametrize("line", ["", "DMAR: DRHD: handling fault status reg 2", "usb 1-1: new"])
def test_other_lines(line: str) -> None:
    assert parse(line) is None


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    log = KernelLog(tmp_path)
    assert not log.readable
    assert log.faults() == []
    log.close()


# ---- regions: a file in the place of a device -------------------------------------------


@pytest.fixture
def region() -> Iterator[Region]:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(P) + struct.pack("<1024I", *range(1024)) * 4)
        file.flush()
        flags = abi.REGION_READ | abi.REGION_WRITE | abi.REGION_MMAP
        yield Region(file.fileno(), 4 * P, P, flags, ((0, P), (2 * P, 4 * P)))


def test_one_access_of_each_width(region: Region) -> None:
    assert [region.read(4, width) for width in (1, 2, 4)] == [1, 1, 1]
    region.write(6, 2, 0xBEEF)
    assert region.read(4, 4) == 0xBEEF_0001
    assert region.read_many(8, 4, 3, 0) == struct.pack("<3I", 2, 2, 2)
    region.write_many(8, 4, 4, struct.pack("<2I", 7, 8))
    assert region.read_many(8, 4, 2, 4) == struct.pack("<2I", 7, 8)


def test_eight_bytes_are_no_single_access(region: Region) -> None:
    with pytest.raises(NotSupported, match="two of 4 bytes"):
        region.read(8, 8)


def test_what_is_gone_reads_ones(region: Region) -> None:
    assert region.read(64 * P, 4) == 0xFFFF_FFFF
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        gone = Region(null, P, 0, 0)
        assert gone.read(0, 2) == 0xFFFF
    finally:
        os.close(null)


def test_the_largest_part_is_mapped(region: Region) -> None:
    assert region.mappable(0, 4 * P) == (2 * P, 4 * P)
    assert region.mappable(0, 2 * P) == (0, P)
    assert region.mappable(P, P) is None
    assert region.map(P, P, at=0) is None


class Window:
    """What a handle needs of a window."""

    label, offset, writable, size = "BAR0", 0x10, True, 4 * P

    def __init__(self, region: Region) -> None:
        self.region = region
        self.mapping = region.map(self.offset, self.size - self.offset, at=0)

    def read(self, position: int, width: int) -> int:
        return self.region.read(self.offset + position, width)


def test_mapped_and_trapped_parts_of_a_window_agree(region: Region) -> None:
    window = Window(region)
    assert window.mapping
    assert (window.mapping.start, window.mapping.end) == (2 * P - 0x10, 4 * P - 0x10)
    handle = BusSpaceHandle(None, Mapped(window), 0, window.size - window.offset)
    for position in (0, P - 0x10, 2 * P - 0x10, 2 * P, 3 * P + 4):
        assert bus_space_read_4(None, handle, position) == (position + 0x10) % P // 4
    window.mapping.revoke()
    assert bus_space_read_4(None, handle, 2 * P) == 4


# ---- hot resets ----------------------------------------------------------------------


class Opened:
    """As much of a device as a hot reset looks at."""

    fd = -1

    class function:  # noqa: N801
        address = Address(0, 1, 0, 0)


def kernel_says(monkeypatch: pytest.MonkeyPatch, flags: int, *dependents: bytes) -> list[bytes]:
    """A kernel that answers a question about hot resets, and notes the requests."""
    requests = list[bytes]()

    def ioctl(_fd: int, request: int, data: bytearray) -> int:
        if request == abi.Request.DEVICE_GET_PCI_HOT_RESET_INFO:
            answer = struct.pack("<III", 12, flags, len(dependents)) + b"".join(dependents)
            data[: len(answer)] = answer
        else:
            requests.append(bytes(data))
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    return requests


def dependent(number: int, function: int) -> bytes:
    return struct.pack("<IHBB", number, 0, 1, function)


def test_a_hot_reset_needs_every_group(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cast("VfioDevice", Opened())
    requests = kernel_says(monkeypatch, 0, dependent(7, 0), dependent(8, 1))
    with pytest.raises(DeviceBusy, match=r"reset 0000:01:00\.1 \(group 8\), too"):
        hot_reset(device, {7: 33})
    assert hot_reset(device, {7: 33, 8: 34}) == "hot reset of its bus"
    assert requests == [struct.pack("<IIIii", 20, 0, 2, 33, 34)]


def test_a_hot_reset_by_an_iommufd_names_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cast("VfioDevice", Opened())
    theirs = abi.DEVID_NOT_OWNED
    requests = kernel_says(monkeypatch, 1, dependent(5, 0), dependent(theirs, 1))
    with pytest.raises(DeviceBusy, match=r"reset 0000:01:00\.1, too"):
        hot_reset(device, {})
    assert requests == []
    requests = kernel_says(monkeypatch, 3, dependent(5, 0), dependent(0, 1))
    hot_reset(device, {})
    assert requests == [struct.pack("<III", 12, 0, 0)]


def test_as_many_ranges_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iommufd that has more ranges than there is room for says how many."""
    many = [(at << 20, (at << 20) + 0xFFFF) for at in range(100)]

    def ioctl(_fd: int, request: int, data: iommufd.IoasRanges) -> int:
        assert request == iommufd.IOAS_IOVA_RANGES
        room, data.num_iovas = data.num_iovas, len(many)
        if room < len(many):
            raise OSError(errno.EMSGSIZE, "Message too long")
        found = (abi.IovaRange * len(many)).from_address(data.allowed_iovas)
        for one, (start, end) in zip(found, many, strict=True):
            one.start, one.end = start, end
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    info = iommufd.ranges_of(-1, 1)
    assert list(info.ranges) == [(start, end + 1) for start, end in many]
