"""Drivers by name or file."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence

import rumpci.drivers
from rumpci.autoconf import Driver
from rumpci.load import load_classes

_PACKAGE = "rumpci.drivers"


def load_drivers(names: Sequence[str]) -> list[type[Driver]]:
    """The drivers that `names` (shipped names, modules, files) define.

    Raises DriverLoadError (ENOEXEC).
    """
    return [driver for name in names for driver in load_classes(name, Driver, _PACKAGE)]


def shipped_names() -> list[str]:
    """The names of the drivers that come with rumpci."""
    found = pkgutil.iter_modules(rumpci.drivers.__path__)
    return [module.name for module in found if not module.name.endswith("reg")]


def shipped_drivers() -> list[type[Driver]]:
    """The drivers that come with rumpci."""
    return load_drivers(shipped_names())
