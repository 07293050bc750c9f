"""VFIO without an IOMMU: the same drivers, and what nothing stops."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from rumpci.errors import HostUnavailable
from rumpci.host import Feature
from rumpci.host_dma import MemorySpec
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.host import VfioHost
from rumpci.machines.uio.memory import UioMemory
from tests.linux.binding import EDU, nodes
from tests.linux.guest import drivers
from tests.linux.guest.test_vfio_drivers import *  # noqa: F403  # every test of it
from tests.linux.guest.test_vfio_edu import (
    TestDma,
    b,
    edu,
    test_dma_however_it_interrupts,
    test_however_it_interrupts,
    test_registers_are_plain_memory,
)
from tests.linux.guest.test_vfio_life import (
    AT,
    claim,
    host,
    test_a_group_has_one_user,
    test_configuration_space_beyond_what_sysfs_shows_to_users,
    test_decoding_off_is_no_crash,
    test_reset_is_not_supported_by_edu,
    test_reset_kills_windows,
    test_unbound_while_it_is_mapped,
    test_what_a_kernel_driver_has,
)
from tests.linux.guest.urls import vfio
from tests.unit import edu_dma

__all__ = [
    "TestDma",
    "b",
    "claim",
    "edu",
    "host",
    "test_a_group_has_one_user",
    "test_configuration_space_beyond_what_sysfs_shows_to_users",
    "test_decoding_off_is_no_crash",
    "test_dma_however_it_interrupts",
    "test_however_it_interrupts",
    "test_registers_are_plain_memory",
    "test_reset_is_not_supported_by_edu",
    "test_reset_kills_windows",
    "test_unbound_while_it_is_mapped",
    "test_what_a_kernel_driver_has",
]
pytestmark = pytest.mark.machine("noiommu")


def test_nobody_gets_it_without_saying_so() -> None:
    with pytest.raises(HostUnavailable, match="no IOMMU keeps it") as caught:
        open_host(f"vfio:{EDU}")
    assert caught.value.errno == errno.ENODEV
    assert "?noiommu=yes" in caught.value.remedy


def test_nothing_stops_what_was_not_loaded(caplog: pytest.LogCaptureFixture) -> None:
    """It is said each time, and it is so: here on memory of our own."""
    with edu_dma.attached(vfio(EDU)) as bench:
        assert "nothing keeps its devices from any memory" in caplog.text
        assert Feature.IOMMU not in bench.host.features
        edu_dma.nothing_stops_what_was_not_loaded(bench)


@pytest.mark.parametrize("more", ["scatter=7", "memory=3M"])
def test_dma_in_many_pieces(more: str) -> None:
    with edu_dma.attached(vfio(EDU, more=more)) as bench:
        edu_dma.there_and_back(bench, 0, 100)
        edu_dma.memory_of_its_own(bench)


def test_root_without_a_capability_gets_nothing() -> None:
    """The node's owner is not enough for the kernel: CAP_SYS_RAWIO is, and the error says so."""
    for node in nodes(EDU):
        os.chown(node, drivers.USER, drivers.USER)

    def claims_it() -> str:
        with contextlib.closing(open_host(vfio(EDU))) as mine:
            mine.claim(AT, "one")
        return "it has it"

    said = drivers.told_as_user(claims_it)
    assert said.startswith(f"{errno.EPERM} ")
    assert "CAP_SYS_RAWIO" in said


def test_memory_is_wired_and_goes_after_the_device(host: VfioHost, claim: VfioClaim) -> None:
    """A killed process's files are closed in the order of their numbers."""
    del host
    memory = claim.memory
    assert isinstance(memory, UioMemory)
    assert memory.pages is not None
    assert memory.pages.pinned
    assert claim.device.fd < memory.fd
    allocated = claim.dma_alloc(MemorySpec(3 << 12, nsegs=3))
    assert all(memory.pages.stays(extent) for extent in memory.extents)
    allocated.free()


def test_the_kernel_ends_bus_mastering_with_the_process() -> None:
    drivers.bus_mastering_ends_with_the_process(vfio(EDU))
