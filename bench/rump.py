"""What a rump kernel's drivers pay: a register, an interrupt, a packet there and back.

The last is measured where there are rump libraries (RUMPCI_RUMP_LIB), in a child for each way.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from bench import clib
from bench.interrupts import latency
from bench.measure import Row, median_ratio, per_call, rounds
from rumpci._native import Mapping
from rumpci.drivers.edureg import EDU_INTR_RAISE, EDU_INTR_STATUS
from rumpci.host import Claim, Window
from rumpci.hosts import open_host
from rumpci.rump import _hyper
from rumpci.rump.findings import Findings
from rumpci.rump.hypercalls import Hypercalls

MAPPED, TRAPPED, ROUNDS = 2_000_000, 1000, 9
INTERRUPTS, ECHOES, RUNS, INDEX = 1000, 3000, 5, 4000
LIMIT_S = 20


def _function(library: ctypes.CDLL, name: str) -> ctypes.c_void_p:
    return ctypes.cast(library[name], ctypes.c_void_p)


def _mapped(loops: ctypes.CDLL, read: Any) -> Iterator[Row]:
    memory = mmap.mmap(-1, 4096)
    mapping = Mapping(memory)
    window = SimpleNamespace(size=4096, offset=0, mapping=mapping)
    _hyper.set_window(INDEX, window)
    handle, plain = _hyper.handle_of(INDEX), _function(loops, "plain_read_4")
    samples = rounds(
        {
            "c": lambda: float(loops.registers(plain, mapping.address, 8, MAPPED)),
            "ours": lambda: float(loops.registers(read, handle, 8, MAPPED)),
        },
        ROUNDS,
    )
    _hyper.set_window(INDEX, None)
    mapping.revoke()
    c, ours = samples["c"], samples["ours"]
    yield Row("C: a function that loads 4 bytes", statistics.median(c) * 1e9, "ns")
    ratio = median_ratio(ours, c)
    taken = statistics.median(ours) * 1e9
    yield Row("rump: bus_space_read_4 of a mapped window", taken, "ns", "this / C", ratio)


def _trapped(loops: ctypes.CDLL, read: Any, window: Window) -> Iterator[Row]:
    _hyper.set_window(INDEX, window)
    handle = _hyper.handle_of(INDEX)

    def python(count: int) -> None:
        for _ in range(count):
            window.read(0, 4)

    samples = rounds(
        {
            "python": per_call(python, TRAPPED),
            "rump": lambda: float(loops.registers(read, handle, 0, TRAPPED)),
        },
        ROUNDS,
    )
    _hyper.set_window(INDEX, None)
    rump, direct = samples["rump"], samples["python"]
    yield Row("Python: a trapped read, in process", statistics.median(direct) * 1e6, "us")
    taken, ratio = statistics.median(rump) * 1e6, median_ratio(rump, direct)
    yield Row("rump: the same", taken, "us", "this / Python", ratio, 1.5)


def _interrupt(
    loops: ctypes.CDLL, calls: Hypercalls, claim: Claim, window: Window
) -> Iterator[Row]:
    """Microseconds from the raise to the handler in a thread of a rump kernel's."""
    address, samples = claim.function.address, []
    calls.interrupts.map(address, 1)
    _hyper.set_window(INDEX, window)
    loops.acknowledge_by(_function(ctypes.CDLL(_hyper.__file__), "rumpns_bus_space_write_4"))
    handler = _function(loops, "note_handled").value or 0
    established = calls.establish(1, handler, _hyper.handle_of(INDEX))
    for number in range(1, INTERRUPTS + 1):
        window.read(EDU_INTR_STATUS.offset, 4)
        start = time.monotonic()
        window.write(EDU_INTR_RAISE.offset, 4, 2)
        samples.append(_handled(loops, number, start + LIMIT_S) - start)
        time.sleep(1e-4)
    calls.disestablish(established)
    _hyper.set_window(INDEX, None)
    python, _ = latency("intx")
    yield Row("Python: raise to handler, INTx", python, "us")
    taken = statistics.median(samples) * 1e6
    yield Row("rump: the same, in a thread of its own", taken, "us", limit=python + 30)


def _handled(loops: ctypes.CDLL, number: int, limit: float) -> float:
    """When the handler ran for the `number`th time, which is waited for.  Raises TimeoutError."""
    count = ctypes.c_int()
    while True:  # before the first time, the time is 0
        at = float(loops.last_handled(ctypes.byref(count)))
        if count.value >= number:
            return at
        if time.monotonic() > limit:
            raise TimeoutError(f"the handler ran {count.value} times, not {number}")
        time.sleep(5e-5)  # elsewhere: the handler wants the interpreter


def _echoes() -> Iterator[Row]:
    if not os.environ.get("RUMPCI_RUMP_LIB"):
        print("bench: no rump libraries: RUMPCI_RUMP_LIB=DIR says where some are", file=sys.stderr)
        return
    ways: dict[str, tuple[int, list[str]]] = {"strict": (2500, []), "shared": (4000, ["shared"])}
    runs: dict[str, list[tuple[int, float]]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, (_, options) in ways.items():
            runs[name].append(_echoed(options))
    for name, (least, _) in ways.items():
        rate = statistics.median(came / seconds for came, seconds in runs[name])
        came = sum(came for came, _ in runs[name])
        yield Row(f"wm on e1000, {name} DMA: {came} of {RUNS * ECHOES} UDP echoes", rate, "/s",
                  f"goal / this (goal {least})", least / rate, 1.0)  # fmt: skip


def _echoed(options: list[str]) -> tuple[int, float]:
    """How many came, in how many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.rump_echo", f"{folder}/wire", str(ECHOES)]
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=300, check=True
        )
    told = json.loads(done.stdout.rpartition("result: ")[2])
    return told["came"], told["seconds"]


def rump() -> Iterator[Row]:
    """Registers and interrupts by a C driver's calls; echoes by NetBSD's."""
    loops = clib.load()
    loops.registers.restype = loops.last_handled.restype = ctypes.c_double
    loops.registers.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int]
    read = _function(ctypes.CDLL(_hyper.__file__), "rumpns_bus_space_read_4")
    names = {"schedule": "scheduled", "unschedule": "unscheduled"}
    names |= dict.fromkeys(("kthread", "kthread_release"), "no_thread")
    _hyper.bind({
        f"rumpuser_component_{name}": _function(loops, ours).value or 0
        for name, ours in names.items()
    })  # fmt: skip
    yield from _mapped(loops, read)
    with contextlib.closing(open_host("qemu:edu")) as host:
        calls = Hypercalls(host, Findings(print))
        _hyper.serve(calls)
        (held,) = calls.functions.held.values()
        claim = held.claimed()
        window = claim.window(0, 0, 0x100)
        yield from _trapped(loops, read, window)
        yield from _interrupt(loops, calls, claim, window)
        calls.quiesce()
        _hyper.serve(None)
    yield from _echoes()
