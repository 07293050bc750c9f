"""A container of type 1: which memory of this process the devices of a group reach.

Opener          what the host needs of it to open devices; noiommu.py has one that is no more
Container       one that lets them reach memory, too; iommufd.py has a sibling of
Type1Container  /dev/vfio/vfio with the type 1 IOMMU, version 2, and one group
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from rumpci.errors import HostRefused, NoDmaMemory
from rumpci.host_dma import PAGE_SIZE, Direction
from rumpci.hosts.vfio import abi, errors
from rumpci.hosts.vfio.abi import IommuType, Request
from rumpci.machines.sysfs import SysFunction

_FLAGS = {
    Direction.READ: abi.MAP_WRITE,  # the device writes
    Direction.WRITE: abi.MAP_READ,
    Direction.BOTH: abi.MAP_READ | abi.MAP_WRITE,
}
_ANSWER = 4096


@dataclass(frozen=True)
class IommuInfo:
    """What a container's IOMMU can map: page sizes as a bit mask, [start, end) of addresses.

    `avail` is how many maps it takes yet, None if the kernel does not say.
    """

    page_sizes: int
    ranges: Sequence[tuple[int, int]]
    avail: int | None

    @property
    def address_bits(self) -> int:
        """The width of the highest bus address."""
        return max((end - 1).bit_length() for _, end in self.ranges)

    @property
    def reserved(self) -> list[tuple[int, int]]:
        """The [start, end) below the highest address that cannot be mapped, whole pages."""
        holes, at = list[tuple[int, int]](), 0
        for start, end in sorted(self.ranges):
            low, high = -(-start // PAGE_SIZE) * PAGE_SIZE, end & -PAGE_SIZE
            if at < low:
                holes.append((at, low))
            at = max(at, high)
        top = 1 << self.address_bits
        return [*holes, (at, top)] if at < top else holes


class Opener(Protocol):
    """Where the devices of one IOMMU group are opened."""

    def open_device(self, function: SysFunction) -> int:
        """A descriptor of a function of the group, new.  Raises DeviceBusy, HostRefused."""

    def close(self) -> None:
        """Let everything go.  Closing twice does nothing."""


class Container(Opener, Protocol):
    """What the devices of one IOMMU group reach, and where devices are opened."""

    info: IommuInfo

    def map(self, addr: int, vaddr: int, size: int, direction: Direction) -> None:
        """Let [addr, addr + size) reach this process's memory from `vaddr` on.

        Nothing may be mapped there.  Raises NoDmaMemory (ENOMEM), with the limit that was met.
        """

    def unmap(self, addr: int, size: int) -> None:
        """Take back all maps that lie in [addr, addr + size); none may lie across its ends."""


class GroupContainer:
    """One group in a container of its own, whose IOMMU is of a `kind`.

    Raises DeviceBusy (EBUSY), HostUnavailable, HostRefused (EINVAL).
    """

    kind: ClassVar[IommuType]
    prefix: ClassVar[str] = ""
    """What the name of a group's node begins with, before its number."""

    def __init__(self, function: SysFunction, root: Path = Path("/")) -> None:
        tried = f"opening the IOMMU group of {function.address}"
        container, group = errors.group_nodes(function, root, self.prefix)
        with contextlib.ExitStack() as made:
            self._container = open_node(tried, container, made)
            self._group = open_node(tried, group, made)
            self._check_viable(tried, function)
            self._join(tried)
            self._joined(function)
            self._open = made.pop_all()

    def _joined(self, function: SysFunction) -> None:
        """The group is in the container: what else is to be done at first."""

    def _check_version(self, tried: str) -> None:
        """What the kernel says depends on the group in the container."""
        version = fcntl.ioctl(self._container, Request.GET_API_VERSION)
        found = fcntl.ioctl(self._container, Request.CHECK_EXTENSION, self.kind)
        if version != abi.API_VERSION or not found:
            raise HostRefused(
                tried,
                f"VFIO of version {version}, {self.kind.name}: {'there' if found else 'not there'}",
                "load vfio_iommu_type1: `modprobe vfio_iommu_type1`",
            )

    def _check_viable(self, tried: str, function: SysFunction) -> None:
        status = abi.GroupStatus()
        fcntl.ioctl(self._group, Request.GROUP_GET_STATUS, status)
        if not status.flags & abi.GROUP_VIABLE:
            raise errors.not_viable(tried, function)

    def _join(self, tried: str) -> None:
        container = ctypes.c_int32(self._container)
        try:
            fcntl.ioctl(self._group, Request.GROUP_SET_CONTAINER, container)
            self._check_version(tried)
            fcntl.ioctl(self._container, Request.SET_IOMMU, self.kind)
        except OSError as error:
            remedy = "see the kernel's messages (dmesg)"
            if error.errno == errno.EPERM:
                remedy = (
                    "the platform cannot keep interrupts apart: vfio_iommu_type1's parameter "
                    "allow_unsafe_interrupts=1 takes that risk"
                )
            raise HostRefused(tried, f"its IOMMU: {error.strerror}", remedy) from error

    def open_device(self, function: SysFunction) -> int:
        """See Opener."""
        # a mutable buffer: for an immutable one, the descriptor would be made and lost
        name = bytearray(f"{function.address}\0", "ascii")
        tried = f"opening {function.address}"
        try:
            fd = int(fcntl.ioctl(self._group, Request.GROUP_GET_DEVICE_FD, name))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EBUSY):
                raise errors.bound_elsewhere(tried, function) from error
            raise HostRefused(
                tried, f"the kernel says: {error.strerror}", "see its messages (dmesg)"
            ) from error
        os.set_inheritable(fd, False)
        return fd

    def close(self) -> None:
        """See Opener."""
        self._open.close()

    @property
    def group(self) -> int:
        """The group's descriptor, which a hot reset wants as proof."""
        return self._group


