"""What on this machine uses a function's device just now; none is a proof of nothing.

Source: Linux, Documentation/ABI/testing/sysfs-bus-pci (boot_vga, sriov_numvfs),
sysfs-class-input, Documentation/admin-guide/devices.rst (/sys/class/tty/console/active).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rumpci.binding.blocks import block_uses
from rumpci.binding.interfaces import interface_uses
from rumpci.binding.openers import openers
from rumpci.binding.use import Use, below, text_of
from rumpci.machines.sysfs import SysFunction

_LETTERS = 0xFFFF_FFFE
"""Bits of an input device's keys, KEY_ESC (1) to KEY_S (31): who has them all is a keyboard."""


def uses(function: SysFunction, root: Path) -> list[Use]:
    """Each use that was found of the function's device."""
    return [use for look in LOOKS for use in look(function, root)]


def _display(function: SysFunction, root: Path) -> Iterator[Use]:
    another = "use another computer (ssh) to work on this one, then --force"
    if text_of(function.directory / "boot_vga") == "1":
        yield Use("the firmware's display is on it (boot_vga)", another)
    for entry in below(function, root, "graphics"):
        if entry.name.startswith("fb") and entry.name != "fbcon":
            yield Use(f"{entry.name} is a frame buffer of the console", another)
    for entry in below(function, root, "drm"):
        if text_of(entry / "enabled") == "enabled":
            yield Use(f"{entry.name} shows a picture", another)


def _consoles(function: SysFunction, root: Path) -> Iterator[Use]:
    active = text_of(root / "sys/class/tty/console/active").split()
    for entry in below(function, root, "tty"):
        if entry.name in active:
            yield Use(f"{entry.name} is a console", f"boot without console={entry.name}")


def _keyboards(function: SysFunction, root: Path) -> Iterator[Use]:
    for entry in below(function, root, "input"):
        words = text_of(entry / "capabilities/key").split()
        if words and int(words[-1], 16) & _LETTERS == _LETTERS:
            name = text_of(entry / "name") or entry.name
            yield Use(f"the keyboard '{name}' is on it", "use another keyboard, or ssh")


def _virtual_functions(function: SysFunction, root: Path) -> Iterator[Use]:
    del root
    file = function.directory / "sriov_numvfs"
    count = int(text_of(file) or "0")
    if count:
        yield Use(f"it has {count} virtual functions", f"echo 0 > {file}")


def _programs(function: SysFunction, root: Path) -> Iterator[Use]:
    """Programs that drive it already: the kernel waits for them when the driver is taken away."""
    nodes = {f"/dev/{entry.name}" for entry in below(function, root, "uio")}
    nodes |= {f"/dev/vfio/devices/{entry.name}" for entry in below(function, root, "vfio-dev")}
    if function.driver == "vfio-pci" and function.group is not None:
        nodes |= {f"/dev/vfio/{function.group}", f"/dev/vfio/noiommu-{function.group}"}
    nodes |= {f"/dev/{entry.name}" for entry in below(function, root, "tty")}
    for opener in openers(root, nodes):
        yield Use(f"{opener} has {opener.node} open", f"end it: kill {opener.pid}")


Look = Callable[[SysFunction, Path], "Iterator[Use] | list[Use]"]
LOOKS: tuple[Look, ...] = (
    block_uses,
    interface_uses,
    _display,
    _consoles,
    _keyboards,
    _virtual_functions,
    _programs,
)
