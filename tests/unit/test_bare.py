"""rumpci without its native modules and without packages: as on NetBSD with Python alone."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rumpci

SOURCE = Path(rumpci.__file__).parent
STAND_INS = {
    "rumpci._native": ("rumpci.plain.access", "rumpci.plain.many"),
    "rumpci._dma": ("rumpci.plain.memory",),
    "rumpci._event": ("rumpci.plain.event",),
    "rumpci.guard._recorder": ("rumpci.plain.ring",),
}
FOR_DRIVERS = (
    "host", "bus_space", "bus_dma", "kern", "autoconf", "errors", "pci", "pci_intr", "hosts.pci4",
    "drivers.edu", "drivers.com", "drivers.nvme", "supervisor.inside",
)  # fmt: skip
"""What a driver needs, and what runs it."""
PARTS = (
    "tests/unit/test_bus_dma_hostile.py::test_a_loaded_buffer_cannot_be_resized",
    "tests/unit/test_bus_dma_hostile.py::test_views_of_views_do_not_bounce",
    "tests/unit/test_bus_dma_hostile.py::test_mapping_twice_and_unmapping",
)
"""What stand-ins cannot: keep a memoryview, tell where a part is, take back what has views."""
WITH_CLICK = ("rich", "watchfiles", "qemu", "typing_extensions", "ctypes", "_ctypes")


def run(code: str, *arguments: str) -> str:
    """What a process without these modules prints; it has to end well."""
    command = [sys.executable, "-c", f"import tests.bare; {code}", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_what_a_driver_needs_can_be_imported() -> None:
    code = f"tests.bare.bare()\nimport importlib\nfor n in {FOR_DRIVERS!r}: "
    run(f"{code}importlib.import_module('rumpci.' + n)")


@pytest.mark.parametrize("intr", ["msi", "intx", "shim", "poll"])
def test_edu_runs_on_a_model(intr: str) -> None:
    code = "tests.bare.bare()\nimport runpy, sys\nrunpy.run_module('rumpci', alter_sys=True)"
    out = run(code, "run", "edu", "--on", "model:edu", "--set", f"edu.intr={intr}",
              "--set", "edu.dma=on")  # fmt: skip
    assert "10! = 3628800" in out
    assert "DMA of 4095 bytes both ways: ok" in out


def test_the_command_line_needs_click_alone() -> None:
    code = f"tests.bare.bare({WITH_CLICK!r})\nimport runpy\nrunpy.run_module('rumpci')"
    assert "10! = 3628800" in run(code, "run", "--in-process", "edu", "--on", "model:edu")


@pytest.mark.parametrize("command", ["dma", "intr", "iommu", "reg", "show", "shim", "run", "serve"])
def test_most_commands_need_click_alone(command: str) -> None:
    code = f"tests.bare.bare({WITH_CLICK!r})\nimport runpy\nrunpy.run_module('rumpci')"
    assert "Show this message and exit" in run(code, command, "--help")


def test_doctor_says_that_nothing_was_compiled() -> None:
    code = "tests.bare.bare(())\nimport runpy\nrunpy.run_module('rumpci')"
    command = [sys.executable, "-c", f"import tests.bare; {code}", "doctor"]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300).stdout
    assert "--  native modules" in out.replace("-- native", "--  native")
    assert "install rumpci with a C compiler" in out


@pytest.mark.parametrize("wrong", [["list", "model:edu"], ["run", "edu"], []])
def test_what_the_small_command_line_does_not_have(wrong: list[str]) -> None:
    command = [sys.executable, "-c", "import tests.bare; tests.bare.bare(); import runpy; "
               "runpy.run_module('rumpci')", *wrong]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 2
    assert "usage: rumpci" in found.stderr


def test_errors_are_one_line() -> None:
    command = [sys.executable, "-c", "import tests.bare; tests.bare.bare(); import runpy; "
               "runpy.run_module('rumpci')", "run", "edu", "--on", "model:ram"]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 1
    assert found.stderr.startswith("rumpci: attaching edu on model:ram: no device matches [ENXIO]")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "said"), [("/no/such/node", "No such file"), ("/", "no native module")]
)
def test_what_is_no_node(path: str, said: str) -> None:
    command = [sys.executable, "-c", "import tests.bare; tests.bare.bare(); import runpy; "
               "runpy.run_module('rumpci')", "run", "edu", "--on", f"pci4:{path}"]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 1
    assert said in found.stderr


# ---- the stand-ins are what they stand in for ----------------------------------------------


def declared(module: str) -> dict[str, ast.stmt]:
    """What the stub of a native module declares."""
    stub = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".pyi")
    kinds = ast.FunctionDef, ast.ClassDef
    return {node.name: node for node in ast.parse(stub.read_text()).body if isinstance(node, kinds)}


def members(node: ast.ClassDef) -> set[str]:
    functions = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    fields = {n.target.id for n in node.body
              if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}  # fmt: skip
    return functions | fields


@pytest.mark.parametrize("module", STAND_INS)
def test_each_name_has_a_stand_in(module: str) -> None:
    found = dict[str, object]()
    for name in STAND_INS[module]:
        found |= vars(importlib.import_module(name))
    for name, node in declared(module).items():
        made = found[name]
        if isinstance(node, ast.ClassDef):
            has = set(dir(made)) | set(getattr(made, "__annotations__", ()))
            source = inspect.getsource(made)  # type: ignore[arg-type]
            wanted = members(node) - {"__buffer__"}
            assert {n for n in wanted if n not in has and f"self.{n}" not in source} == set()
        elif isinstance(node, ast.FunctionDef):
            takes = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
            assert list(inspect.signature(made).parameters) == takes  # type: ignore[arg-type]


@pytest.mark.parametrize("module", STAND_INS)
def test_the_file_of_a_native_module_has_each_name(module: str) -> None:
    file = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    given = {alias.name for node in ast.walk(ast.parse(file.read_text()))
             if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
    assert given == set(declared(module))


@pytest.mark.parametrize(
    "files",
    [
        ["tests/unit/test_bus_space.py", "tests/unit/test_bus_space_map.py"],
        ["tests/unit/test_model_dma.py", "tests/unit/test_dma_device.py"],
        ["tests/unit/test_bus_dma_hostile.py", *(f"--deselect={name}" for name in PARTS)],
        ["tests/unit/test_intr.py", "tests/unit/test_kern.py", "tests/unit/test_guard.py"],
    ],
    ids=lambda files: Path(files[0]).stem,
)
def test_what_native_modules_pass_their_stand_ins_pass(files: list[str]) -> None:
    command = [sys.executable, "-m", "tests.bare", "-q", "-p", "no:cacheprovider", *files]
    root = SOURCE.parents[1]
    found = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=600
    )
    assert found.returncode == 0, found.stdout
