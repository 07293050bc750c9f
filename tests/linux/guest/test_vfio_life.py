"""What goes wrong with a real /dev/vfio: each its own error, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.errors import (
    DeadWindow,
    DeviceBusy,
    NoDmaMemory,
    NoSuchDevice,
    NotSupported,
)
from rumpci.host import Address, Host, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.group import CONTAINERS
from rumpci.hosts.vfio.host import VfioHost
from rumpci.machines import sysfs
from tests.linux import binding
from tests.linux.binding import BLOCKER, DEVICES, EDU, EDU_2, NVME, SHARED
from tests.linux.guest.drivers import told_as_user
from tests.linux.guest.urls import VIA_IOMMUFD, vfio
from tests.waiting import until

pytestmark = pytest.mark.machine("vfio")
AT = Address.parse(EDU)
PAGE = 4096
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="for root: test_vfio_life.py runs it so")
AS_USER = pytest.mark.skipif(os.geteuid() == 0, reason="for a user: test_vfio_user.py runs it so")


@pytest.fixture
def host() -> Iterator[VfioHost]:
    with contextlib.closing(open_host(vfio(EDU))) as made:
        assert isinstance(made, VfioHost)
        yield made


@pytest.fixture
def claim(host: VfioHost) -> VfioClaim:
    return host.claim(AT, "test0")


# ---- who may have it -----------------------------------------------------------------


def test_a_group_has_one_user(host: VfioHost, claim: VfioClaim) -> None:
    with contextlib.closing(open_host(host.url)) as other:
        with pytest.raises(DeviceBusy, match="open in another process") as caught:
            other.claim(AT, "second")
        assert "one user" in caught.value.remedy
        claim.release()
        other.claim(AT, "second").release()


def test_what_a_kernel_driver_has(host: VfioHost) -> None:
    names = [entry.name for entry in sorted(DEVICES.iterdir())]
    name = next(name for name in names if binding.bound(name) == "virtio-pci")
    with pytest.raises(DeviceBusy, match="driver virtio-pci has it"):
        open_host(vfio(name))
    with pytest.raises(NoSuchDevice, match="no function"):
        open_host(vfio("0000:77:00.0"))


@AS_ROOT
def test_a_group_that_is_not_viable() -> None:
    """Functions of one device share a group, and the kernel drives one of them."""
    (DEVICES / SHARED / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(SHARED)
    with pytest.raises(DeviceBusy, match=rf"not viable.*{BLOCKER} \(virtio-pci\)") as caught:
        open_host(vfio(SHARED))
    assert f"rumpci bind {BLOCKER} vfio-pci" in caught.value.remedy
    group = sysfs.find(Address.parse(SHARED))
    assert group
    container = CONTAINERS["iommufd" if VIA_IOMMUFD else "group"]
    with pytest.raises(DeviceBusy, match="not viable"):  # what the kernel says of it
        container(group, Path("/"))
    binding.unbind(BLOCKER)
    with contextlib.closing(open_host(vfio(SHARED))) as host:
        assert host.claim(Address.parse(SHARED), "one").conf_read(0) == 0x11E8_1234
    binding.unbind(SHARED)


@AS_ROOT
def test_a_node_of_roots() -> None:
    """A child that gives up being root may not open root's node, and is told what to do."""
    said = told_as_user(lambda: open_host(vfio(EDU)).url)
    assert said.startswith(f"{errno.EACCES} ")
    node = "/dev/iommu" if VIA_IOMMUFD else f"/dev/vfio/{binding.group(EDU)}"
    assert f"user 1000 may not open {node}" in said
    assert "chown 1000" in said


# ---- memory ----------------------------------------------------------------------------


@pytest.fixture
def little_memlock() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (16 * PAGE, before[1]))
    yield 16 * PAGE
    resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


@AS_USER
def test_memlock_is_named(claim: VfioClaim, little_memlock: int) -> None:
    size = 32 * PAGE
    memory = claim.dma_alloc(MemorySpec(size, nsegs=1))
    dmamap = claim.dma_map(MapSpec(size, 1, size))
    with pytest.raises(NoDmaMemory, match=f"RLIMIT_MEMLOCK is {little_memlock}") as caught:
        dmamap.load([Piece(memory, 0, size)], Direction.BOTH)
    assert "ulimit -l" in caught.value.remedy
    dmamap.load([Piece(memory, 0, PAGE)], Direction.BOTH)  # nothing is left of the first
    dmamap.unload()


def test_the_mirror_is_what_the_kernel_was_asked_for(host: VfioHost, claim: VfioClaim) -> None:
    memory = claim.dma_alloc(MemorySpec(4 * PAGE))
    dmamap = claim.dma_map(MapSpec(4 * PAGE, 4, 4 * PAGE))
    (segment,) = dmamap.load([Piece(memory, 0, 2 * PAGE)], Direction.READ)
    (grant,) = host.iommu()
    assert (grant.addr, grant.size, grant.direction) == (segment.ds_addr, 2 * PAGE, Direction.READ)
    assert [row.kind for row in host.dma()] == ["memory", "map"]
    assert host.dma_check() == []
    dmamap.unload()
    assert host.iommu() == []


