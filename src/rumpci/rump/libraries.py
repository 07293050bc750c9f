"""Which rump libraries there are, and in which order they load.

What a library needs is told by its symbols, so a library that is new here finds its place.
The order matters to a rump kernel: a library's components are set up as it is loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rumpci.errors import DriverLoadError, HostUnavailable
from rumpci.rump.elf import Symbols, symbols_of

USUAL = ("/usr/lib/rump", "/usr/lib", "/usr/pkg/lib", "/usr/local/lib", "/usr/local/rump/lib")
"""Where libraries are looked for if neither --lib nor RUMPCI_RUMP_LIB says where."""
BASE = ("rumpuser", "rump")
"""What every rump kernel has; the hypercalls come between it and everything else."""
PCI = "rumpdev_pci"
FACTIONS = ("rumpvfs", "rumpdev", "rumpnet")
"""Loaded before the components that belong to them."""
_ALWAYS = ("rumpkern_sysproxy", "rumpdev_drvctl")
_NETWORK = ("rumpnet_netinet", "rumpnet_local", "rumpnet_config", "rumpdev_bpf")
_DISK = ("rumpdev_disk", "rumpfs_ffs", "rumpfs_ext2fs", "rumpfs_msdos")
_SOUND = ("rumpdev_audio",)
_WITH = {
    "virtio": (
        "rumpdev_virtio_ld", "rumpdev_virtio_viornd", "rumpdev_virtio_if_vioif",
        "rumpdev_virtio_vioscsi", *_NETWORK, *_DISK,
    ),
    "usbhc": ("rumpdev_usb", "rumpdev_umass", "rumpdev_scsipi", *_DISK),
    "auich": _SOUND, "eap": _SOUND, "hdaudio": _SOUND,
}  # fmt: skip
"""What a driver's devices show themselves through; an Ethernet driver has the network."""
_OURS = re.compile(r"rumpcomp_pci_|rumpns_bus_space_|rumpns_bus_dma")
_RUMP = re.compile(r"rump")
_NAME = re.compile(r"lib(rump[a-z0-9_]*)\.so(\.[0-9.]+)?$")
_DRIVER = re.compile(r"rumpdev_pci_(?:if_)?(\w+)$")
_HOW = "set RUMPCI_RUMP_LIB, or use --lib DIR, where librump.so and librumpdev_pci.so are"


@dataclass(frozen=True)
class Libraries:
    """The rump libraries in `folder`, by name without `lib` and `.so`."""

    folder: Path
    paths: dict[str, Path]

    @classmethod
    def find(cls, folder: str | os.PathLike[str] | None = None) -> Libraries:
        """Those in `folder`, else in RUMPCI_RUMP_LIB, else in the usual places.

        Raises HostUnavailable (ENOENT) if there is no librump.
        """
        told = folder or os.environ.get("RUMPCI_RUMP_LIB")
        places = [Path(told)] if told else [Path(place) for place in USUAL]
        for place in places:
            paths = _paths(place)
            if "rump" in paths:
                return cls(place, paths)
        where = ", ".join(map(str, places))
        raise HostUnavailable("a rump kernel", f"no librump.so in {where}", _HOW)

    def drivers(self) -> dict[str, str]:
        """The PCI drivers that there are: driver and library."""
        found = {m[1]: name for name in self.paths if (m := _DRIVER.fullmatch(name))}
        return dict(sorted(found.items()))

    def components(self) -> list[str]:
        """Every library that is no driver of a PCI device."""
        return sorted(name for name in self.paths if not _DRIVER.fullmatch(name))

    def usual(self, drivers: Iterable[str]) -> list[str]:
        """Components without which these drivers are of little use, of those that there are."""
        wanted = list(_ALWAYS)
        for driver in drivers:
            wanted += _WITH.get(driver, _NETWORK)
        return [name for name in dict.fromkeys(wanted) if name in self.paths]

    def named(self, name: str) -> str:
        """The library for a driver's name, or a component's.  Raises DriverLoadError (ENOEXEC)."""
        for candidate in (self.drivers().get(name), name, f"rumpdev_{name}", f"rump{name}"):
            if candidate in self.paths:
                return str(candidate)
        raise DriverLoadError(
            f"driver {name!r} of a rump kernel",
            f"{self.folder} has none of that name",
            f"there are: {', '.join(self.drivers()) or 'none'}",
        )

    def order(self, wanted: Iterable[str]) -> Sequence[str]:
        """`wanted` libraries and all that they need, each after what it needs.

        Raises DriverLoadError (ENOEXEC) if a symbol is nowhere.
        """
        for name in BASE:
            if name not in self.paths:
                raise HostUnavailable("a rump kernel", f"no lib{name}.so in {self.folder}", _HOW)
        found = list(BASE)
        for name in wanted:
            self._add(name, found, ())
        # a faction that something needs comes before all of its components
        factions = [name for name in FACTIONS if name in found]
        rest = [name for name in found if name not in (*BASE, *factions)]
        return [*BASE, *factions, *rest]

    def _add(self, name: str, found: list[str], under: tuple[str, ...]) -> None:
        if name in found or name in under:
            return
        for needed in self._needs(name):
            self._add(needed, found, (*under, name))
        found.append(name)

    def _needs(self, name: str) -> list[str]:
        """Libraries that define what one wants."""
        missing: dict[str, None] = {}
        for symbol in sorted(self._symbols[name].wanted):
            if not _RUMP.match(symbol) or _OURS.match(symbol):
                continue
            if (provider := self._provider(symbol, name)) is None:
                raise DriverLoadError(
                    f"the rump library {self.paths[name]}",
                    f"nothing in {self.folder} defines {symbol}, which it needs",
                    "install the component that does, built from the same sources",
                )
            missing[provider] = None
        missing.pop(name, None)
        return list(missing)

    def _provider(self, symbol: str, name: str) -> str | None:
        own = self._symbols[name].defined
        return name if symbol in own else self._providers.get(symbol)

    @cached_property
    def _symbols(self) -> dict[str, Symbols]:
        return {name: symbols_of(path) for name, path in self.paths.items()}

    @cached_property
    def _providers(self) -> dict[str, str]:
        """By symbol: the least special library that defines it."""
        names = sorted(self._symbols, key=lambda name: (name not in BASE, len(name), name))
        return {s: name for name in reversed(names) for s in self._symbols[name].defined}


def _paths(place: Path) -> dict[str, Path]:
    """Libraries by name; of several versions the one without a number, else the highest."""
    found: dict[str, Path] = {}
    try:
        files = sorted(
            place.glob("librump*.so*"), key=lambda path: (path.suffix != ".so", path.name)
        )
    except OSError:
        return {}
    for path in files:
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[1], path)
    return found
