"""Drivers by name or file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence

import rumpci.drivers
from rumpci.autoconf import Driver
from rumpci.load import load_classes
from rumpci.pci import PciAttachArgs

_PACKAGE = "rumpci.drivers"


def load_drivers(names: Sequence[str]) -> list[type[Driver]]:
    """The drivers that `names` (shipped names, modules, files) define.

    Raises DriverLoadError (ENOEXEC).
    """
    return [driver for name in names for driver in load_classes(name, Driver, _PACKAGE)]


def shipped_names() -> list[str]:
    """The names of the drivers that come with rumpci.

    A driver may be several modules (edureg, nvmeq): those without a driver are not listed.
    """
    found = [module.name for module in pkgutil.iter_modules(rumpci.drivers.__path__)]
    return [name for name in found if _has_driver(f"{_PACKAGE}.{name}")]


def _has_driver(module: str) -> bool:
    """Whether a module of ours defines a driver."""
    defined = vars(importlib.import_module(module)).values()
    drivers = [c for c in defined if isinstance(c, type) and issubclass(c, Driver)]
    return any(driver.__module__ == module for driver in drivers)


def shipped_drivers() -> list[type[Driver]]:
    """The drivers that come with rumpci."""
    return load_drivers(shipped_names())


def shipped_registers(pa: PciAttachArgs) -> str | None:
    """The module of ours with the registers of a function, if a driver of ours matches it."""
    ranked = [(int(driver.match(pa) or 0), driver) for driver in shipped_drivers()]
    best, driver = max(ranked, key=lambda pair: pair[0])
    name = f"{driver.__module__}reg"
    found = best > 0 and importlib.util.find_spec(name)
    return name.removeprefix(f"{_PACKAGE}.") if found else None
