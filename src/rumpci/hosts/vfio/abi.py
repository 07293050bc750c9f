"""The kernel's VFIO interface: requests, structures, flags, each declared once.

    /dev/vfio/vfio    a container: what its groups' devices may reach (`TYPE1_*`, DMA)
    /dev/vfio/NUMBER  a group: the smallest set of functions that an IOMMU can tell apart
    device            regions (BARs, configuration space) and interrupts

Source: Linux, include/uapi/linux/vfio.h and Documentation/driver-api/vfio.rst.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Iterator

u8, u16, u32, s32, u64 = (
    ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint64,
)  # fmt: skip
API_VERSION = 0


class Request(enum.IntEnum):
    """The ioctl requests: _IO(';', 100 + n)."""

    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    GROUP_GET_STATUS = 0x3B67
    GROUP_SET_CONTAINER = 0x3B68
    GROUP_UNSET_CONTAINER = 0x3B69
    GROUP_GET_DEVICE_FD = 0x3B6A
    DEVICE_GET_INFO = 0x3B6B
    DEVICE_GET_REGION_INFO = 0x3B6C
    DEVICE_GET_IRQ_INFO = 0x3B6D
    DEVICE_SET_IRQS = 0x3B6E
    DEVICE_RESET = 0x3B6F
    DEVICE_GET_PCI_HOT_RESET_INFO = 0x3B70
    DEVICE_PCI_HOT_RESET = 0x3B71
    IOMMU_GET_INFO = 0x3B70  # of a container; the numbers of a device's and its overlap
    IOMMU_MAP_DMA = 0x3B71
    IOMMU_UNMAP_DMA = 0x3B72


class IommuType(enum.IntEnum):
    """What VFIO_CHECK_EXTENSION is asked for, and VFIO_SET_IOMMU takes."""

    TYPE1V2 = 3
    NOIOMMU = 8


class Region(enum.IntEnum):
    """Regions of a PCI device; BARs are 0 to 5."""

    ROM = 6
    CONFIG = 7


class Irq(enum.IntEnum):
    """Interrupt indices of a PCI device."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


GROUP_VIABLE = 1 << 0
DEVICE_RESET, DEVICE_PCI = 1 << 0, 1 << 1
REGION_READ, REGION_WRITE, REGION_MMAP, REGION_CAPS = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REGION_CAP_SPARSE, REGION_CAP_MSIX_MAPPABLE = 1, 3
IRQ_EVENTFD, IRQ_MASKABLE, IRQ_AUTOMASKED, IRQ_NORESIZE = 1 << 0, 1 << 1, 1 << 2, 1 << 3
SET_NONE, SET_BOOL, SET_EVENTFD = 1 << 0, 1 << 1, 1 << 2
SET_MASK, SET_UNMASK, SET_TRIGGER = 1 << 3, 1 << 4, 1 << 5
IOMMU_PGSIZES, IOMMU_CAPS = 1 << 0, 1 << 1
IOMMU_CAP_IOVA_RANGE, IOMMU_CAP_DMA_AVAIL = 1, 3
HOT_RESET_DEVID, DEVID_NOT_OWNED = 1 << 0, 0xFFFF_FFFF  # by an iommufd: devices, not groups
MAP_READ, MAP_WRITE = 1 << 0, 1 << 1  # the device's view


class Sized(ctypes.Structure):
    """A structure that begins with its size (`argsz`), as the kernel wants it."""

    argsz: int
    flags: int

    def __init__(self, **fields: object) -> None:
        super().__init__(argsz=ctypes.sizeof(self), **fields)


class CapHeader(ctypes.Structure):
    """vfio_info_cap_header: `next` is an offset in the structure, 0 at the end."""

    _fields_ = (("id", u16), ("version", u16), ("next", u32))


class GroupStatus(Sized):
    """vfio_group_status."""

    _fields_ = (("argsz", u32), ("flags", u32))


class DeviceInfo(Sized):
    """vfio_device_info."""

    _fields_ = (
        ("argsz", u32), ("flags", u32), ("num_regions", u32), ("num_irqs", u32),
        ("cap_offset", u32),
    )  # fmt: skip


class RegionInfo(Sized):
    """vfio_region_info: `offset` is where the region is in the device's descriptor."""

    _fields_ = (
        ("argsz", u32), ("flags", u32), ("index", u32), ("cap_offset", u32),
        ("size", u64), ("offset", u64),
    )  # fmt: skip


class SparseHeader(ctypes.Structure):
    """vfio_region_info_cap_sparse_mmap, before its areas."""

    _fields_ = (("header", CapHeader), ("nr_areas", u32), ("reserved", u32))


