"""The unchanged drivers on a real uio_pci_generic: edu, nvme, com on I/O ports."""

from __future__ import annotations

import contextlib

import pytest

from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_MAX
from rumpci.guard import Guard
from rumpci.hosts import open_host
from rumpci.machines.uio.machine import UioMachine
from tests.linux.binding import COM, EDU, NVME
from tests.linux.guest import drivers
from tests.linux.guest.drivers import attached
from tests.unit import edu_dma

pytestmark = pytest.mark.machine("uio")
URL = f"uio:{EDU}"


@pytest.mark.parametrize("intr", ["poll", "intx", "shim"])
def test_edu_however_it_interrupts(intr: str) -> None:
    with attached(URL, Edu, intr=intr) as edu:
        assert isinstance(edu, Edu)
        assert edu.ioh.mapped
        assert edu.alive(0x0F0F_1234)
        drivers.factorials(edu)


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
    with edu_dma.attached(URL) as b:
        assert "nothing keeps its devices from any memory" in caplog.text
        edu_dma.nothing_stops_what_was_not_loaded(b)


@pytest.mark.parametrize("intr", ["poll", "intx"])
def test_nvme_keeps_what_was_written(intr: str) -> None:
    drivers.keeps_what_was_written(f"uio:{NVME}", intr)


def test_the_image_by_its_sha256() -> None:
    drivers.image_goes_there_and_back(f"uio:{NVME}")


def test_com_on_ports() -> None:
    drivers.com_speaks_on_ports(f"uio:{COM}")


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
    drivers.bus_mastering_ends_with_the_process(URL)
