"""The other kind of container: an iommufd, and devices that have a node of their own.

    /dev/iommu                 an I/O address space (IOAS): what its devices reach
    /dev/vfio/devices/vfioN    a device, bound to an iommufd and attached to an address space

Source: Linux, Documentation/userspace-api/iommufd.rst, include/uapi/linux/iommufd.h, and
Documentation/driver-api/vfio.rst (VFIO device cdev).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from pathlib import Path

from rumpci.errors import HostRefused, HostUnavailable, RumpciError
from rumpci.host_dma import PAGE_SIZE, Direction
from rumpci.hosts.vfio import abi, errors
from rumpci.hosts.vfio.abi import u32, u64
from rumpci.hosts.vfio.container import IommuInfo, open_node
from rumpci.machines.sysfs import SysFunction

IOAS_ALLOC, IOAS_IOVA_RANGES, IOAS_MAP, IOAS_UNMAP = 0x3B81, 0x3B84, 0x3B85, 0x3B86
DEVICE_BIND_IOMMUFD, DEVICE_ATTACH_IOMMUFD_PT = 0x3B76, 0x3B77  # _IO(';', 100 + 18, 19)
_FIXED, _WRITEABLE, _READABLE = 1 << 0, 1 << 1, 1 << 2  # flags of a map
_FLAGS = {
    Direction.READ: _FIXED | _WRITEABLE,  # the device writes
    Direction.WRITE: _FIXED | _READABLE,
    Direction.BOTH: _FIXED | _READABLE | _WRITEABLE,
}
_RANGES = 64


class Command(ctypes.Structure):
    """A structure that begins with its size, as an iommufd wants it."""

    size: int

    def __init__(self, **fields: object) -> None:
        super().__init__(size=ctypes.sizeof(self), **fields)


class IoasAlloc(Command):
    """iommu_ioas_alloc."""

    _fields_ = (("size", u32), ("flags", u32), ("out_ioas_id", u32))


class IoasRanges(Command):
    """iommu_ioas_iova_ranges; `allowed_iovas` is the address of an array of abi.IovaRange."""

    _fields_ = (
        ("size", u32), ("ioas_id", u32), ("num_iovas", u32), ("reserved", u32),
        ("allowed_iovas", u64), ("out_iova_alignment", u64),
    )  # fmt: skip


class IoasMap(Command):
    """iommu_ioas_map."""

    _fields_ = (
        ("size", u32), ("flags", u32), ("ioas_id", u32), ("reserved", u32),
        ("user_va", u64), ("length", u64), ("iova", u64),
    )  # fmt: skip


class IoasUnmap(Command):
    """iommu_ioas_unmap; the kernel writes back how many bytes it unmapped."""

    _fields_ = (("size", u32), ("ioas_id", u32), ("iova", u64), ("length", u64))


class BindIommufd(abi.Sized):
    """vfio_device_bind_iommufd."""

    _fields_ = (("argsz", u32), ("flags", u32), ("iommufd", abi.s32), ("out_devid", u32))


class AttachPt(abi.Sized):
    """vfio_device_attach_iommufd_pt."""

    _fields_ = (("argsz", u32), ("flags", u32), ("pt_id", u32))


SIZES: dict[type[ctypes.Structure], int] = {
    IoasAlloc: 12, IoasRanges: 32, IoasMap: 40, IoasUnmap: 24, BindIommufd: 16, AttachPt: 12,
}  # fmt: skip
"""What the compiler of the kernel's headers makes of each."""
for _kind, _size in SIZES.items():
    if ctypes.sizeof(_kind) != _size:
        raise AssertionError(f"{_kind.__name__} has {ctypes.sizeof(_kind)} bytes, not {_size}")


def nodes_of(tried: str, function: SysFunction, root: Path) -> tuple[Path, Path]:
    """The iommufd's node, and the device's own.  Raises HostUnavailable where it has none."""
    directory = function.directory / "vfio-dev"
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    if not names:
        raise HostUnavailable(
            tried,
            "this kernel gives devices no nodes of their own (CONFIG_VFIO_DEVICE_CDEV)",
            "leave via=iommufd out, or use a kernel from 6.6 on that has it",
        )
    return root / "dev/iommu", root / errors.NODES / "devices" / names[0]


