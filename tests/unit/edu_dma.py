"""What edu's DMA must do on every host, and what it must not be able to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from rumpci import bus_dma as bd
from rumpci.autoconf import Autoconf
from rumpci.cpu import own_cpu
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_BUFFER, EDU_DMA_MASK, EDU_DMA_MAX
from rumpci.guard import Guard
from rumpci.host import Address, Host
from rumpci.host_dma import Fault
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.host import VfioHost
from rumpci.machines.machine import Memory
from tests.waiting import until

AT = Address(0, 0, 1, 0)
"""Where edu is on a model machine."""
STRAY = 0x0123_4560


class Bench:
    """An attached edu, its host and the memory that its DMA is in."""

    def __init__(self, host: Host, edu: Edu) -> None:
        self.host, self.edu = host, edu
        self.address = edu.pa.pa_tag
        self._last: Callable[[], None]
        self.memory = memory_of(host, edu)
        edu.dma_map(0, 1)  # from here on it is a bus master
        self.tag = edu.dmat

    @property
    def guard(self) -> Guard:
        """The host, where it is a guard."""
        assert isinstance(self.host, Guard)
        return self.host

    def contents(self) -> list[bytes]:
        """All memory that is not the machine's own."""
        memory = self.memory
        return [os.pread(memory.fd, end - start, start) for start, end in memory.usable]

    def at(self, addr: int, size: int) -> bytes:
        """Memory by its physical address."""
        return os.pread(self.memory.fd, size, addr)

    def stray(self, addr: int, size: int, *, to_ram: bool) -> None:
        """Have the device copy without asking anybody."""
        self._last = lambda: self.stray(addr, size, to_ram=to_ram)
        src, dst = (EDU_DMA_BUFFER, addr) if to_ram else (addr, EDU_DMA_BUFFER)
        self.edu.transfer(src, dst, size, to_ram=to_ram)

    def fault(self, verb: str, page: int) -> Fault | None:
        """The one fault since the last time, as it must be; None where the host hears of none."""
        found = self.faults()
        if isinstance(self.host, VfioHost) and not self.host.hears_of_faults:
            assert found == []
            return None
        fault, *more = found or self._told_later()
        assert all(other == fault for other in more)
        assert (fault.device, fault.who) == (self.address, "edu0")
        assert (fault.verb, fault.addr) == (verb, page)
        return fault

    def _told_later(self) -> list[Fault]:
        """A kernel tells of three faults in five seconds, and of others nothing: try again."""
        assert isinstance(self.host, VfioHost)
        found = list[Fault]()

        def told() -> list[Fault]:
            self._last()
            found.extend(self.faults())
            return found

        until(told, "the kernel's log tells of no fault")
        return found

    def faults(self) -> list[Fault]:
        claim = self.edu.pa.pa_dmat.root.claim
        assert claim is not None
        return list(claim.dma_faults())


def memory_of(host: Host, edu: Edu) -> Memory:
    """A machine's, or what a process shares with its devices through VFIO."""
    if isinstance(host, Guard):
        return host.machine.memory
    claim = edu.pa.pa_dmat.root.claim
    assert isinstance(claim, VfioClaim)
    return claim.memory


@contextlib.contextmanager
def attached(url: str, **properties: str) -> Iterator[Bench]:
    with (
        own_cpu(),
        contextlib.closing(open_host(url)) as host,
        Autoconf(host, properties={"edu": properties}) as autoconf,
    ):
        (edu,) = autoconf.attach([Edu])
        assert isinstance(edu, Edu)
        yield Bench(host, edu)
        assert host.dma_check() == []


def pattern(size: int, step: int = 7) -> bytes:
    return bytes((i * step + 1) & 0xFF for i in range(size))


def there_and_back(b: Bench, offset: int, size: int) -> None:
    data = pattern(size)
    b.edu.dma_write(offset, data)
    assert b.edu.dma_read(offset, size) == data
    assert b.faults() == []


def memory_of_its_own(b: Bench) -> None:
    """Memory from bus_dmamem_alloc is reached as it is, without a copy."""
    size = 2 * 4096
    segs = bd.bus_dmamem_alloc(b.tag, size, 4096, 0, nsegs=2)
    view = bd.bus_dmamem_map(b.tag, segs, size)
    across = view[4096 - 100 : 4096 + 200]
    across[:] = pattern(300)
    b.edu.dma_write(5, across)
    assert b.edu.dma_read(5, 300) == pattern(300)
    assert b.faults() == []
    across.release()
    bd.bus_dmamem_unmap(b.tag, view, size)
    bd.bus_dmamem_free(b.tag, segs)