# ---- the end of a device -----------------------------------------------------------------


def dead(claim: VfioClaim) -> bool:
    try:
        claim.conf_read(0)
    except DeadWindow:
        return True
    return False


@AS_ROOT
def test_unbound_while_it_is_mapped(host: VfioHost, claim: VfioClaim) -> None:
    """The kernel asks for it, and waits until nothing of ours holds it."""
    window = claim.window(0, 0, PAGE)
    mapping = window.mapping
    assert mapping
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    memory = claim.dma_alloc(MemorySpec(PAGE))
    claim.dma_map(MapSpec(PAGE, 1, PAGE)).load([Piece(memory, 0, PAGE)], Direction.BOTH)
    command = [sys.executable, "-c", f"from tests.linux import binding; binding.unbind({EDU!r})"]
    with subprocess.Popen(command) as other:
        assert other.wait(60) == 0
    until(lambda: dead(claim), "the claim lives")
    assert mapping.start == mapping.end, "its memory is gone"
    for operation in (lambda: window.read(0, 4), lambda: window.write(4, 4, 1), window.present):
        with pytest.raises(DeadWindow, match="unplugged, or unbound"):
            operation()
    with pytest.raises(DeadWindow, match="unplugged, or unbound"):
        claim.window(0, 0, 4)
    assert interrupt.ready(), "who waits for it is woken"
    interrupt.read()
    interrupt.unmask()
    assert not any(memoryview(memory.view))
    claim.release()
    with pytest.raises(DeviceBusy, match="no driver has it"):
        host.claim(AT, "again")
    binding.bind(EDU, "vfio-pci")
    host.claim(AT, "again").release()


def test_reset_is_not_supported_by_edu(claim: VfioClaim) -> None:
    window = claim.window(0, 0, PAGE)
    with pytest.raises(NotSupported, match="no function level reset"):
        claim.reset()
    with pytest.raises(NotSupported, match="cannot be reset"):
        claim.reset({})
    assert window.read(0, 4) == 0x0100_00ED, "nothing died"


def test_reset_kills_windows() -> None:
    with contextlib.closing(open_host(vfio(NVME))) as other:
        claim = other.claim(Address.parse(NVME), "test0")
        assert isinstance(claim, VfioClaim)
        window = claim.window(0, 0, 0x2000)
        assert claim.reset() == "reset by the kernel"
        with pytest.raises(DeadWindow, match="was reset"):
            window.read(0, 4)
        assert claim.window(0, 0, 0x2000).read(8, 4)  # VS: its version


def test_two_groups_are_apart() -> None:
    with contextlib.closing(open_host(vfio(EDU, EDU_2))) as both:
        claims = [both.claim(Address.parse(name), name) for name in (EDU, EDU_2)]
        assert [usage.who for usage in both.dma_usage()] == [EDU, EDU_2]
        for claim in claims:
            memory = claim.dma_alloc(MemorySpec(PAGE))
            claim.dma_map(MapSpec(PAGE, 1, PAGE)).load([Piece(memory, 0, PAGE)], Direction.BOTH)
        addresses = {(grant.device, grant.addr) for grant in both.iommu()}
        assert len(addresses) == 2
        claims[0].release()
        assert [grant.device for grant in both.iommu()] == [Address.parse(EDU_2)]


def test_decoding_off_is_no_crash(host: Host, claim: VfioClaim) -> None:
    """Touching mapped memory that is not decoded would be a SIGBUS."""
    window = claim.window(0, 0, PAGE)
    assert window.mapping
    claim.conf_write(4, 0)
    assert window.read(0, 4) == 0xFFFF_FFFF
    assert window.mapping.start == window.mapping.end
    assert not window.present()
    claim.conf_write(4, 2)
    assert window.read(0, 4) == 0x0100_00ED
    assert claim.window(0, 0, PAGE).mapping


def test_lazily_what_is_loaded_again_stays_until_it_is_freed() -> None:
    with contextlib.closing(open_host(vfio(EDU, more="unmap=lazy"))) as lazy:
        claim = lazy.claim(AT, "test0")
        memory = claim.dma_alloc(MemorySpec(PAGE))
        dmamap = claim.dma_map(MapSpec(PAGE, 1, PAGE))
        for _ in range(3):
            dmamap.load([Piece(memory, 0, PAGE)], Direction.READ)
            dmamap.unload()
        assert len(lazy.iommu()) == 1
        (line,) = lazy.dma_check()
        assert "the mirror has nothing" in line
        memory.free()
        assert not lazy.iommu()
        assert not lazy.dma_check()


def test_configuration_space_beyond_what_sysfs_shows_to_users() -> None:
    """A user sees 64 bytes there; the rest comes from the device, opened for a moment."""
    at = Address.parse(NVME)
    with contextlib.closing(open_host(vfio(NVME))) as other:
        first = other.conf_read(at, 0x34) & 0xFF
        chain = other.conf_read(at, first)
        assert chain & 0xFF in (1, 5, 0x10, 0x11), "a capability"
        claim = other.claim(at, "test0")
        assert claim.conf_read(first) == other.conf_read(at, first) == chain
