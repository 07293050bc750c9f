"""Programs of the core and of harness/*.c, made once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "netbsd/sys/dev/pci"
HARNESS = Path(__file__).parent / "harness"
CACHE = ROOT / ".cache/netbsd"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow",
          "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]  # fmt: skip
SANE = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all"]  # fmt: skip
NEEDS = "no C compiler: apt-get install --no-install-recommends gcc libc6-dev"
KEPT = 8
"""Programs of older sources that stay in the cache."""


def sources() -> list[Path]:
    """The C files of the core."""
    return sorted(CORE.glob("pci_user_*.c"))


def compiler() -> str:
    """The system's compiler.  Skips without one."""
    if (found := shutil.which("cc")) is None:
        pytest.skip(NEEDS)
    return found


def program(name: str, flags: list[str] | None = None) -> Path:
    """The program whose `main` is in harness/NAME.c, with the simulated machine and the core."""
    files = [HARNESS / f"{name}.c", *sorted(HARNESS.glob("sim*.c")), *sources()]
    flags = [*STRICT, *(SANE if flags is None else flags)]
    made = CACHE / f"{name}-{_digest(files, flags)}"
    if not made.exists():
        _compile(compiler(), files, flags, made)
    return made


def _digest(files: list[Path], flags: list[str]) -> str:
    """Of all that goes into a program."""
    found = hashlib.sha256(repr([compiler(), *flags]).encode())
    for file in [*files, *sorted(CORE.glob("*.h")), *sorted(HARNESS.glob("*.h"))]:
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()[:16]


def _compile(cc: str, files: list[Path], flags: list[str], made: Path) -> None:
    """Compile aside, then move it there: another process may do the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        aside = Path(directory) / made.name
        command = [cc, *flags, "-I", str(CORE), "-I", str(HARNESS), "-o", str(aside)]
        done = subprocess.run(
            [*command, *map(str, files)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        os.replace(aside, made)
    kind = made.name.rpartition("-")[0]
    old = sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
    for path in old[:-KEPT]:
        path.unlink(missing_ok=True)
