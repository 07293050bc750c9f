"""The documents are kept by tests: what they list exists, what exists is listed."""

import ast
import re
from pathlib import Path

import pytest

import rumpci.autoconf
import rumpci.bus_space
import rumpci.kern
import rumpci.pci
import rumpci.pci_intr

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs/netbsd-map.md").read_text()
MODULES = (rumpci.bus_space, rumpci.pci, rumpci.pci_intr, rumpci.autoconf, rumpci.kern)


def map_rows() -> list[tuple[set[str], bool]]:
    rows = re.findall(r"^\| (.*?) \| (yes|no) \|", MAP, re.M)
    return [(set(re.findall(r"`(\w+)`", names)), here == "yes") for names, here in rows]


def expand(name: str) -> set[str]:
    return {name[:-1] + width for width in "1248"} if name.endswith("_N") else {name}


def listed(here: bool) -> set[str]:
    return {full for names, yes in map_rows() if yes is here for n in names for full in expand(n)}


def present() -> set[str]:
    return {name for module in MODULES for name in vars(module)}


def test_what_the_map_promises_exists() -> None:
    methods = {"ca_match", "ca_attach", "ca_detach"}
    assert listed(True) - methods <= present()


def test_what_the_map_denies_does_not_exist() -> None:
    assert not listed(False) & present()


def test_every_function_of_the_manual_pages_is_in_the_map() -> None:
    ours = {n for n in present() if re.match(r"(bus_space|pci|aprint|device)_[a-z]", n)}
    helpers = {"pci_intr_event", "pci_capabilities", "pci_ext_capabilities", "pci_attach_args"}
    assert ours - helpers == {n for n in listed(True) if n in ours}


def sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_a_page_you_can_read(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 400
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 45, f"{path.name}: {node.name} is too long"


def test_every_error_of_the_tree_is_drawn_at_its_top() -> None:
    from rumpci import errors

    drawn = set(re.findall(r"\|- (\w+)|`- (\w+)", errors.__doc__ or ""))
    names = {a or b for a, b in drawn} | {"RumpciError"}
    classes = {n for n, v in vars(errors).items() if isinstance(v, type)}
    assert classes == names


def test_each_error_has_the_errno_that_the_tree_says() -> None:
    import errno

    from rumpci import errors

    pairs = re.findall(r"[|`]- (\w+) +(E[A-Z]+)", errors.__doc__ or "")
    assert len(pairs) > 20
    for name, number in pairs:
        assert getattr(errors, name).errno == getattr(errno, number)
