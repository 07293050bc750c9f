"""Who may import whom: the rules, on the real imports and on made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import grimp
import pytest

from rumpci.tools.load import shipped_names

Imports = dict[str, set[str]]
"""The modules that each module imports, names without the package."""

MANUAL = {"bus_space", "bus_dma", "pci", "pci_intr", "autoconf", "kern", "regs"}
"""One module for each manual page."""
FOR_DRIVERS = MANUAL | {"pcireg", "errors", "shim", "disk", "mbuf"}
BELOW_THE_SEAM = ("hosts", "machines", "guard")
ABOVE_THE_SEAM = ("drivers", "shell", "supervisor", "tools")


def within(module: str, packages: Iterable[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def driver_may_import(driver: str, imported: str) -> bool:
    """What every driver may, and the driver's own modules, which have its name and more."""
    own = [f"drivers.{name}" for name in shipped_names()]
    same = any(driver.startswith(name) and imported.startswith(name) for name in own)
    return imported in FOR_DRIVERS or same


def violations(imports: Imports) -> Iterator[str]:
    """Every import that breaks a rule of the design."""
    for importer, modules in imports.items():
        for imported in modules:
            if broken := broken_rule(importer, imported):
                yield f"{importer} imports {imported}: {broken}"


def broken_rule(importer: str, imported: str) -> str | None:
    for applies, allowed, rule in RULES:
        if applies(importer) and not allowed(importer, imported):
            return rule
    return None


RULES: list[tuple[Callable[[str], bool], Callable[[str, str], bool], str]] = [
    (
        lambda m: m.startswith("drivers."),
        driver_may_import,
        "drivers import only the manual-page modules",
    ),
    (
        lambda m: m in FOR_DRIVERS | {"host", "kern", "pcidevs"},
        lambda _, i: not within(i, (*BELOW_THE_SEAM, *ABOVE_THE_SEAM)),
        "manual-page modules know only the seam",
    ),
    (
        lambda m: within(m, BELOW_THE_SEAM),
        lambda _, i: not within(i, ABOVE_THE_SEAM),
        "nothing below the seam knows drivers or tools",
    ),
    (
        lambda m: within(m, ["machines"]),
        lambda _, i: not within(i, ["guard"]),
        "machines know no guard",
    ),
    (lambda _: True, lambda _, i: not within(i, ["tests", "conftest"]), "nothing imports tests"),
]


@cache
def real_imports() -> Imports:
    graph = grimp.build_graph("rumpci", include_external_packages=True, cache_dir=None)
    strip = "rumpci."
    return {
        module.removeprefix(strip): {
            imported.removeprefix(strip)
            for imported in graph.find_modules_directly_imported_by(module)
            if imported.startswith(strip) or imported in ("tests", "conftest")
        }
        for module in graph.modules
        if module.startswith(strip)
    }


def test_the_rules_are_kept() -> None:
    assert list(violations(real_imports())) == []


def test_the_graph_is_not_empty() -> None:
    imports = real_imports()
    assert {"drivers.edu", "hosts.qemu", "machines.pciconf", "guard.guard"} <= set(imports)
    assert "pci" in imports["drivers.edu"]
    assert "machines.qemu.machine" in imports["hosts.qemu"]


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("drivers.edu", "host"), ("drivers.edu", "hosts.qemu"), ("drivers.edu", "machines.pciconf"),
        ("drivers.edu", "guard"), ("drivers.edu", "drivers.com"), ("drivers.edu", "pcidevs"),
        ("drivers.edu", "_native"), ("drivers.edu", "load"), ("drivers.edu", "drivers.comreg"),
        ("drivers.nvmeq", "drivers.edureg"), ("drivers.nvmedma", "_dma"),
        ("pci", "hosts"), ("pci", "machines.model.edu"), ("bus_space", "guard.window"),
        ("regs", "tools.main"), ("autoconf", "drivers.edu"), ("kern", "hosts.url"),
        ("hosts.qemu", "drivers.edu"), ("hosts", "tools.main"), ("machines.qemu.machine", "tools"),
        ("machines.pciconf", "drivers.edureg"), ("guard.claim", "drivers.edu"),
        ("machines.qemu.machine", "guard"), ("drivers.edu", "supervisor.child"),
        ("guard.recorder", "supervisor.flight"), ("hosts.pci4", "supervisor"),
        ("machines.model.device", "guard.claim"),
        ("load", "tests"), ("pci", "conftest"), ("guard.claim", "shell.device"), ("pci", "shell"),
    ],
)  # fmt: skip
def test_a_violation_is_found(importer: str, imported: str) -> None:
    found = list(violations({"harmless": {"errors"}, importer: {"errors", imported}}))
    assert len(found) == 1
    assert found[0].startswith(f"{importer} imports {imported}: ")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("drivers.edu", "pci"), ("drivers.edu", "drivers.edureg"), ("drivers.edureg", "regs"),
        ("drivers.nvme", "drivers.nvmeq"), ("drivers.nvmeq", "drivers.nvmedma"),
        ("drivers.nvmens", "disk"),
        ("pci", "host"), ("pci", "pcidevs"), ("hosts.qemu", "guard"), ("hosts.qemu", "machines"),
        ("guard.guard", "machines.machine"), ("machines.qemu.devices", "hosts.url"),
        ("tools.main", "drivers.edu"), ("hostsome", "drivers.edu"),
    ],
)  # fmt: skip
def test_what_is_allowed(importer: str, imported: str) -> None:
    assert list(violations({importer: {imported}})) == []
