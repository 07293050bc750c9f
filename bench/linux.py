"""Real /dev/vfio: a Debian kernel in QEMU is booted once, and everything is measured in it.

Python is about eight times slower there than outside, as everything that the processor does, so
only the ratios say something.  QEMU stays on one processor: its NVMe controller offers shadow
doorbells, cannot be told not to, and has no barrier where it reads them, so that on two
processors the kernel's own driver waits for ever for what the controller has not seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.linux.archive import Unavailable
from tests.linux.kernel import SERIES, cached
from tests.linux.machines import Machine
from tests.linux.qemu import Guest, GuestFailed

from bench import clib
from bench.measure import Row

SECONDS = 600
_NULL = "driver=null-co,size=1073741824,read-zeroes=on,node-name="
MACHINE = Machine(
    devices=(
        *("edu,addr=10", "edu,addr=14"),
        *("nvme,serial=1,drive=disk1,addr=11", "nvme,serial=2,drive=disk2,addr=12"),
    ),
    more=("-blockdev", f"{_NULL}disk1", "-blockdev", f"{_NULL}disk2"),
    modules=(*Machine.modules, "nvme"),
    bind=("0000:00:10.0=vfio-pci", "0000:00:14.0=vfio-pci"),
)
"""Two of each: rumpci has the first, what it is compared with the second, in turn."""


def linux(parts: tuple[str, ...] = ()) -> Iterator[Row]:
    """Registers, interrupts, DMA and NVMe on VFIO (`parts`: some of them); or why not."""
    try:
        kernel = cached(SERIES[0])
        with tempfile.TemporaryDirectory(prefix="bench-") as job:
            yield from _run(Guest(kernel, Path(job), MACHINE), parts)
    except (Unavailable, GuestFailed, FileNotFoundError, subprocess.CalledProcessError) as why:
        print(f"bench: linux skipped: {why}", file=sys.stderr)


def _run(guest: Guest, parts: tuple[str, ...]) -> Iterator[Row]:
    guest.shared.mkdir(parents=True)
    clib.build_for_guest(guest.shared)
    with _one_processor():
        outcome = guest.run([sys.executable, "-m", "bench.guest", *parts], SECONDS)
    rows = guest.shared / "rows"
    if outcome.status or not rows.exists():
        raise GuestFailed(f"the guest's benchmarks ended with {outcome.status}:\n{outcome.console}")
    for line in rows.read_text().splitlines():
        yield Row(**json.loads(line))


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
