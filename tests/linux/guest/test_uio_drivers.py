"""The unchanged drivers on a real uio_pci_generic: edu, nvme, com on I/O ports."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator

import pytest

from rumpci import bus_dma as bd, pcireg as pr
from rumpci.autoconf import Autoconf, Driver
from rumpci.cpu import own_cpu
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_BUFFER, EDU_DMA_MAX
from rumpci.drivers.nvme import Nvme
from rumpci.guard import Guard
from rumpci.hosts import open_host
from rumpci.machines.uio.machine import UioMachine
from tests.linux.binding import COM, DEVICES, EDU, NVME
from tests.linux.guest import nvme_image
from tests.unit import edu_dma
from tests.unit.edu_dma import pattern

pytestmark = pytest.mark.machine("uio")
CHUNK = 1 << 20


@contextlib.contextmanager
def attached(
    address: str, driver: type[Driver], query: str = "", **properties: str
) -> Iterator[Driver]:
    name = driver.__name__.lower()
    with (
        own_cpu(),
        contextlib.closing(open_host(f"uio:{address}{query}")) as host,
        Autoconf(host, properties={name: properties}) as autoconf,
    ):
        (made,) = autoconf.attach([driver])
        yield made
        assert host.dma_check() == []


@pytest.mark.parametrize("intr", ["poll", "intx", "shim"])
def test_edu_however_it_interrupts(intr: str) -> None:
    with attached(EDU, Edu, intr=intr) as edu:
        assert isinstance(edu, Edu)
        assert edu.ioh.mapped
        assert edu.alive(0x0F0F_1234)
        for n in (1, 5, 10, 5, 10):
            assert edu.factorial(n) == {1: 1, 5: 120, 10: 3628800}[n]


@pytest.mark.parametrize("query", ["", "?check=on", "?scatter=7"])
@pytest.mark.parametrize("intr", ["poll", "intx", "shim"])
def test_dma_there_and_back(query: str, intr: str) -> None:
    with edu_dma.attached(f"uio:{EDU}{query}", intr=intr) as b:
        for offset, size in ((0, 100), (0, EDU_DMA_MAX), (EDU_DMA_MAX - 1, 1)):
            edu_dma.there_and_back(b, offset, size)
        edu_dma.memory_of_its_own(b)
        edu_dma.addresses_fit(b)


def test_nothing_stops_what_was_not_loaded(caplog: pytest.LogCaptureFixture) -> None:
    """The tool says so each time, and it is so: here on memory of our own."""
    with edu_dma.attached(f"uio:{EDU}") as b:
        assert "nothing keeps its devices from any memory" in caplog.text
        b.edu.dma_write(0, pattern(64))
        segs = bd.bus_dmamem_alloc(b.tag, 4096, 4096, 0, nsegs=1)
        view = bd.bus_dmamem_map(b.tag, segs, 4096)
        b.edu.transfer(EDU_DMA_BUFFER, segs[0].ds_addr, 64, to_ram=True)
        assert bytes(view[:64]) == pattern(64)
        assert b.faults() == []
        bd.bus_dmamem_unmap(b.tag, view, 4096)
        bd.bus_dmamem_free(b.tag, segs)


@pytest.mark.parametrize("intr", ["poll", "intx"])
def test_nvme_keeps_what_was_written(intr: str) -> None:
    chance = random.Random(intr)  # noqa: S311
    with attached(NVME, Nvme, intr=intr) as nvme:
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        data = chance.randbytes(CHUNK)
        first = chance.randrange(disk.blocks - CHUNK // disk.block_size)
        disk.write(first, data)
        read = disk.read(first, CHUNK // disk.block_size)
    assert hashlib.sha256(read).digest() == hashlib.sha256(data).digest()


def test_the_image_by_its_sha256() -> None:
    nvme_image.goes_there_and_back(attached)


def test_com_on_ports(capfd: pytest.CaptureFixture[str]) -> None:
    with attached(COM, Com) as com:
        assert isinstance(com, Com)
        assert not com.ioh.mapped, "ports are never memory"
        com.write(b"through I/O ports\r\n")


def test_memory_is_pinned_and_contiguous() -> None:
    with contextlib.closing(open_host(f"uio:{EDU}?memory=4M")) as host:
        assert isinstance(host, Guard)
        assert isinstance(host.machine, UioMachine)
        pages = host.machine.memory.pages
        assert pages is not None
        assert pages.pinned
        assert all(pages.stays(extent) for extent in pages.extents)
        assert max(extent.size for extent in pages.extents) >= 2 << 20


def test_pages_that_are_pinned_stay_when_the_kernel_compacts() -> None:
    with contextlib.closing(open_host(f"uio:{EDU}?memory=4M&check=on")) as host:
        assert isinstance(host, Guard)
        with open("/proc/sys/vm/compact_memory", "w") as file:
            file.write("1")
        assert isinstance(host.machine, UioMachine)
        pages = host.machine.memory.pages
        assert pages is not None
        assert all(pages.stays(extent) for extent in pages.extents)


def test_the_kernel_ends_bus_mastering_with_the_process() -> None:
    """Killed, it cleans up nothing; the kernel closes the node."""
    child = os.fork()
    if not child:
        with attached(EDU, Edu) as edu:
            assert isinstance(edu, Edu)
            edu.dma_write(0, b"x")
            command = edu.pa.pa_pc.host.conf_read(edu.pa.pa_tag, pr.PCI_COMMAND_STATUS_REG)
            os._exit(0 if command & pr.PCI_COMMAND_MASTER_ENABLE else 1)
    assert os.waitpid(child, 0)[1] == 0
    command = (DEVICES / EDU / "config").read_bytes()[4]
    assert not command & pr.PCI_COMMAND_MASTER_ENABLE
