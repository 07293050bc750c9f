"""One register of a mapped window, beside every other way from Python; and 4 KiB of them."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import statistics
import struct
import timeit
from collections.abc import Iterator
from importlib.util import find_spec

from bench import clib
from bench.measure import Row, Timed, median_ratio, per_call, rounds
from rumpci.bus_space import (
    BusSpaceHandle,
    BusSpaceTag,
    bus_space_mmap,
    bus_space_read_4,
    bus_space_read_region_4,
    bus_space_write_4,
)
from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs, PciChipset, pci_mapreg_map, pci_mapreg_type
from rumpci.pcireg import PCI_BAR0

COUNT, ROUNDS, WORDS = 50_000, 15, 1024
OFFSET, VALUE = 256, 0x1234_5678  # no small integer: Python keeps those ready


@contextlib.contextmanager
def window() -> Iterator[tuple[BusSpaceTag, BusSpaceHandle]]:
    """The memory BAR of a model card, mapped."""
    with contextlib.closing(open_host("model:ram")) as host:
        pc, address = PciChipset(host), Address(0, 0, 1, 0)
        claim = pc.claims[address] = host.claim(address, "bench")
        pa = PciAttachArgs.of(pc, claim.function)
        pa.pa_memt.claim = claim
        type_ = pci_mapreg_type(pc, address, PCI_BAR0)
        tag, handle, _, _ = pci_mapreg_map(pa, PCI_BAR0, type_)
        bus_space_write_4(tag, handle, OFFSET, VALUE)
        yield tag, handle


STATEMENTS = {
    "bus_space_read_4": "read(tag, handle, 256)",
    "bus_space_write_4": "write(tag, handle, 256, 0x12345678)",
    "memoryview.cast('I')[i]": "words[64]",
    "memoryview.cast('I')[i] = v": "words[64] = 0x12345678",
    "ctypes array": "array[64]",
    "struct.unpack_from": "unpack('<I', memory, 256)",
    "empty loop": "pass",
}


def _timed(tag: BusSpaceTag, handle: BusSpaceHandle, fd: int) -> dict[str, Timed]:
    """Timeit writes each statement's loop out, so nothing but the statement is in it."""
    memory = mmap.mmap(fd, handle.size)
    names = {
        "read": bus_space_read_4,
        "write": bus_space_write_4,
        "tag": tag,
        "handle": handle,
        "memory": memory,
        "words": memoryview(memory).cast("I"),
        "array": (ctypes.c_uint32 * (handle.size // 4)).from_buffer(memory),
        "unpack": struct.unpack_from,
    }
    timed = {name: _timer(code, COUNT, names) for name, code in STATEMENTS.items()}
    if find_spec("periphery"):
        from periphery import MMIO

        device = MMIO(0, handle.size, path=f"/proc/self/fd/{fd}")
        timed["periphery MMIO.read32"] = _timer(
            "read32(256)", COUNT // 10, {"read32": device.read32}
        )
    return timed


def _timer(code: str, count: int, names: dict[str, object]) -> Timed:
    timer = timeit.Timer(code, globals=names)
    return lambda: timer.timeit(count) / count


def registers() -> Iterator[Row]:
    """One 32-bit access."""
    with window() as (tag, handle):
        fd, _ = bus_space_mmap(tag, handle, 0)
        samples = rounds(_timed(tag, handle, fd), ROUNDS)
    ours = samples.pop("bus_space_read_4")
    yield Row("bus_space_read_4, mapped", statistics.median(ours) * 1e9, "ns", limit=30)
    limits = {"memoryview.cast('I')[i]": 1.5, "periphery MMIO.read32": 1 / 8}
    for name, taken in samples.items():
        yield Row(
            f"  {name}",
            statistics.median(taken) * 1e9,
            "ns",
            "read_4 / this",
            median_ratio(ours, taken),
            limits.get(name),
        )


def regions() -> Iterator[Row]:
    """A region of 4 KiB."""
    loops = clib.load()
    with window() as (tag, handle):
        fd, _ = bus_space_mmap(tag, handle, 0)
        memory = mmap.mmap(fd, handle.size)
        source = (ctypes.c_uint32 * WORDS).from_buffer(memory)
        target, data = (ctypes.c_uint32 * WORDS)(), bytearray(4 * WORDS)

        def ours(count: int) -> None:
            for _ in range(count):
                bus_space_read_region_4(tag, handle, 0, data, WORDS)

        timed: dict[str, Timed] = {
            "ours": per_call(ours, 2000),
            "c": lambda: float(loops.region(source, target, WORDS, 2000)),
        }
        samples = rounds(timed, ROUNDS)
    yield Row(
        "bus_space_read_region_4, 4 KiB, mapped",
        statistics.median(samples["ours"]) * 1e9,
        "ns",
        "C loop of volatile loads",
        median_ratio(samples["ours"], samples["c"]),
        1.5,
    )
