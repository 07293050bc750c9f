"""The core of NetBSD's pci(4) for user processes (netbsd/sys/dev/pci), compiled for userland."""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, per_call, rounds
from rumpci.guard.shim import BarLimits, verify
from rumpci.host import Space
from rumpci.shim import Shim

CORE = Path(__file__).parents[1] / "netbsd/sys/dev/pci"
_SHIM = Shim().read(4, 0, 0).notz().write_a(4, 0, 4).deliver()
_ROUNDS, _TIMES, _PYTHON = 21, 200_000, 2000


def core() -> Iterator[Row]:
    """A shim of four steps, as the interrupt handler runs it."""
    program, loops = _SHIM.encode(), _load()
    run = loops.run
    shim = verify(program, {0: BarLimits(Space.MEM, ((0, 256),))})

    def in_python(count: int) -> None:
        for _ in range(count):
            shim.run(lambda *_place: 1, lambda *_place: None)

    found = rounds(
        {"c": lambda: float(run(program, len(program), _TIMES)),
         "python": per_call(in_python, _PYTHON)}, _ROUNDS,
    )  # fmt: skip
    assert min(found["c"]) > 0
    c, python = (1e9 * statistics.median(found[key]) for key in ("c", "python"))
    yield Row("a shim of 4 steps, the core in C", c, "ns", limit=1000)
    yield Row("a shim of 4 steps, the guard in Python", python, "ns")


def _load() -> ctypes.CDLL:
    """shim.c and the core's interpreter.  Raises CalledProcessError if there is no compiler."""
    sources = [Path(__file__).with_name("shim.c"), CORE / "pci_user_shim.c"]
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "shim.so"
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-I", str(CORE), "-o", str(library),  # noqa: S607
             *map(str, sources)], check=True,
        )  # fmt: skip
        loaded = ctypes.CDLL(str(library))
    loaded.run.restype = ctypes.c_double
    loaded.run.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint
    return loaded
