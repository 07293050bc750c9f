"""What can be wrong with a device, its group or this user, before and when it is opened.

Each has the remedy in its message.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from rumpci.errors import (
    DeviceBusy,
    HostRefused,
    HostUnavailable,
    NoDmaMemory,
    NoSuchDevice,
    RumpciError,
)
from rumpci.host import Address
from rumpci.machines.sysfs import SysFunction

NODES = "dev/vfio"
NOIOMMU = "noiommu-"
"""What the name of a group's node begins with, where no IOMMU keeps it."""
_HARMLESS = ("vfio-pci", "pci-stub", "pcieport", "shpchp")
"""Drivers that leave a group viable: they do no DMA.  Linux: vfio_dev_driver_allowed."""


def bind_hint(address: Address) -> str:
    """How a function is given to vfio-pci."""
    return f"bind it: `rumpci bind {address} vfio-pci`"


def no_function(tried: str, address: Address) -> NoSuchDevice:
    """The kernel lists nothing there."""
    return NoSuchDevice(
        tried, f"this kernel has no function at {address}", "see `lspci`, or /sys/bus/pci/devices"
    )


def no_iommu(tried: str, root: Path) -> HostUnavailable:
    """The function is in no IOMMU group."""
    command = _read(root / "proc/cmdline")
    asked = "intel_iommu=on" in command or "amd_iommu" in command
    why = "it is in no IOMMU group: "
    why += "the kernel found no IOMMU" if asked else "the kernel uses no IOMMU"
    remedy = (
        "switch VT-d or AMD-Vi on in the firmware's set-up"
        if asked
        else "boot with intel_iommu=on (AMD: on by default), and VT-d or AMD-Vi on in the firmware"
    )
    return HostUnavailable(tried, why, remedy, errno=errno.ENODEV)


def bound_elsewhere(tried: str, function: SysFunction) -> DeviceBusy:
    """Another driver of the kernel has it, or none."""
    driver, address = function.driver, function.address
    why = f"the kernel's driver {driver} has it" if driver else "no driver has it"
    return DeviceBusy(tried, f"{why}, not vfio-pci", bind_hint(address))


def blockers(function: SysFunction) -> list[SysFunction]:
    """The functions whose drivers keep the group from being used."""
    return [
        other
        for other in function.siblings()
        if other.driver is not None and other.driver not in _HARMLESS
    ]


def not_viable(tried: str, function: SysFunction) -> DeviceBusy:
    """Something else in the group is driven by the kernel."""
    found = blockers(function)
    names = ", ".join(f"{other.address} ({other.driver})" for other in found)
    why = f"IOMMU group {function.group} is not viable: the kernel drives {names or 'a part of it'}"
    all_ = " and ".join(f"`rumpci bind {other.address} vfio-pci`" for other in found)
    return DeviceBusy(tried, why, f"give the whole group to vfio-pci: {all_ or 'see its devices'}")


def no_node(tried: str, node: Path) -> HostUnavailable:
    """There is no such node."""
    module = {"vfio": "vfio", "iommu": "iommufd"}.get(node.name, "vfio-pci")
    return HostUnavailable(
        tried, f"there is no {node}", f"load the module: `modprobe {module}`, and bind the device"
    )


def group_nodes(function: SysFunction, root: Path, prefix: str = "") -> tuple[Path, Path]:
    """The container's node, and the group's."""
    return root / NODES / "vfio", root / NODES / f"{prefix}{function.group}"


def check_nodes(tried: str, nodes: Iterable[Path]) -> None:
    """Raise HostUnavailable (ENOENT, EACCES) unless the nodes can be opened."""
    for node in nodes:
        if not node.exists():
            raise no_node(tried, node)
        if not os.access(node, os.R_OK | os.W_OK):
            raise not_allowed(tried, node)