def ranges_of(fd: int, ioas: int, room: int = _RANGES) -> IommuInfo:
    """What can be mapped in an address space, with the devices that are attached to it now."""
    ranges = (abi.IovaRange * room)()
    request = IoasRanges(ioas_id=ioas, num_iovas=room, allowed_iovas=ctypes.addressof(ranges))
    try:
        fcntl.ioctl(fd, IOAS_IOVA_RANGES, request)
    except OSError as error:
        if error.errno != errno.EMSGSIZE or request.num_iovas <= room:
            raise
        return ranges_of(fd, ioas, request.num_iovas)  # that many there are
    found = [(one.start, one.end + 1) for one in ranges[: request.num_iovas]]
    return IommuInfo(request.out_iova_alignment or PAGE_SIZE, found, None)


class IommufdContainer:
    """See container.Container: an address space of an iommufd, for the devices of one group.

    Raises HostUnavailable (ENOENT, EACCES), DeviceBusy (EBUSY), HostRefused (EINVAL).
    """

    def __init__(self, function: SysFunction, root: Path = Path("/")) -> None:
        self._root = root
        tried = f"opening an iommufd for {function.address}"
        with contextlib.ExitStack() as made:
            self._fd = open_node(tried, root / "dev/iommu", made)
            alloc = IoasAlloc()
            fcntl.ioctl(self._fd, IOAS_ALLOC, alloc)
            self._ioas = int(alloc.out_ioas_id)
            # what can be mapped is known when a device is attached: it waits to be opened
            self._first: int | None = self._attached(function)
            self.info = ranges_of(self._fd, self._ioas)
            self._open = made.pop_all()
        self._map = IoasMap(ioas_id=self._ioas)
        self._unmap = IoasUnmap(ioas_id=self._ioas)

    def _attached(self, function: SysFunction) -> int:
        tried = f"opening {function.address}"
        _, node = nodes_of(tried, function, self._root)
        with contextlib.ExitStack() as made:
            fd = open_node(tried, node, made)
            try:
                fcntl.ioctl(fd, DEVICE_BIND_IOMMUFD, BindIommufd(iommufd=self._fd))
                fcntl.ioctl(fd, DEVICE_ATTACH_IOMMUFD_PT, AttachPt(pt_id=self._ioas))
            except OSError as error:
                raise _refused(tried, function, node, error) from error
            made.pop_all()
        return fd

    def map(self, addr: int, vaddr: int, size: int, direction: Direction) -> None:
        """See Container."""
        request = self._map
        request.flags, request.user_va = _FLAGS[direction], vaddr
        request.iova, request.length = addr, size
        try:
            fcntl.ioctl(self._fd, IOAS_MAP, request)
        except OSError as error:
            tried = f"letting a device reach {size:#x} bytes at bus address {addr:#x}"
            raise errors.cannot_map(tried, error, size, None) from error

    def unmap(self, addr: int, size: int) -> None:
        """See Container."""
        request = self._unmap
        request.iova, request.length = addr, size
        fcntl.ioctl(self._fd, IOAS_UNMAP, request)

    def open_device(self, function: SysFunction) -> int:
        """See Container."""
        first, self._first = self._first, None
        return first if first is not None else self._attached(function)

    def close(self) -> None:
        """See Container."""
        if self._first is not None:
            os.close(self._first)
            self._first = None
        self._open.close()


def _refused(tried: str, function: SysFunction, node: Path, error: OSError) -> RumpciError:
    """What binding or attaching a device raised, in our words."""
    if errors.blockers(function):
        return errors.not_viable(tried, function)
    if error.errno in (errno.EBUSY, errno.EINVAL):  # by its group, or by its node
        return errors.in_use(tried, node)
    remedy = "see the kernel's messages (dmesg)"
    if error.errno == errno.EPERM:
        remedy = (
            "the platform cannot keep interrupts apart, or another process has a function of its "
            "group: iommufd's parameter allow_unsafe_interrupts=1 takes the first risk"
        )
    return HostRefused(tried, f"the iommufd: {error.strerror}", remedy)