def nothing_that_was_not_mapped(b: Bench) -> None:
    """A device that is told to write where its driver mapped nothing writes nothing."""
    b.edu.dma_write(0, b"\xa5" * 64)
    before = b.contents()
    b.stray(STRAY, 64, to_ram=True)
    assert b.contents() == before
    if fault := b.fault("write", STRAY & -4096):
        assert f"edu0 ({b.address}): DMA write of bus address 0x1234000 blocked" in str(fault)
    b.stray(STRAY, 64, to_ram=False)
    b.fault("read", STRAY & -4096)
    there_and_back(b, 0, 16)


def only_the_direction_that_was_asked_for(b: Bench) -> None:
    dmam = bd.bus_dmamap_create(b.tag, 64, 1, 64, 0)
    bd.bus_dmamap_load(b.tag, dmam, pattern(64), flags=bd.BUS_DMA_WRITE)
    bd.bus_dmamap_sync(b.tag, dmam, 0, 64, bd.BUS_DMASYNC_PREWRITE)
    before, addr = b.contents(), dmam.dm_segs[0].ds_addr
    b.stray(addr, 64, to_ram=True)
    assert b.contents() == before
    b.fault("write", addr & -4096)
    b.stray(addr, 64, to_ram=False)
    assert b.faults() == []
    assert b.edu.dma_read(0, 64) == pattern(64)
    bd.bus_dmamap_unload(b.tag, dmam)
    b.stray(addr, 64, to_ram=False)
    b.fault("read", addr & -4096)
    assert b.edu.dma_read(0, 64) == bytes(64)
    bd.bus_dmamap_destroy(b.tag, dmam)


def without_an_iommu_it_writes_anywhere(b: Bench) -> None:
    """Which shows that the other tests look where it would have been."""
    b.edu.dma_write(0, b"\xa5" * 64)
    b.stray(STRAY, 64, to_ram=True)
    assert b.at(STRAY, 64) == b"\xa5" * 64
    assert b.faults() == []


def nothing_stops_what_was_not_loaded(b: Bench) -> None:
    """Without an IOMMU; here on memory of our own."""
    b.edu.dma_write(0, pattern(64))
    segs = bd.bus_dmamem_alloc(b.tag, 4096, 4096, 0, nsegs=1)
    view = bd.bus_dmamem_map(b.tag, segs, 4096)
    b.edu.transfer(EDU_DMA_BUFFER, segs[0].ds_addr, 64, to_ram=True)
    assert bytes(view[:64]) == pattern(64)
    assert b.faults() == []
    bd.bus_dmamem_unmap(b.tag, view, 4096)
    bd.bus_dmamem_free(b.tag, segs)


def addresses_fit(b: Bench) -> None:
    dmam = b.edu.dma_map(0, 1)
    bd.bus_dmamap_load(b.tag, dmam, bytearray(EDU_DMA_MAX))
    assert all(s.ds_addr + s.ds_len - 1 <= EDU_DMA_MASK for s in dmam.dm_segs)
    bd.bus_dmamap_unload(b.tag, dmam)


class OnAnyHost:
    """The tests of every host: a module subclasses it as TestDma, and has a fixture `b`."""

    @pytest.mark.parametrize(
        ("offset", "size"), [(0, 1), (0, EDU_DMA_MAX), (1, 2), (EDU_DMA_MAX - 1, 1), (100, 3000)]
    )
    def test_there_and_back(self, b: Bench, offset: int, size: int) -> None:
        there_and_back(b, offset, size)

    def test_memory_of_its_own(self, b: Bench) -> None:
        memory_of_its_own(b)

    def test_addresses_fit(self, b: Bench) -> None:
        addresses_fit(b)


class BehindAnIommu:
    """The tests of hosts that have an IOMMU: a module has a fixture `guarded`."""

    def test_nothing_that_was_not_mapped(self, guarded: Bench) -> None:
        nothing_that_was_not_mapped(guarded)

    def test_only_the_direction_that_was_asked_for(self, guarded: Bench) -> None:
        only_the_direction_that_was_asked_for(guarded)
