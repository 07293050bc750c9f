"""Loading classes from files and modules: what is found, and errors that name the cause."""

import sys
from pathlib import Path

import pytest

from rumpci.autoconf import Driver
from rumpci.errors import DriverLoadError
from rumpci.hosts import open_host
from rumpci.load import load_classes
from rumpci.machines.model.device import Model

HEAD = "from __future__ import annotations\nfrom rumpci.autoconf import Driver\n"
MODEL = """\
from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
class Lamp(Model):
    config = ConfigSpec(0x1234, 1, 0x088000, bars={0: BarSpec(4096)})
    def __init__(self, watts='60'):
        self.watts = int(watts)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "blinker.py"


def names(classes: list[type[Driver]]) -> list[str]:
    return [cls.__name__ for cls in classes]


def test_classes_come_in_the_order_of_their_definition(source: Path) -> None:
    source.write_text(f"{HEAD}class B(Driver): pass\nclass A(Driver): pass\nclass Not: pass\n")
    assert names(load_classes(str(source), Driver)) == ["B", "A"]


def test_a_class_with_two_names_comes_once(source: Path) -> None:
    source.write_text(f"{HEAD}class B(Driver): pass\nDefault = B\n")
    assert names(load_classes(str(source), Driver)) == ["B"]


def test_imported_classes_are_not_the_files_own(source: Path) -> None:
    source.write_text(f"{HEAD}from rumpci.drivers.edu import Edu\nclass Mine(Edu): pass\n")
    assert names(load_classes(str(source), Driver)) == ["Mine"]


def test_a_file_finds_its_neighbour(source: Path) -> None:
    (source.parent / "blinkerreg_of_test_load.py").write_text("SIZE = 7\n")
    source.write_text(
        f"{HEAD}from blinkerreg_of_test_load import SIZE\nclass B(Driver): size = SIZE\n"
    )
    before = list(sys.path)
    assert vars(load_classes(str(source), Driver)[0])["size"] == 7
    assert sys.path == before


def test_a_file_may_change_the_path(source: Path) -> None:
    source.write_text(f"{HEAD}import sys\nsys.path.insert(0, '/nowhere')\nclass B(Driver): pass\n")
    before = list(sys.path)
    load_classes(str(source), Driver)
    try:
        assert sys.path == ["/nowhere", *before]
    finally:
        sys.path[:] = before


def test_a_file_may_have_dataclasses(source: Path) -> None:
    source.write_text(
        f"{HEAD}from dataclasses import dataclass\n@dataclass\nclass State:\n    n: int\n"
        "class B(Driver): state = State(3)\n"
    )
    assert names(load_classes(str(source), Driver)) == ["B"]


def test_a_file_does_not_hide_a_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text(f"{HEAD}class B(Driver): pass\n")
    load_classes(str(tmp_path / "colorsys.py"), Driver)
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_a_file_that_changed_is_loaded_again(source: Path) -> None:
    source.write_text(f"{HEAD}class B(Driver): pass\n")
    load_classes(str(source), Driver)
    source.write_text(f"{HEAD}class Changed(Driver): pass\n")
    assert names(load_classes(str(source), Driver)) == ["Changed"]


def test_modules_by_name() -> None:
    from rumpci.drivers.edu import Edu

    assert load_classes("edu", Driver, "rumpci.drivers") == [Edu]
    assert load_classes("rumpci.drivers.edu", Driver) == [Edu]
    assert load_classes("rumpci.drivers.edu", Driver, "rumpci.drivers") == [Edu]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("syntax error here", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
    ],
)
def test_a_bad_file_is_a_load_error(source: Path, text: str, says: str) -> None:
    source.write_text(text)
    before = list(sys.path)
    with pytest.raises(DriverLoadError, match=says):
        load_classes(str(source), Driver)
    assert sys.path == before
    assert not [name for name in sys.modules if name.endswith(source.stem)]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".edu", "no_such", "no.such", "a b", "/nowhere/x.py", "x.py", "/", "a/b"],
)
@pytest.mark.parametrize("package", ["", "rumpci.drivers"])
def test_a_name_that_leads_nowhere_is_a_load_error(name: str, package: str) -> None:
    with pytest.raises(DriverLoadError) as caught:
        load_classes(name, Driver, package)
    assert caught.value.tried.startswith("loading")


def test_a_file_without_drivers(source: Path) -> None:
    source.write_text("")
    with pytest.raises(DriverLoadError, match="defines no subclass of Driver"):
        load_classes(str(source), Driver)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DriverLoadError):
        load_classes(str(tmp_path), Driver)


def test_cause_is_chained(source: Path) -> None:
    source.write_text("1 / 0")
    with pytest.raises(DriverLoadError) as caught:
        load_classes(str(source), Driver)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# ---- device models ------------------------------------------------------------------


def test_a_model_from_a_file(source: Path) -> None:
    source.write_text(MODEL)
    host = open_host(f"model:{source},watts=40")
    assert [f.id for f in host.functions()][1:] == [0x0001_1234]
    host.close()


@pytest.mark.parametrize("prop", ["watts=many", "volts=230"])
def test_a_property_that_the_model_refuses(source: Path, prop: str) -> None:
    from rumpci.errors import HostRefused

    source.write_text(MODEL)
    with pytest.raises(HostRefused, match="model"):
        open_host(f"model:{source},{prop}")


def test_built_in_models_are_the_last_class_of_their_module() -> None:
    assert load_classes("rumpci.machines.model.edu", Model)[-1].__name__ == "Edu"
