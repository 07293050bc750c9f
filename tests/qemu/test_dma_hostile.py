"""A hostile controller on QEMU, and QEMU killed at each step of DMA."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rumpci.errors import MachineDied, RumpciError
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.machines.qemu.machine import QemuMachine

from .needs import qemu
from .raw_dma import RawNvme

pytestmark = qemu
PAGE = 4096
READ, WRITE, BOTH = Direction.READ, Direction.WRITE, Direction.BOTH


def pages_of(memory: Any) -> set[int]:
    return {page for at, size in memory.place.runs for page in range(at, at + size, PAGE)}


class Pair:
    """Two controllers of two clients; the first has raw queues, two pages in a map of their own."""

    def __init__(self, host: Guard) -> None:
        assert isinstance(host.machine, QemuMachine)
        self.host, self.machine = host, host.machine
        self.places = [f.address for f in host.functions() if f.class_ >> 16 == 0x0108]
        self.claims: list[GuardClaim] = [host.claim(at, f"c{at.device}") for at in self.places]
        queues = self.claims[0].dma_alloc(MemorySpec(2 * PAGE, name="queues"))
        dmam = self.claims[0].dma_map(MapSpec(2 * PAGE, 1, 2 * PAGE, name="queues"))
        (segment,) = dmam.load([Piece(queues, 0, 2 * PAGE)], BOTH)
        self.queues = {
            page for start, size in queues.place.runs for page in range(start, start + size, PAGE)
        }
        self.nvme = RawNvme(self.machine, self.places[0], segment.ds_addr, memoryview(queues.view))

    def ram(self) -> bytes:
        """All memory but the machine's own, and the queues' zeroed out."""
        start, end = self.machine.memory.usable[-1]
        data = bytearray(os.pread(self.machine.memory.fd, end - start, start))
        for page in self.queues:
            data[page - start : page - start + PAGE] = bytes(PAGE)
        return bytes(data)

    def strike(self, addr: int) -> str:
        """The controller writes a page there; what the fault said."""
        self.nvme.identify(addr)
        late = time.monotonic() + 60
        while not (found := self.claims[0].dma_faults()):
            assert time.monotonic() < late, f"{addr:#x} was not told"
            time.sleep(0.001)
        return str(found[0])


@contextlib.contextmanager
def opened(url: str) -> Iterator[Guard]:
    with contextlib.closing(open_host(url)) as host:
        assert isinstance(host, Guard)
        yield host


def test_a_controller_that_writes_where_it_may_not() -> None:
    with opened("qemu:nvme,serial=1+nvme,serial=2?memory=16M") as host:
        pair = Pair(host)
        one, two = pair.claims
        mine = one.dma_alloc(MemorySpec(3 * PAGE, name="mine"))
        theirs = two.dma_alloc(MemorySpec(3 * PAGE, name="theirs"))
        for memory in (mine, theirs):
            memoryview(memory.view)[:] = b"\x22" * (3 * PAGE)
        two.dma_map(MapSpec(3 * PAGE, 1, 3 * PAGE)).load([Piece(theirs, 0, 3 * PAGE)], BOTH)
        dmam = one.dma_map(MapSpec(PAGE, 1, PAGE, name="m"))
        (segment,) = dmam.load([Piece(mine, PAGE, PAGE)], WRITE)
        freed = one.dma_alloc(MemorySpec(PAGE, name="old"))
        freed.free()
        places = {0, *(run[0] for m in (mine, theirs) for run in m.place.runs), 0x40_0000}
        places |= {segment.ds_addr + n * PAGE for n in (-2, -1, 0, 1, 2)}
        places |= {theirs.segments[0].ds_addr + n * PAGE for n in (-1, 3)}
        places |= {freed.segments[0].ds_addr, (1 << 39) - PAGE, 1 << 40}
        allowed = {grant.addr for grant in host.iommu() if grant.device == pair.places[0]}
        before = pair.ram()
        for addr in sorted(places - (allowed - {segment.ds_addr})):
            said = pair.strike(addr)
            assert "write of bus address" in said
            assert pair.ram() == before, said
        assert "'m', loaded for WRITE only" in pair.strike(segment.ds_addr)
        assert "'old', freed" in pair.strike(freed.segments[0].ds_addr)
        dmam.unload()
        assert "'m', unloaded" in pair.strike(segment.ds_addr)
        assert pair.ram() == before
        assert two.dma_faults() == []
        assert host.dma_check() == []
        dmam.load([Piece(mine, PAGE, PAGE)], READ)
        pair.nvme.identify(segment.ds_addr)
        assert memoryview(mine.view)[PAGE + 4] == ord("1"), "it works all the same"


def calls(claim: GuardClaim) -> list[Callable[[], object]]:
    """What a driver does, one step after the other."""
    made: dict[str, Any] = {}

    def alloc() -> None:
        made["memory"] = claim.dma_alloc(MemorySpec(3 * PAGE))
        made["map"] = claim.dma_map(MapSpec(3 * PAGE, 8, PAGE))

    def load(size: int, direction: Direction) -> None:
        made["map"].load([Piece(made["memory"], 0, size)], direction)

    def unload() -> None:
        made["map"].unload()

    def free() -> None:
        made["memory"].free()

    return [
        lambda: claim.conf_write(4, 6),
        alloc,
        lambda: load(3 * PAGE, BOTH),
        unload,
        lambda: load(PAGE, READ),
        unload,
        free,
        claim.dma_faults,
    ]


@pytest.mark.parametrize("dies_at", range(9))
def test_the_machine_dies(dies_at: int) -> None:
    """Each call works or says that it died; release ends everything; nothing is left open."""
    files = len(os.listdir("/proc/self/fd"))
    with opened("qemu:edu?memory=8M") as host:
        machine = host.machine
        assert isinstance(machine, QemuMachine)
        (at,) = [f.address for f in host.functions() if f.id == 0x11E8_1234]
        claim = host.claim(at, "c")
        for number, call in enumerate(calls(claim)):
            if number == dies_at:
                os.kill(machine.process.pid, signal.SIGKILL)
            with contextlib.suppress(*([RumpciError] if number >= dies_at else [])):
                call()
        if dies_at == 8:
            os.kill(machine.process.pid, signal.SIGKILL)
        with contextlib.suppress(MachineDied):
            claim.release()
        assert host.dma() == []
        assert host.dma_usage() == []
        assert all(f.claimed_by is None for f in host.functions())
    assert len(os.listdir("/proc/self/fd")) <= files
