"""The documents are kept by tests: what they list exists, what exists is listed."""

import ast
import re
from pathlib import Path

import pytest

import rumpci.autoconf
import rumpci.bus_dma
import rumpci.bus_space
import rumpci.kern
import rumpci.mbuf
import rumpci.pci
import rumpci.pci_intr

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs/netbsd-map.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
MODULES = (
    rumpci.bus_space,
    rumpci.bus_dma,
    rumpci.pci,
    rumpci.pci_intr,
    rumpci.autoconf,
    rumpci.kern,
    rumpci.mbuf,
)


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
    pages = "bus_space|bus_dma|bus_dmamap|bus_dmamem|bus_dmatag|pci|aprint|device|m"
    ours = {n for n in present() if re.match(rf"({pages})_[a-z]", n)}
    helpers = {"pci_intr_event", "pci_capabilities", "pci_ext_capabilities", "pci_attach_args"}
    helpers |= {"bus_dma_faults"}
    assert ours - helpers == {n for n in listed(True) if n in ours}


def test_what_the_map_says_is_ours_exists() -> None:
    ours = set(re.findall(r"Ours: `(\w+)`", MAP))
    assert "bus_dma_faults" in ours
    assert ours <= present()


def test_every_flag_of_bus_dma_is_in_the_map() -> None:
    named = set(re.findall(r"`(BUS_DMA_\w+)`", MAP))
    assert named == {name for name in vars(rumpci.bus_dma) if name.startswith("BUS_DMA_")}


def places() -> list[tuple[str, str]]:
    """Each "`file`, `Class.name`" of the page on architecture."""
    return sorted(set(re.findall(r"`([\w/]+\.pyx?)`,\s+`([\w.]+)`", ARCHITECTURE)))


def test_the_page_on_architecture_names_places() -> None:
    assert len(places()) > 15
    assert len(ARCHITECTURE.splitlines()) <= 200


@pytest.mark.parametrize(("file", "name"), places(), ids=str)
def test_every_place_that_the_architecture_names_exists(file: str, name: str) -> None:
    text = (ROOT / "src/rumpci" / file).read_text()
    for part in name.split("."):
        assert re.search(rf"^\s*(async )?(cp?def|def|class|cdef class).*\b{part}\b", text, re.M), (
            part
        )


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


def test_the_readme_has_every_command_in_its_table() -> None:
    from rumpci.tools.main import COMMANDS

    table = re.findall(r"^\| `rumpci (\w+)", (ROOT / "README.md").read_text(), re.M)
    assert sorted(table) == sorted(COMMANDS)
