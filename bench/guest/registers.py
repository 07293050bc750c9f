"""One register of a BAR that VFIO maps, beside C; what the interpreter takes is told apart."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import mmap
import statistics
import sys
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import clib
from bench.guest.devices import EDU, FOLDER, claimed
from bench.measure import Row, Timed, rounds
from rumpci.bus_space import bus_space_read_4, bus_space_write_4

COUNT, ROUNDS = 5_000, 21
LIVENESS = 4  # a register of edu that keeps what is written, inverted
GOAL = 3.0
STATEMENTS = {
    "read": "read(tag, handle, 4)",
    "write": "write(tag, handle, 4, 0x12345678)",
    "read floor": "nothing(tag, handle, 4)",
    "write floor": "nothing(tag, handle, 4, 0x12345678)",
    "read memoryview": "words[1]",
    "write memoryview": "words[1] = 0x12345678",
}


def _nothing() -> Callable[..., None]:
    """The function of floor.c."""
    sys.path.append(FOLDER)
    nothing: Callable[..., None] = importlib.import_module("floor").nothing
    return nothing


def _timer(code: str, names: dict[str, object]) -> Timed:
    timer = timeit.Timer(code, globals=names)
    return lambda: timer.timeit(COUNT) / COUNT


def registers() -> Iterator[Row]:
    """A read and a write of 32 bits."""
    loops = clib.opened(Path(FOLDER) / "loops.so")
    with contextlib.ExitStack() as stack:
        claim, tag, handle = claimed(stack, EDU)
        assert handle.mapped
        bar = claim.device.region(0)
        memory = mmap.mmap(bar.fd, mmap.PAGESIZE, offset=bar.offset)
        register = ctypes.byref(ctypes.c_uint32.from_buffer(memory, LIVENESS))
        names = {
            "read": bus_space_read_4, "write": bus_space_write_4, "nothing": _nothing(),
            "tag": tag, "handle": handle, "words": memoryview(memory).cast("I"),
        }  # fmt: skip
        timed = {name: _timer(code, names) for name, code in STATEMENTS.items()}
        timed["read C"] = lambda: float(loops.register_read(register, COUNT))
        timed["write C"] = lambda: float(loops.register_write(register, COUNT))
        samples = rounds(timed, ROUNDS)
    for what in ("read", "write"):
        yield from _rows(what, samples)


def _rows(what: str, samples: dict[str, list[float]]) -> Iterator[Row]:
    ours, c, floor = samples[what], samples[f"{what} C"], samples[f"{what} floor"]
    own = [a - b for a, b in zip(ours, floor, strict=True)]
    ratio = statistics.median(x / y for x, y in zip(own, c, strict=True))
    yield Row(f"bus_space_{what}_4 on VFIO", statistics.median(ours) * 1e9, "ns")
    yield Row("  interpreter's call floor", statistics.median(floor) * 1e9, "ns")
    yield Row("  without the floor", statistics.median(own) * 1e9, "ns", "C, function pointer",
              ratio, GOAL)  # fmt: skip
    yield Row("  C, function pointer", statistics.median(c) * 1e9, "ns")
    other = statistics.median(samples[f"{what} memoryview"])
    yield Row("  memoryview.cast('I')[i]", other * 1e9, "ns")
