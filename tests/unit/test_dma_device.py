"""A hostile device: it writes where it may not, nothing changes, and the fault says what it hit."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rumpci import pcireg as pr
from rumpci.guard import Guard
from rumpci.host import IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine

from .test_dma_hostile import BOTH, Pair, mapspec, pages_of

READ, WRITE = Direction.READ, Direction.WRITE
PAGE = 4096


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with contextlib.closing(made.host):
        yield made


def strike(pair: Pair, addr: int, *, write: bool = True, number: int = 0) -> str:
    """The device tries; it is blocked, nothing changes; what the fault says it was near."""
    device, before = pair.models[number].dma, pair.memory()
    if write:
        assert not device.write(addr, b"\xee" * 64)
    else:
        assert device.read(addr, 64) is None
    usable = pair.machine.memory.usable[0][0]
    assert pair.memory()[usable:] == before[usable:]
    (fault,) = pair.claims[number].dma_faults()
    assert pair.claims[1 - number].dma_faults() == []
    assert (fault.who, fault.addr) == (pair.claims[number].who, addr & -PAGE)
    assert fault.verb == ("write" if write else "read")
    return re.sub(r"\d+ ms", "N ms", fault.nearest)


def test_the_words(pair: Pair) -> None:
    claim = pair.claims[0]
    memory = claim.dma_alloc(MemorySpec(4 * PAGE, name="ring"))
    addr = memory.segments[0].ds_addr
    assert strike(pair, addr) == "inside dmamem 'ring', which no map has loaded"
    dmam = claim.dma_map(MapSpec(4 * PAGE, 4, 4 * PAGE, name="m"))
    dmam.load([Piece(memory, PAGE, 100)], READ)
    assert strike(pair, addr + PAGE, write=False) == "inside dmamap 'm', loaded for READ only"
    assert strike(pair, addr) == "inside dmamem 'ring', in a part that no map has loaded"
    assert strike(pair, addr + 4 * PAGE) == "0 bytes past the end of dmamem 'ring'"
    assert strike(pair, addr - PAGE) == "4096 bytes before dmamem 'ring'"
    dmam.unload()
    assert strike(pair, addr + PAGE) == "inside dmamap 'm', unloaded N ms ago"
    dmam.load([Piece(memory, 0, PAGE)], WRITE)
    assert strike(pair, addr) == "inside dmamap 'm', loaded for WRITE only"
    dmam.unload()
    memory.free()
    assert strike(pair, addr) == "inside dmamem 'ring', freed N ms ago"
    assert strike(pair, addr + 3 * PAGE) == "inside dmamem 'ring', freed N ms ago"
    assert strike(pair, addr + (1 << 30)) == "it was never mapped"


def test_an_end_within_a_page(pair: Pair) -> None:
    """The IOMMU tells the page: how far past the end is from there."""
    memory = pair.claims[0].dma_alloc(MemorySpec(100, name="short"))
    dmam = pair.claims[0].dma_map(mapspec())
    (segment,) = dmam.load([Piece(memory, 0, 100)], BOTH)
    assert strike(pair, segment.ds_addr + PAGE) == "0 bytes past the end of dmamem 'short'"


def test_a_load_that_failed_was_never_unloaded(pair: Pair) -> None:
    claim = pair.claims[0]
    memory = claim.dma_alloc(MemorySpec(2 * PAGE, name="x"))
    taken = pair.pool.gather(pair.pool.free)
    with contextlib.suppress(Exception):
        claim.dma_map(mapspec()).load([Piece(memory, 0, PAGE)], BOTH)
    pair.pool.put(taken)
    assert "no map has loaded" in strike(pair, memory.segments[0].ds_addr)


def test_everywhere_but_what_is_granted(pair: Pair) -> None:
    one, two = pair.claims
    mine, theirs = one.dma_alloc(MemorySpec(5 * PAGE)), two.dma_alloc(MemorySpec(5 * PAGE))
    one.dma_map(mapspec()).load([Piece(mine, 2 * PAGE, PAGE)], READ)
    for memory in (mine, theirs):
        memoryview(memory.view)[:] = b"\x22" * len(memory.view)
    two.dma_map(mapspec()).load([Piece(theirs, 0, 5 * PAGE)], BOTH)
    granted = mine.segments[0].ds_addr + 2 * PAGE
    tables = [page for at, size in pair.machine.memory.usable for page in range(at, size, PAGE)]
    places = {0, PAGE, *tables[:40], *tables[-3:], *pages_of(mine), *pages_of(theirs)}
    places |= {granted + n * PAGE for n in range(-4, 5)}
    places |= {(1 << 32) - PAGE, 1 << 32, (1 << 39) - PAGE, 1 << 39, (1 << 64) - PAGE}
    for segment in theirs.segments:
        places |= {segment.ds_addr + n * PAGE for n in range(-1, 7)}
    before = pair.memory()
    for addr in sorted(places - {granted}):
        assert not pair.models[0].dma.write(addr, b"\xee" * 16), f"{addr:#x}"
        assert pair.models[0].dma.read(addr, 16) is None, f"{addr:#x}"
    usable = pair.machine.memory.usable[0][0]
    assert pair.memory()[usable:] == before[usable:]
    assert pair.host.dma_check() == []
    assert pair.models[0].dma.write(granted, b"x")
    assert two.dma_faults() == []


# ---- many threads ----------------------------------------------------------------------------


class Ringing(Model):
    """A device that interrupts on its line when told, and does DMA."""

    config = ConfigSpec(0x1234, 0x0D0D, 0x088000, interrupt_pin=1, bars={0: BarSpec(16)})

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        del bar, offset, width
        self.signals.line(bool(value))


def drive(claim: Any, device: Ringing, stop: threading.Event) -> None:
    """A driver that does all that takes a lock."""
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0x6)
    window = claim.window(0, 0, 16)
    (intr,) = claim.intr_alloc(IntrType.INTX, [0])
    intr.establish()
    memory, dmam = claim.dma_alloc(MemorySpec(PAGE)), claim.dma_map(mapspec())
    while not stop.is_set():
        dmam.load([Piece(memory, 0, PAGE)], BOTH)
        window.write(0, 4, 1)
        device.dma.write(1 << 30, b"!")
        intr.read()
        window.write(0, 4, 0)
        intr.unmask()
        claim.dma_faults()
        dmam.unload()
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0x6)
        assert claim.conf_read(pr.PCI_COMMAND_STATUS_REG) & 0x4, "bus mastering went off"
    claim.release()


def watch(host: Guard, stop: threading.Event) -> None:
    while not stop.is_set():
        assert host.dma_check() == []
        host.router.service()
        for listing in (host.dma, host.interrupts, host.functions, host.iommu, host.dma_usage):
            listing()


def test_drivers_in_threads_with_faults_and_a_shared_line() -> None:
    """No lock is taken in two orders, and the command register loses nothing."""
    models = [Ringing() for _ in range(5)]
    host = Guard(ModelMachine(models, memory=4 << 20))
    places = [f.address for f in host.functions() if not f.is_bridge]
    wrong, stop = list[BaseException](), threading.Event()

    def guarded(call: Any, *args: Any) -> None:
        try:
            call(*args, stop)
        except BaseException as error:
            wrong.append(error)

    threads = [
        threading.Thread(target=guarded, args=(drive, host.claim(at, f"d{n}"), models[n]))
        for n, at in enumerate(places)
    ] + [threading.Thread(target=guarded, args=(watch, host)) for _ in range(2)]  # fmt: skip
    for thread in threads:
        thread.daemon = True
        thread.start()
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a deadlock"
    assert wrong == []
    assert host.dma() == []
    host.close()


def test_an_interrupt_that_is_nobodys_does_not_turn_bus_mastering_on_again() -> None:
    """Masking it changes the command register, while quarantine does."""
    machine = ModelMachine([Ringing()], memory=1 << 20)
    host = Guard(machine)
    (at,) = [f.address for f in host.functions() if not f.is_bridge]
    claim = host.claim(at, "c")
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0x6)
    halted, go_on, real = threading.Event(), threading.Event(), machine.conf_read

    def slow(address: Any, reg: int) -> int:
        value = real(address, reg)
        if threading.current_thread() is thread and reg == pr.PCI_COMMAND_STATUS_REG:
            halted.set()
            go_on.wait(0.2)
        return value

    def mask() -> None:
        with host.router.lock:
            host.router._disable(at)

    thread = threading.Thread(target=mask)
    machine.conf_read = slow  # type: ignore[method-assign]
    masked = claim.interrupts.release

    def after_masking() -> None:
        masked()
        thread.start()
        assert halted.wait(60)

    claim.interrupts.release = after_masking  # type: ignore[method-assign]
    claim.release()
    go_on.set()
    thread.join()
    assert not real(at, pr.PCI_COMMAND_STATUS_REG) & pr.PCI_COMMAND_MASTER_ENABLE
    host.close()
