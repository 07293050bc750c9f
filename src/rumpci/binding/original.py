"""The driver that a function had before the first `rumpci bind`, so that it can be given back.

It is a file in /run/rumpci/bind, because bindings end at a reboot as /run does, and because the
kernel cannot be asked: with two drivers that fit, or one that was chosen by driver_override or by
a new id, clearing the override would get another one.  Without a file it is all that can be done.
"""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rumpci import pcireg as pr
from rumpci.binding.use import text_of
from rumpci.errors import HostRefused
from rumpci.machines.sysfs import SysFunction

_DIRECTORY = "run/rumpci/bind"


@dataclass(frozen=True)
class Original:
    """What `rumpci bind` found: the driver, the override ("": none), the group's kind of DMA."""

    driver: str | None
    override: str
    group_type: str | None
    identity: int
    """The function's vendor and product: another card in the same slot has no past."""


def override_of(function: SysFunction) -> str:
    """The function's driver_override, "" if there is none."""
    text = text_of(function.directory / "driver_override")
    return "" if text == "(null)" else text


def group_type_of(function: SysFunction) -> str | None:
    """The kind of its IOMMU group's DMA: DMA, DMA-FQ, identity; None without an IOMMU.

    A program that has the group changes what the kernel says; the kind is not to be touched then.
    """
    text = text_of(function.directory / "iommu_group" / "type")
    return text or None


def current(function: SysFunction) -> Original:
    """How the function is now."""
    identity = function.conf_read(pr.PCI_ID_REG)
    return Original(function.driver, override_of(function), group_type_of(function), identity)


def recall(function: SysFunction, root: Path) -> Original | None:
    """What was noted of the function; None if nothing was, or of another card."""
    try:
        noted = Original(**json.loads(_file(function, root).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return noted if noted.identity == function.conf_read(pr.PCI_ID_REG) else None


def remember(function: SysFunction, root: Path) -> None:
    """Note how the function is, unless that was done before.  Raises HostRefused."""
    if recall(function, root) is None:
        note(function, current(function), root)


def note(function: SysFunction, found: Original, root: Path) -> None:
    """Write a note: all of it or nothing.  Raises HostRefused."""
    file = _file(function, root)
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(asdict(found)))
        new.rename(file)
    except OSError as error:
        rights = error.errno in (errno.EACCES, errno.EPERM)
        raise HostRefused(
            f"noting the driver of {function.address}",
            f"{file}: {error.strerror}",
            "run it as root" if rights else f"see that {file.parent} can be written",
            errno=error.errno,
        ) from error


def forget(function: SysFunction, root: Path) -> None:
    """The function was given back."""
    _file(function, root).unlink(missing_ok=True)


def _file(function: SysFunction, root: Path) -> Path:
    return root / _DIRECTORY / function.directory.name
