"""A guard in another process (`rumpci serve`) beside one in this process, in turn."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.interrupts import latency
from bench.measure import Row, Timed, median_ratio, per_call, rounds
from rumpci.autoconf import Autoconf
from rumpci.bus_space import bus_space_read_4, bus_space_write_4
from rumpci.cpu import own_cpu
from rumpci.drivers.edu import Edu
from rumpci.hosts import open_host

COUNT, ROUNDS = 1000, 15
READ_LIMIT, INTERRUPT_MORE_US = 2.5, 20.0
HOST = "qemu:edu"


@contextlib.contextmanager
def serving(host: str) -> Iterator[str]:
    """The URL of a guard in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "rumpci", "serve", host, "--socket", directory]
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            path = Path(directory) / "pci0"
            while not path.exists() and process.poll() is None:
                time.sleep(0.01)
            try:
                yield f"pci4:{path}"
            finally:
                process.terminate()


def _edu(stack: contextlib.ExitStack, url: str) -> Edu:
    stack.enter_context(own_cpu())
    host = stack.enter_context(contextlib.closing(open_host(url)))
    autoconf = stack.enter_context(Autoconf(host, properties={"edu": {"intr": "poll"}}))
    (edu,) = autoconf.attach([Edu])
    if not isinstance(edu, Edu):
        raise TypeError(f"{url} has another device first")
    return edu


def _reads(edu: Edu) -> Timed:
    def read(count: int) -> None:
        for _ in range(count):
            bus_space_read_4(edu.iot, edu.ioh, 0)

    return per_call(read, COUNT)


def _writes(edu: Edu) -> Timed:
    def write(count: int) -> None:
        for _ in range(count):
            bus_space_write_4(edu.iot, edu.ioh, 4, 5)
        bus_space_read_4(edu.iot, edu.ioh, 0)

    return per_call(write, COUNT)


def _accesses() -> Iterator[Row]:
    kinds: dict[str, Callable[[Edu], Timed]] = {"read": _reads, "posted write": _writes}
    with _pair() as (here, there):
        for name, make in kinds.items():
            samples = rounds({"here": make(here), "there": make(there)}, ROUNDS)
            ratio = median_ratio(samples["there"], samples["here"])
            near = statistics.median(samples["here"]) * 1e6
            limit = READ_LIMIT if name == "read" else None
            value = statistics.median(samples["there"]) * 1e6
            yield Row(f"{name} of a trapped register, served", value, "us",
                      f"in process ({near:.1f} us)", ratio, limit)  # fmt: skip


@contextlib.contextmanager
def _pair() -> Iterator[tuple[Edu, Edu]]:
    """Edu behind a guard in this process, and behind one in another."""
    with contextlib.ExitStack() as stack:
        here = _edu(stack, HOST)
        yield here, _edu(stack, stack.enter_context(serving(HOST)))


def _way() -> float:
    """Microseconds that a request takes longer to a guard in another process: half a round trip."""
    with _pair() as (here, there):
        samples = rounds({"here": _reads(here), "there": _reads(there)}, ROUNDS)
    return (statistics.median(samples["there"]) - statistics.median(samples["here"])) * 5e5


def _interrupts() -> Iterator[Row]:
    """From the write that raises it; and from the interrupt, so without that write's way."""
    way = _way()
    near, _ = latency("msi")
    with serving(HOST) as url:
        far, _ = latency("msi", url)
    yield Row("raise to handler by MSI, in process", near, "us")
    yield Row("raise to handler by MSI, served", far, "us")
    yield Row("the same without the raising write's way", far - way, "us",
              limit=near + INTERRUPT_MORE_US)  # fmt: skip


def served() -> Iterator[Row]:
    """Registers and interrupts through the pci(4) protocol."""
    yield from _accesses()
    yield from _interrupts()
