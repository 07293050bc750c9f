"""What uses the block devices below a function: mounts, swap, LVM, md, loop devices, programs.

Source: Linux, Documentation/ABI/stable/sysfs-block, proc(5): mountinfo, swaps.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rumpci.binding.openers import openers
from rumpci.binding.use import Use, below, entries, text_of
from rumpci.machines.sysfs import SysFunction

_HIDDEN = re.compile(r"(nvme\d+)c\d+(n\d+)")
"""One path to a namespace; programs use the device without the path's number."""


def block_uses(function: SysFunction, root: Path) -> list[Use]:
    """Each use of a disk, partition, or what is built on one, of the function's device."""
    found: list[Use] = []
    for name in names(function, root):
        found += _uses(name, root)
    return found


def names(function: SysFunction, root: Path) -> list[str]:
    """The disks and partitions that are the function's."""
    mine = [entry.name for entry in below(function, root, "block")]
    heads = [head for name in mine if (head := _HIDDEN.sub(r"\1\2", name)) != name]
    parts = re.compile(rf"({'|'.join(heads)})(p\d+)?") if heads else None
    more = [e.name for e in entries(root, "block") if parts and parts.fullmatch(e.name)]
    return sorted({*mine, *more})


def _uses(name: str, root: Path, below_it: str = "") -> list[Use]:
    """The uses of one block device, and of those that hold it."""
    on = f"{name} (on {below_it})" if below_it else name
    found = [*_mounted(name, on, root), *_swapped(name, on, root), *_looped(name, on, root)]
    for holder in _holders(name, root):
        found.append(_held(name, holder, root))
        found += _uses(holder, root, f"{below_it or name}")
    return found or _opened(name, on, root)


def _mounted(name: str, on: str, root: Path) -> Iterator[Use]:
    number = text_of(root / "sys/class/block" / name / "dev")
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        first, _, last = line.partition(" - ")
        fields, source = first.split(), last.split()[1:2]
        # a file system on several disks (btrfs) has a number of its own, but names its source
        if len(fields) > 4 and (fields[2] == number or source == [f"/dev/{name}"]):
            place = fields[4].encode().decode("unicode_escape")
            yield Use(f"{on} is mounted at {place}", f"umount {place}")


def _swapped(name: str, on: str, root: Path) -> Iterator[Use]:
    for line in text_of(root / "proc/swaps").splitlines()[1:]:
        if line.split()[:1] == [f"/dev/{name}"]:
            yield Use(f"{on} is swap space", f"swapoff /dev/{name}")


def _looped(name: str, on: str, root: Path) -> Iterator[Use]:
    for entry in entries(root, "block"):
        if text_of(entry / "loop" / "backing_file") == f"/dev/{name}":
            yield Use(f"{entry.name} is a loop device of {on}", f"losetup -d /dev/{entry.name}")


def _holders(name: str, root: Path) -> list[str]:
    directory = root / "sys/class/block" / name / "holders"
    return sorted(e.name for e in directory.iterdir()) if directory.is_dir() else []


def _held(name: str, holder: str, root: Path) -> Use:
    mapped = text_of(root / "sys/class/block" / holder / "dm" / "name")
    if mapped:
        remedy = f"dmsetup remove {mapped} (LVM: vgchange -an; dm-crypt: cryptsetup close)"
        return Use(f"{name} is a part of {holder} ({mapped})", remedy)
    remedy = f"mdadm --stop /dev/{holder}" if holder.startswith("md") else f"stop {holder}"
    return Use(f"{name} is a part of {holder}", remedy)


def _opened(name: str, on: str, root: Path) -> list[Use]:
    """Programs that have it open; and what no table tells (ZFS, other name spaces)."""
    found = [
        Use(f"{opener} has {on} open", f"end it: kill {opener.pid}")
        for opener in openers(root, [f"/dev/{name}"])
    ]
    if not found and _is_exclusive(root / "dev" / name):
        found.append(Use(f"{on} is in exclusive use", f"see `lsblk /dev/{name}` for whose"))
    return found


def _is_exclusive(node: Path) -> bool:
    """Whether the kernel refuses to share it: the one test that knows of every use."""
    with suppress(OSError):
        if not stat.S_ISBLK(node.stat().st_mode):
            return False
        try:
            os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            return error.errno == errno.EBUSY
    return False
