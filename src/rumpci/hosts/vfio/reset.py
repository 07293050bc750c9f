"""Resetting a function, or everything on its bus, when the kernel knows how and allows it."""

from __future__ import annotations

import ctypes
import fcntl
from collections.abc import Sequence
from dataclasses import dataclass

from rumpci.errors import DeviceBusy, NotSupported
from rumpci.host import Address
from rumpci.hosts.vfio import abi
from rumpci.hosts.vfio.abi import Request
from rumpci.hosts.vfio.device import VfioDevice

_ANSWER = 4096


@dataclass(frozen=True)
class Affected:
    """A function that a hot reset resets, too, and the IOMMU group that it is in.

    By an iommufd the kernel tells no group (None), but whether the function is `ours`.
    """

    address: Address
    group: int | None
    ours: bool = False


def reset_function(device: VfioDevice) -> str:
    """Reset one function, by what it has or its bus; how.  Raises NotSupported (EOPNOTSUPP)."""
    if how := device.reset():
        return how
    raise NotSupported(
        f"resetting {device.function.address}",
        "it has no function level reset, and the kernel knows no other way",
        "quiet it by its own registers, or detach and attach its driver",
    )


def affected(device: VfioDevice) -> list[Affected]:
    """The functions that a hot reset of the bus would reset.  Raises NotSupported."""
    answer = bytearray(_ANSWER)
    abi.HotResetInfo.from_buffer(answer).argsz = _ANSWER
    try:
        fcntl.ioctl(device.fd, Request.DEVICE_GET_PCI_HOT_RESET_INFO, answer)
    except OSError as error:
        raise _no_hot_reset(device, error) from error
    info = abi.HotResetInfo.from_buffer_copy(answer)
    start, step = ctypes.sizeof(abi.HotResetInfo), ctypes.sizeof(abi.Dependent)
    found = [abi.Dependent.from_buffer_copy(answer, start + step * i) for i in range(info.count)]
    if info.flags & abi.HOT_RESET_DEVID:
        return [Affected(_address(one), None, one.group != abi.DEVID_NOT_OWNED) for one in found]
    return [Affected(_address(one), one.group) for one in found]


def hot_reset(device: VfioDevice, groups: dict[int, int]) -> str:
    """Reset the device's bus; `groups` are our groups' descriptors, by number.

    By an iommufd there are none: the kernel knows whose its devices are.

    Raises NotSupported, and DeviceBusy (EBUSY) if it would reset what is not ours.
    """
    others = [one for one in affected(device) if not one.ours and one.group not in groups]
    if others:
        names = ", ".join(map(_name, others))
        raise DeviceBusy(
            f"hot reset of {device.function.address}", f"it would reset {names}, too",
            "claim those by the same host first",
        )  # fmt: skip
    _request(device, list(groups.values()))
    return "hot reset of its bus"


def _request(device: VfioDevice, fds: Sequence[int]) -> None:
    head = abi.HotReset(count=len(fds))
    data = bytes((ctypes.c_int32 * len(fds))(*fds))
    head.argsz += len(data)
    try:
        fcntl.ioctl(device.fd, Request.DEVICE_PCI_HOT_RESET, bytearray(bytes(head) + data))
    except OSError as error:
        raise _no_hot_reset(device, error) from error


def _no_hot_reset(device: VfioDevice, error: OSError) -> NotSupported:
    return NotSupported(
        f"hot reset of {device.function.address}",
        f"its bus cannot be reset: {error.strerror}",
        "a function on the root bus has none; see `rumpci show`",
    )


def _name(one: Affected) -> str:
    return f"{one.address}" if one.group is None else f"{one.address} (group {one.group})"


def _address(one: abi.Dependent) -> Address:
    return Address(one.segment, one.bus, one.devfn >> 3, one.devfn & 7)
