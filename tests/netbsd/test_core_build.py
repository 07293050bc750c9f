"""What the core's sources promise to a kernel, looked up in what a compiler makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.needs import cc
from tests.netbsd.build import CORE, STRICT, program, sources
from tests.netbsd.core import ENVIRONMENT

STACK = 512
"""Bytes of one function's frame; and of the deepest way through all of them."""
DEEPEST = 2048
GRAPH = re.compile(r"^(node|edge): \{ (.*) \}$")
FIELD = re.compile(r'(\w+): "((?:[^"\\]|\\.)*)"')


def compiled(directory: Path, *flags: str) -> None:
    """All of the core, into a directory."""
    command = [cc(), *STRICT, *flags, "-I", str(CORE), "-c"]
    done = subprocess.run(
        [*command, *map(str, sources())], capture_output=True, text=True, check=False, cwd=directory
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("flags", [["-O0"], ["-O2", "-pedantic"], ["-O2", "-D_FORTIFY_SOURCE=2"]])
def test_it_compiles_without_a_warning(tmp_path: Path, flags: list[str]) -> None:
    compiled(tmp_path, *flags, *(["-std=c11"] if "-pedantic" in flags else []))


def test_it_has_no_state_of_its_own(tmp_path: Path) -> None:
    """Nothing that can be written is outside what was allocated."""
    compiled(tmp_path, "-O2", "-fno-pic", "-fno-pie")
    if (nm := shutil.which("nm")) is None:
        pytest.skip("no nm: apt-get install --no-install-recommends binutils")
    objects = sorted(map(str, tmp_path.glob("*.o")))
    assert len(objects) == len(sources())
    found = subprocess.run([nm, *objects], capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-2] for line in found.splitlines() if len(line.split()) >= 2}
    assert "T" in kinds
    assert not kinds & set("bBdDsSgGC"), found


def test_what_it_needs_of_a_library_is_little(tmp_path: Path) -> None:
    """A kernel has it, too."""
    compiled(tmp_path, "-O2", "-ffreestanding")
    objects = sorted(map(str, tmp_path.glob("*.o")))
    nm = shutil.which("nm") or pytest.skip("no nm: apt-get install binutils")
    undefined = subprocess.run(
        [nm, "-u", *objects], capture_output=True, text=True, check=True
    ).stdout.split()
    names = {name for name in undefined if name != "U" and not name.endswith(":")}
    outside = {name for name in names if not name.startswith("pcu_")}
    assert outside <= {"memcpy", "memset", "memcmp", "strlen", "_GLOBAL_OFFSET_TABLE_"}


def test_only_one_file_includes_the_systems() -> None:
    for path in sorted(CORE.glob("pci_user_*")):
        found = re.findall(r"^#include <(.*)>", path.read_text(), re.M)
        assert not found or path.name == "pci_user_port.h", path.name


def test_files_are_pages_you_can_read() -> None:
    for path in sorted(CORE.glob("pci_user_*")):
        lines = path.read_text().splitlines()
        assert len(lines) <= 400, path.name
        assert max(len(line.expandtabs(8)) for line in lines) <= 80, path.name


# ---- the graph of calls ------------------------------------------------------------------


@cache
def calls(directory: Path) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Who calls whom, and the bytes of each frame, as the compiler tells (-fcallgraph-info)."""
    version = subprocess.run([cc(), "-v"], capture_output=True, text=True, check=True).stderr
    if "gcc version" not in version:
        pytest.skip("only GCC tells of calls: apt-get install gcc")
    compiled(directory, "-O2", "-fno-inline", "-fcallgraph-info=su")
    called: dict[str, set[str]] = {}
    frames: dict[str, int] = {}
    for name, label, target in _graph(directory):
        if target:
            called.setdefault(name, set()).add(target)
        elif size := re.search(r"(\d+) bytes \((\w+)\)", label):
            frames[name] = int(size[1])
            assert size[2] == "static", f"{name}: how much stack it takes depends on its caller"
    return called, frames


def _graph(directory: Path) -> Iterator[tuple[str, str, str]]:
    """(function, label, "") and (caller, "", called)."""
    for path in sorted(directory.glob("*.ci")):
        for line in path.read_text().splitlines():
            if found := GRAPH.match(line):
                fields = dict(FIELD.findall(found[2]))
                if found[1] == "node":
                    yield fields["title"], fields["label"], ""
                else:
                    yield fields["sourcename"], "", fields["targetname"]


def test_no_frame_is_large(tmp_path: Path) -> None:
    _, frames = calls(tmp_path)
    assert len(frames) > 150
    assert max(frames.values()) <= STACK, {f: n for f, n in frames.items() if n > STACK}


def test_there_is_no_recursion_and_the_stack_is_bounded(tmp_path: Path) -> None:
    """Calls of the port apart; the operations are called through their table."""
    called, frames = calls(tmp_path)
    operations = {name for name in frames if name.startswith("pcu_op_")}
    assert len(operations) == 33
    called = dict(called)
    dispatch = next(name for name in frames if name.endswith(":dispatch"))
    called[dispatch] = called.get(dispatch, set()) | operations

    def depth(name: str, above: tuple[str, ...]) -> int:
        assert name not in above, f"recursion: {above} -> {name}"
        below = [depth(target, (*above, name)) for target in called.get(name, ())]
        return frames.get(name, 0) + max(below, default=0)

    deepest = max(depth(name, ()) for name in frames)
    print(f"the deepest way through the core takes {deepest} bytes of stack")
    assert deepest <= DEEPEST


# ---- by chance ---------------------------------------------------------------------------


def test_anything_at_its_entry() -> None:
    """`./dev fuzz --core SECONDS` goes on for longer."""
    done = subprocess.run(
        [str(program("fuzz")), "600", "1"], capture_output=True, text=True, check=False,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("600 inputs")
