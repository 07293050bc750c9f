"""The NetBSD side compiles for each NetBSD that it is for, against netbsd/tests/decl."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.needs import cc
from tests.netbsd.build import CORE, ROOT

DECL = ROOT / "netbsd/tests/decl"
RELEASES = {
    "7": 700000000, "8": 800000000, "9": 900000000, "10": 1000000000, "current": 1099001200,
}  # fmt: skip
"""__NetBSD_Version__ of each."""
FLAGS = [
    "-std=gnu99", "-ffreestanding", "-nostdinc", "-D_KERNEL", "-Wall", "-Wextra", "-Werror",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wno-unused-parameter", "-fsyntax-only",
]  # fmt: skip
"""Parameters that are not used: a kernel's switches of functions have them by nature."""
MADE_BY_CONFIG = {"ioconf.h", "ioconf.c", "locators.h"}
OF_THE_COMPILER = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h"}


def port() -> list[Path]:
    """The C files of the NetBSD side, and the core's, which see a kernel's headers there."""
    return sorted(CORE.glob("*.c"))


def included() -> set[str]:
    found = set[str]()
    for file in CORE.glob("*.[ch]"):
        found |= set(re.findall(r"^#\s*include\s+<([^>]+)>", file.read_text(), re.M))
    return (found | MADE_BY_CONFIG) - OF_THE_COMPILER


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that has every header which is included, all the same."""
    made = tmp_path_factory.mktemp("include")
    for name in included():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("#include <decl.h>\n")
    return made


def checked(headers: Path, files: list[Path], *flags: str) -> str:
    """What the compiler says."""
    where = subprocess.run(
        [cc(), "-print-file-name=include"], capture_output=True, text=True, check=True
    ).stdout.strip()
    command = [cc(), *FLAGS, "-isystem", where, f"-I{DECL}", f"-I{headers}", *flags]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    return done.stderr + ("" if done.returncode == 0 or done.stderr else "failed")


@pytest.mark.parametrize("module", [False, True], ids=["kernel", "module"])
@pytest.mark.parametrize("release", RELEASES)
def test_it_compiles(headers: Path, release: str, module: bool) -> None:
    flags = [f"-DDECL_VERSION={RELEASES[release]}", *(["-DDECL_MODULE"] if module else [])]
    assert checked(headers, port(), *flags) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("int f(void) { return mutex_enter(NULL); }", "void value"),
        ("void *f(void) { return kmem_zalloc(4); }", "too few arguments"),
        ("void f(kmutex_t *m) { cv_broadcast(m); }", "incompatible pointer"),
        ("void f(void) { no_such_function(); }", "implicit declaration"),
    ],
)
def test_a_mistake_is_found(headers: Path, tmp_path: Path, wrong: str, said: str) -> None:
    file = tmp_path / "wrong.c"
    file.write_text(f"#include <sys/param.h>\n{wrong}\n")
    assert said in checked(headers, [file], f"-DDECL_VERSION={RELEASES['10']}")


def test_the_list_of_files_has_each() -> None:
    """config(1) is told of every one, for the module of a stock kernel and for /dev/pciN."""
    told = set(re.findall(r"^file\s+dev/pci/(\S+)", (CORE / "files.upci").read_text(), re.M))
    assert told == {file.name for file in port()}
