"""Compile loops.c, for comparison only."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path


def load() -> ctypes.CDLL:
    """The compiled loops.  Raises CalledProcessError if there is no compiler."""
    source = Path(__file__).with_name("loops.c")
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "loops.so"
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],  # noqa: S607
            check=True,
        )
        loops = ctypes.CDLL(str(library))
    loops.region.restype = loops.round_trip.restype = ctypes.c_double
    return loops
