"""Programs of the core and of harness/*.c, made once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from tests.needs import cc

ROOT = Path(__file__).parents[2]
CORE = ROOT / "netbsd/sys/dev/pci"
HARNESS = Path(__file__).parent / "harness"
CACHE = ROOT / ".cache/netbsd"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow",
          "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]  # fmt: skip
SANE = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all"]  # fmt: skip
KEPT = 8
"""Programs of older sources that stay in the cache."""


def sources() -> list[Path]:
    """The C files of the core."""
    return sorted(CORE.glob("pci_user_*.c"))


def parts(name: str) -> list[Path]:
    """The C files of a program: NAME.c and NAME_*.c, the simulated machine, the core."""
    own = [HARNESS / f"{name}.c", *sorted(HARNESS.glob(f"{name}_*.c"))]
    return [*own, *sorted(HARNESS.glob("sim*.c")), *sources()]


def program(name: str, flags: list[str] | None = None) -> Path:
    """The program whose `main` is in harness/NAME.c."""
    files = parts(name)
    flags = [*STRICT, *(SANE if flags is None else flags)]
    made = CACHE / f"{name}-{_digest(files, flags)}"
    if not made.exists():
        _compile(files, flags, made)
    return made


def _digest(files: list[Path], flags: list[str]) -> str:
    """Of all that goes into a program."""
    found = hashlib.sha256(repr([cc(), *flags]).encode())
    for file in [*files, *sorted(CORE.glob("*.h")), *sorted(HARNESS.glob("*.h"))]:
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()[:16]


def _compile(files: list[Path], flags: list[str], made: Path) -> None:
    """Compile aside, then move it there: another process may do the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        aside = Path(directory) / made.name
        command = [cc(), *flags, "-I", str(CORE), "-I", str(HARNESS), "-o", str(aside)]
        done = subprocess.run(
            [*command, *map(str, files)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        os.replace(aside, made)
    kind = made.name.rpartition("-")[0]
    old = sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
    for path in old[:-KEPT]:
        path.unlink(missing_ok=True)
