"""What can be wrong with a function, its files or this user; each has the remedy in its message."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rumpci.errors import (
    DeviceBusy,
    HostRefused,
    HostUnavailable,
    NoDmaMemory,
    NoSuchDevice,
    NoVectors,
    RumpciError,
)
from rumpci.host import Address
from rumpci.machines.sysfs import SysFunction

DRIVER = "uio_pci_generic"
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)


def wild_dma(what: str) -> str:
    """What a user of this machine is told every time."""
    return (
        f"{what}: nothing keeps its devices from any memory of this computer: a bus address that "
        "is wrong overwrites the kernel, or another program; with an IOMMU, use vfio: instead"
    )


def no_function(tried: str, address: Address) -> NoSuchDevice:
    """The kernel lists nothing there."""
    return NoSuchDevice(
        tried, f"this kernel has no function at {address}", "see `lspci`, or /sys/bus/pci/devices"
    )


def a_bridge(tried: str) -> DeviceBusy:
    """It leads to other functions."""
    return DeviceBusy(tried, "it is a bridge, which is the kernel's", "claim what is behind it")


def bound_elsewhere(tried: str, function: SysFunction) -> DeviceBusy:
    """Another driver of the kernel has it, or none."""
    driver, address = function.driver, function.address
    why = f"the kernel's driver {driver} has it" if driver else "no driver has it"
    return DeviceBusy(tried, f"{why}, not {DRIVER}", f"bind it: `rumpci bind {address} {DRIVER}`")


def no_node(tried: str, node: Path | None) -> HostUnavailable:
    """Bound, and yet there is no node."""
    what = f"there is no {node}" if node else "the kernel made no uio device of it"
    return HostUnavailable(tried, what, "load the module uio, and see that /dev is a devtmpfs")


def cannot_open(tried: str, path: Path, error: OSError) -> RumpciError:
    """What opening a node or a file of sysfs raised, in our words."""
    if error.errno == errno.ENOENT:
        return no_node(tried, path)
    if error.errno == errno.EPERM and locked_down():
        return HostUnavailable(
            tried,
            f"the kernel is locked down, and refuses {path}",
            "switch Secure Boot off, or boot without lockdown=; or use vfio:, which works all the "
            "same",
            errno=errno.EPERM,
        )
    if error.errno in _NOT_ALLOWED:
        return not_allowed(tried, path, error.errno)
    return HostRefused(tried, f"{path}: {error.strerror}", "see the kernel's messages (dmesg)")


def not_allowed(tried: str, path: Path, number: int = errno.EACCES) -> HostUnavailable:
    """This user may not use the file."""
    user = os.geteuid()
    why = f"user {user} may not use {path}"
    return HostUnavailable(tried, why, f"as root: `chown {user} {path}`; or be root", errno=number)


def locked_down() -> bool:
    """Whether the kernel keeps even root from devices (kernel_lockdown(7))."""
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return False
    return "[none]" not in text


def in_use(tried: str, node: Path) -> DeviceBusy:
    """Another process of ours has it: the kernel itself would let many."""
    return DeviceBusy(tried, f"{node} is open in another rumpci", "end that one first")


def no_line(address: Address | str) -> NoVectors:
    """There is a pin, and the kernel has no interrupt for it."""
    return NoVectors(
        f"establishing INTx of {address}",
        "the kernel routed no interrupt to it",
        "poll the device, or use vfio: and MSI; see dmesg about its interrupt",
    )


def unplugged(tried: str, address: Address) -> NoSuchDevice:
    """The kernel took the node away."""
    return NoSuchDevice(tried, f"{address} is gone, or unbound", "plug it in and open it again")


def blocked_by_iommu(tried: str, function: SysFunction, kind: str) -> NoDmaMemory:
    """The function's IOMMU group translates, and no program can map anything there."""
    return NoDmaMemory(
        tried,
        f"the IOMMU blocks it: the default domain of its group {function.group} is {kind}",
        "use vfio:, which maps memory; or, to let it reach everything: "
        f"`rumpci bind {function.address} uio_pci_generic --identity`; or boot with iommu=pt",
    )


def no_pagemap(tried: str) -> NoDmaMemory:
    """The kernel does not tell this user where pages are."""
    return NoDmaMemory(
        tried,
        "only root (CAP_SYS_ADMIN) is told where memory is (/proc/self/pagemap)",
        "be root; or use vfio:, which an ordinary user may",
    )


def not_wired(tried: str, size: int, limit: int) -> NoDmaMemory:
    """Memory cannot be kept in its place."""
    return NoDmaMemory(
        tried,
        f"{size} bytes are to stay in memory, and RLIMIT_MEMLOCK is {limit}",
        "raise it (`ulimit -l`, memlock in /etc/security/limits.conf), or ask for less (memory=)",
    )


def moved(start: int, size: int) -> NoDmaMemory:
    """The kernel moved pages that a device was to be told of."""
    return NoDmaMemory(
        f"loading {size} bytes at bus address {start:#x}",
        "the kernel has moved the page since it was allocated: it is not there any more",
        "have the kernel's io_uring on, so that pages are pinned; or, as root: "
        "`sysctl vm.compact_unevictable_allowed=0`, and no NUMA balancing or memory hot-plug",
    )
