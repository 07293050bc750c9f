"""The makefiles for NetBSD's make(1): what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.netbsd.build import CORE, ROOT

TESTS = ROOT / "netbsd/tests"
MODULE = ROOT / "netbsd/sys/modules/upci/Makefile"
TARGETS = {"all", "clean", "cleandir", "depend", "includes", "install", "lint", "obj", "tags"}
"""Of bsd.prog.mk: a program of that name is in a circle with it."""


def words(makefile: Path, name: str) -> list[str]:
    text = makefile.read_text().replace("\\\n", " ")
    found = re.findall(rf"^{re.escape(name)}\+?=\s*(.*)$", text, re.MULTILINE)
    return " ".join(found).split()


def test_programs_and_their_files() -> None:
    programs = words(TESTS / "Makefile", "PROGS")
    assert programs
    assert not TARGETS & set(programs)
    sources = {name: words(TESTS / "Makefile", f"SRCS.{name}") for name in programs}
    mains = {
        path.stem for path in TESTS.glob("*.c") if re.search(r"^main\(", path.read_text(), re.M)
    }
    assert set(programs) == mains
    for name, files in sources.items():
        assert f"{name}.c" in files
        assert all((TESTS / file).exists() for file in files)


def test_the_module_has_all_of_the_core_and_its_own_files() -> None:
    files = words(MODULE, "SRCS")
    core = {path.name for path in CORE.glob("pci_user_*.c")}
    assert set(files) == core | {path.name for path in CORE.glob("upci*.c")}
    assert len(files) == len(set(files))
