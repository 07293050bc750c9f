"""The writes to sysfs that change which driver has a function.

They are made first and done afterwards, so what --dry-run shows is what would be done.
Source: Linux, Documentation/ABI/testing/sysfs-bus-pci (driver_override, unbind, bind),
sysfs-kernel-iommu_groups (type).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rumpci.binding.original import Original, group_type_of, override_of
from rumpci.errors import HostRefused
from rumpci.machines.sysfs import SysFunction

DRIVERS = ("vfio-pci", "uio_pci_generic")
"""Drivers of the kernel that hand a function to a program."""
_PROBE = "sys/bus/pci/drivers_probe"
_ROOT_NEEDED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Write:
    """One line of text into one file of sysfs."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"echo {self.text} > {self.path}" if self.text else f"echo > {self.path}"


Writer = Callable[[Path, str], None]


def to_file(path: Path, line: str) -> None:
    """Write a line as one write(2), which sysfs takes as one order.  Raises OSError."""
    with path.open("wb", buffering=0) as file:
        file.write(line.encode())


def to_driver(
    function: SysFunction, driver: str, root: Path, *, identity: bool = False
) -> Iterator[Write]:
    """What gives the function to `driver`, whoever has it; nothing if it has it already.

    With `identity`, the bus addresses of its group's DMA are addresses of memory.
    """
    kind = "identity" if identity else group_type_of(function)
    if function.driver != driver or kind != group_type_of(function):
        yield from _out(function, kind)
        yield Write(function.directory / "driver_override", driver)
        yield Write(root / _PROBE, function.directory.name)


def to_original(function: SysFunction, original: Original | None, root: Path) -> Iterator[Write]:
    """What gives the function back.

    If nobody noted who had it, and a program's driver has it, the kernel is asked which one fits.
    """
    address = function.directory.name
    if original is None:
        if override_of(function) or function.driver in (*DRIVERS, None):
            yield from _out(function, group_type_of(function))
            yield Write(function.directory / "driver_override", "")
            yield Write(root / _PROBE, address)
        return
    kind = original.group_type
    stays = function.driver == original.driver and kind == group_type_of(function)
    if not stays:
        yield from _out(function, kind)
    if override_of(function) != original.override:
        yield Write(function.directory / "driver_override", original.override)
    if not stays and original.driver is not None:
        yield Write(root / "sys/bus/pci/drivers" / original.driver / "bind", address)


def _out(function: SysFunction, kind: str | None) -> Iterator[Write]:
    """Out of its driver; the group's kind of DMA can be changed only then."""
    if function.driver is not None:
        yield Write(function.directory / "driver" / "unbind", function.directory.name)
    if kind is not None and kind != group_type_of(function):
        yield Write(function.directory / "iommu_group" / "type", kind)


def perform(writes: Sequence[Write], tried: str, write: Writer = to_file) -> None:
    """Do the writes, in order.  Raises HostRefused with the kernel's errno at the first refused."""
    for one in writes:
        try:
            write(one.path, f"{one.text}\n")
        except OSError as error:
            raise _refused(one, tried, error) from error


def _refused(one: Write, tried: str, error: OSError) -> HostRefused:
    why = f"`{one}`: {error.strerror}"
    if error.errno in _ROOT_NEEDED:
        remedy = "run it as root"
    elif error.errno == errno.EROFS:
        remedy = "run it outside the container, where /sys can be written"
    elif one.path.name == "type":
        remedy = "give every function of the group to no driver first"
    elif one.path.name == "bind" and not one.path.parent.is_dir():
        remedy = f"load the driver first: modprobe {one.path.parent.name}"
    else:
        remedy = "see the kernel's messages (dmesg)"
    return HostRefused(tried, why, remedy, errno=error.errno)
