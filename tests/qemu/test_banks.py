"""Banks on QEMU: memory modules of their own, and devices that do DMA there."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from rumpci.autoconf import Autoconf
from rumpci.drivers.nvme import Nvme
from rumpci.guard import Guard
from rumpci.host import Address
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.machines.bank import BANK_SIZE, BANKS_START
from rumpci.machines.qemu.machine import QemuMachine

from .needs import qemu
from .raw_dma import EDU_BUFFER, RawEdu

pytestmark = qemu
PAGE = 4096


class Private:
    """A host whose claims are made for another process."""

    def __init__(self, inner: Guard) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def claim(self, address: Address, who: str) -> Any:
        return self._inner.claim(address, who, private="uid 1")


def opened(url: str) -> Guard:
    host = open_host(url)
    assert isinstance(host, Guard)
    return host


def modules(host: Guard) -> list[tuple[int, int]]:
    assert isinstance(host.machine, QemuMachine)
    found = host.machine.monitor.execute("query-memory-devices")
    return [(row["data"]["addr"], row["data"]["size"]) for row in found]


@pytest.mark.parametrize("key", ["banks=1", "banks=8&memory=2815M", "banks=32&memory=1M"])
def test_modules_are_where_the_banks_are(key: str) -> None:
    with contextlib.closing(opened(f"qemu:edu?{key}")) as host:
        banks = host.machine.memory.banks
        assert sorted(modules(host)) == [(bank.start, bank.size) for bank in banks]
        assert banks[0].start == BANKS_START


@pytest.mark.parametrize("iommu", ["on", "off"])
def test_edu_copies_from_bank_to_bank_of_its_own(iommu: str) -> None:
    with contextlib.closing(opened(f"qemu:edu,dma_mask=-1?banks=2&iommu={iommu}")) as host:
        (at,) = (f.address for f in host.functions() if f.id == 0x11E81234)
        host.claim(at, "first", private="uid 1").release()
        claim = host.claim(at, "edu0", private="uid 2")
        memory = claim.dma_alloc(MemorySpec(2 * PAGE))
        assert memory.place.runs[0][0] == BANKS_START + BANK_SIZE
        (segment,) = claim.dma_map(MapSpec(2 * PAGE, 1, 2 * PAGE)).load(
            [Piece(memory, 0, 2 * PAGE)], Direction.BOTH
        )
        memoryview(memory.view)[:64] = bytes(range(64))
        assert isinstance(host.machine, QemuMachine)
        edu = RawEdu(host.machine, at)
        edu.read(segment.ds_addr)
        edu.start(EDU_BUFFER, segment.ds_addr + PAGE, 64, 3)
        edu.finish()
        assert bytes(memory.view)[PAGE : PAGE + 64] == bytes(range(64))
        assert os.pread(memory.view.fd, 64, memory.view.ranges[0][0] + PAGE) == bytes(range(64))
        assert list(claim.dma_faults()) == []
        assert host.dma_check() == []


def test_a_disk_whose_memory_is_in_a_bank() -> None:
    with contextlib.closing(opened("qemu:nvme,serial=1,size=16M?banks=1")) as host:
        free = host.mirror.pool.free
        with Autoconf(Private(host)) as autoconf:
            (nvme,) = autoconf.attach([Nvme])
            assert isinstance(nvme, Nvme)
            data = bytes(range(256)) * 512
            nvme.write(8, data)
            assert nvme.read(8, len(data) // nvme.block_size) == data
            assert host.dma_check() == []
            assert free - host.mirror.pool.free < 1 << 20  # tables
            (usage,) = host.dma_usage()
            assert usage.bytes_max == BANK_SIZE
            pages = {grant.page for grant in host.iommu()}
            assert pages
            assert all(BANKS_START <= page < BANKS_START + BANK_SIZE for page in pages)