def cannot_open(tried: str, node: Path, error: OSError) -> RumpciError:
    """What opening a node of /dev/vfio raised, in our words."""
    if error.errno == errno.ENOENT:
        return no_node(tried, node)
    if error.errno == errno.EBUSY:
        return in_use(tried, node)
    if error.errno == errno.EPERM and node.name.startswith(NOIOMMU):
        return HostUnavailable(
            tried,
            f"{node} is for who may do anything to this computer (CAP_SYS_RAWIO)",
            "be root; or use a machine with an IOMMU, which needs no privilege",
            errno=errno.EPERM,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return not_allowed(tried, node, error.errno)
    return HostRefused(tried, f"{node}: {error.strerror}", "see the kernel's messages (dmesg)")


def in_use(tried: str, node: Path) -> DeviceBusy:
    """Another process, or another host of this one, has it."""
    return DeviceBusy(
        tried, f"{node} is open in another process", "end that one: a group has one user"
    )


def not_allowed(tried: str, node: Path, number: int = errno.EACCES) -> HostUnavailable:
    """This user may not open the node."""
    return HostUnavailable(
        tried,
        f"user {os.geteuid()} may not open {node}",
        f"as root: `chown {os.geteuid()} {node}`, or write a udev rule",
        errno=number,
    )


def wild_dma(url: str) -> str:
    """What a user of this mode is told every time."""
    return (
        f"{url}: nothing keeps its devices from any memory of this computer: a bus address that is "
        "wrong overwrites the kernel, or another program; with an IOMMU, leave noiommu=yes out"
    )


def check_allowed(tried: str, root: Path) -> None:
    """Raise HostUnavailable (EOPNOTSUPP) unless the kernel does without an IOMMU, if told to."""
    allowed = _read(root / "sys/module/vfio/parameters/enable_unsafe_noiommu_mode").strip()
    if allowed == "Y":
        return
    if not allowed:
        why = "this kernel was built without VFIO_NOIOMMU (Debian's are), or has no vfio loaded"
        remedy = "use a machine with an IOMMU, or uio:, or a kernel that has the option"
    else:
        why = "the module vfio is not told to allow it"
        remedy = "echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, then bind again"
    raise HostUnavailable(tried, why, remedy, errno=errno.EOPNOTSUPP)


def has_iommu(tried: str, function: SysFunction) -> RumpciError:
    """What is to be had without an IOMMU is not: it has one, or was bound too early."""
    if function.group is None:
        return HostUnavailable(
            tried,
            "it was bound before the kernel was told to do without an IOMMU",
            f"bind it again: `rumpci bind {function.address} vfio-pci`",
            errno=errno.ENODEV,
        )
    return HostRefused(
        tried, f"an IOMMU keeps it (group {function.group})", "leave noiommu=yes out"
    )


def only_without_iommu(tried: str, function: SysFunction) -> HostUnavailable:
    """The kernel gives it without an IOMMU, and nobody said that this is wanted."""
    return HostUnavailable(
        tried,
        "no IOMMU keeps it: the kernel gives it, and lets it reach all memory",
        f"switch the IOMMU on; or, if you take that risk: vfio:{function.address}?noiommu=yes",
        errno=errno.ENODEV,
    )


def cannot_map(tried: str, error: OSError, size: int, avail: int | None) -> NoDmaMemory:
    """What VFIO_IOMMU_MAP_DMA raised, with the limit that was met."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if error.errno == errno.ENOMEM and soft != resource.RLIM_INFINITY:
        why = f"RLIMIT_MEMLOCK is {soft} bytes, and what devices reach is locked in memory"
        much = "unlimited" if hard == resource.RLIM_INFINITY else str(hard >> 10)
        remedy = (
            f"raise it: `ulimit -l {much}`, or memlock in /etc/security/limits.conf, or "
            "LimitMEMLOCK= of a systemd unit"
        )
        return NoDmaMemory(tried, why, remedy)
    if error.errno == errno.ENOSPC or avail == 0:
        return NoDmaMemory(
            tried,
            f"the kernel takes no more maps of this container ({avail} left)",
            "load less at a time, or raise vfio_iommu_type1's parameter dma_entry_limit",
        )
    return NoDmaMemory(
        tried,
        f"mapping {size} bytes: {error.strerror}",
        "see the kernel's messages (dmesg), and free memory",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