class Type1Container(GroupContainer):
    """A container whose IOMMU keeps its group's devices to what is mapped, and nobody else's."""

    kind = IommuType.TYPE1V2

    def _joined(self, function: SysFunction) -> None:
        del function
        self.info = self._get_info()
        self._map = abi.DmaMapping()
        self._unmap = abi.DmaUnmapping()

    def _get_info(self) -> IommuInfo:
        answer = bytearray(_ANSWER)
        answer[: ctypes.sizeof(abi.Type1Info)] = bytes(abi.Type1Info())
        abi.Type1Info.from_buffer(answer).argsz = _ANSWER
        fcntl.ioctl(self._container, Request.IOMMU_GET_INFO, answer)
        info = abi.Type1Info.from_buffer_copy(answer)
        ranges, avail = [(0, 1 << 39)], None
        first = info.cap_offset if info.flags & abi.IOMMU_CAPS else 0
        for capid, at in abi.capabilities(answer, first):
            if capid == abi.IOMMU_CAP_IOVA_RANGE:
                ranges = abi.iova_ranges(answer, at)
            elif capid == abi.IOMMU_CAP_DMA_AVAIL:
                avail = abi.DmaAvail.from_buffer_copy(answer, at).avail
        sizes = info.iova_pgsizes if info.flags & abi.IOMMU_PGSIZES else PAGE_SIZE
        return IommuInfo(sizes, ranges, avail)

    def map(self, addr: int, vaddr: int, size: int, direction: Direction) -> None:
        """See Container."""
        request = self._map
        request.flags, request.vaddr = _FLAGS[direction], vaddr
        request.iova, request.size = addr, size
        try:
            fcntl.ioctl(self._container, Request.IOMMU_MAP_DMA, request)
        except OSError as error:
            raise self._cannot_map(error, addr, size) from error

    def _cannot_map(self, error: OSError, addr: int, size: int) -> NoDmaMemory:
        tried = f"letting a device reach {size:#x} bytes at bus address {addr:#x}"
        return errors.cannot_map(tried, error, size, self._get_info().avail)

    def unmap(self, addr: int, size: int) -> None:
        """See Container."""
        request = self._unmap
        request.flags, request.iova, request.size = 0, addr, size
        fcntl.ioctl(self._container, Request.IOMMU_UNMAP_DMA, request)


def open_node(tried: str, node: Path, made: contextlib.ExitStack) -> int:
    """Open a node of the kernel's, until `made` ends.  Raises HostUnavailable, DeviceBusy."""
    try:
        fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise errors.cannot_open(tried, node, error) from error
    made.callback(os.close, fd)
    return fd
