"""Compile what the benchmarks compare with."""

from __future__ import annotations

import ctypes
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_SHARED = ("-shared", "-fPIC")


def build(name: str, into: Path, options: Sequence[str] = ()) -> None:
    """Compile the C file of that name.  Raises CalledProcessError, FileNotFoundError."""
    command = ["gcc", "-O2", *options, "-o", str(into), str(_HERE / f"{name}.c")]
    subprocess.run(command, check=True)


def build_for_guest(folder: Path) -> None:
    """What a guest uses: loops.so, floor.so (a Python module), uring (a program)."""
    include = f"-I{sysconfig.get_path('include')}"
    build("loops", folder / "loops.so", _SHARED)
    build("floor", folder / "floor.so", (*_SHARED, include))
    build("uring", folder / "uring")


def opened(library: Path) -> ctypes.CDLL:
    """The loops of a library that was compiled; each returns seconds."""
    loops = ctypes.CDLL(str(library))
    for name in ("region", "round_trip", "register_read", "register_write"):
        getattr(loops, name).restype = ctypes.c_double
    return loops


def load() -> ctypes.CDLL:
    """The compiled loops.  Raises CalledProcessError if there is no compiler."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "loops.so"
        build("loops", library, _SHARED)
        return opened(library)