class Area(ctypes.Structure):
    """vfio_region_sparse_mmap_area: `size` bytes from `offset` of the region on."""

    _fields_ = (("offset", u64), ("size", u64))


class IrqInfo(Sized):
    """vfio_irq_info."""

    _fields_ = (("argsz", u32), ("flags", u32), ("index", u32), ("count", u32))


class IrqSet(Sized):
    """vfio_irq_set, before its data."""

    _fields_ = (("argsz", u32), ("flags", u32), ("index", u32), ("start", u32), ("count", u32))


class Type1Info(Sized):
    """vfio_iommu_type1_info."""

    _fields_ = (
        ("argsz", u32), ("flags", u32), ("iova_pgsizes", u64), ("cap_offset", u32), ("pad", u32),
    )  # fmt: skip


class RangesHeader(ctypes.Structure):
    """vfio_iommu_type1_info_cap_iova_range, before its ranges."""

    _fields_ = (("header", CapHeader), ("nr_iovas", u32), ("reserved", u32))


class IovaRange(ctypes.Structure):
    """vfio_iova_range: both ends included."""

    _fields_ = (("start", u64), ("end", u64))


class DmaAvail(ctypes.Structure):
    """vfio_iommu_type1_info_dma_avail: how many more maps the container takes."""

    _fields_ = (("header", CapHeader), ("avail", u32))


class DmaMapping(Sized):
    """vfio_iommu_type1_dma_map."""

    _fields_ = (("argsz", u32), ("flags", u32), ("vaddr", u64), ("iova", u64), ("size", u64))


class DmaUnmapping(Sized):
    """vfio_iommu_type1_dma_unmap; the kernel writes back how many bytes it unmapped."""

    _fields_ = (("argsz", u32), ("flags", u32), ("iova", u64), ("size", u64))


class HotResetInfo(Sized):
    """vfio_pci_hot_reset_info, before its devices."""

    _fields_ = (("argsz", u32), ("flags", u32), ("count", u32))


class Dependent(ctypes.Structure):
    """vfio_pci_dependent_device: a function that a hot reset resets, too.

    With HOT_RESET_DEVID in the answer's flags, `group` is the device's number in the iommufd.
    """

    _fields_ = (("group", u32), ("segment", u16), ("bus", u8), ("devfn", u8))


class HotReset(Sized):
    """vfio_pci_hot_reset, before the groups' descriptors."""

    _fields_ = (("argsz", u32), ("flags", u32), ("count", u32))


SIZES: dict[type[ctypes.Structure], int] = {
    CapHeader: 8, GroupStatus: 8, DeviceInfo: 20, RegionInfo: 32, SparseHeader: 16, Area: 16,
    IrqInfo: 16, IrqSet: 20, Type1Info: 24, RangesHeader: 16, IovaRange: 16, DmaAvail: 12,
    DmaMapping: 32, DmaUnmapping: 24, HotResetInfo: 12, Dependent: 8, HotReset: 12,
}  # fmt: skip
"""What the compiler of the kernel's header makes of each."""
for _kind, _size in SIZES.items():
    if ctypes.sizeof(_kind) != _size:
        raise AssertionError(f"{_kind.__name__} has {ctypes.sizeof(_kind)} bytes, not {_size}")


def capabilities(data: bytes | bytearray, first: int) -> Iterator[tuple[int, int]]:
    """(id, offset) of the capabilities in an answer of the kernel; ends even if it loops."""
    at = first
    for _ in range(64):
        if not 0 < at <= len(data) - ctypes.sizeof(CapHeader):
            return
        header = CapHeader.from_buffer_copy(data, at)
        yield header.id, at
        at = header.next


def sparse_areas(data: bytes | bytearray, at: int) -> list[tuple[int, int]]:
    """The (start, end) that may be mapped, of a sparse capability at `at`."""
    count = SparseHeader.from_buffer_copy(data, at).nr_areas
    start, step = at + ctypes.sizeof(SparseHeader), ctypes.sizeof(Area)
    areas = [Area.from_buffer_copy(data, start + step * i) for i in range(count)]
    return [(area.offset, area.offset + area.size) for area in areas if area.size]


def iova_ranges(data: bytes | bytearray, at: int) -> list[tuple[int, int]]:
    """The [start, end) of bus addresses that may be mapped, of a range capability at `at`."""
    count = RangesHeader.from_buffer_copy(data, at).nr_iovas
    start, step = at + ctypes.sizeof(RangesHeader), ctypes.sizeof(IovaRange)
    ranges = [IovaRange.from_buffer_copy(data, start + step * i) for i in range(count)]
    return [(found.start, found.end + 1) for found in ranges]
