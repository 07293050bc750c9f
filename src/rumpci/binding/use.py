"""A use of a device, and how those who look for uses read sysfs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rumpci.machines.sysfs import SysFunction


@dataclass(frozen=True)
class Use:
    """Something that would break if the device went away, and the command that ends it."""

    what: str
    remedy: str


def entries(root: Path, kind: str) -> list[Path]:
    """Everything in /sys/class/`kind`."""
    directory = root / "sys/class" / kind
    return sorted(directory.iterdir()) if directory.is_dir() else []


def below(function: SysFunction, root: Path, kind: str) -> list[Path]:
    """What of /sys/class/`kind` is below the function in the tree of devices."""
    top = function.directory.resolve()
    return [entry for entry in entries(root, kind) if top in entry.resolve().parents]


def text_of(path: Path) -> str:
    """A file's text without the newline; nothing if it cannot be read."""
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""
