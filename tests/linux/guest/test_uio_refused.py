"""What cannot be had on uio_pci_generic is refused, by its name and with the remedy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf
from rumpci.cpu import own_cpu
from rumpci.drivers.edu import Edu
from rumpci.errors import (
    DeviceBusy,
    DriverAttachError,
    NoDmaMemory,
    NoSuchDevice,
)
from rumpci.host import Address, Feature
from rumpci.host_dma import MemorySpec
from rumpci.hosts import open_host, uio
from tests.linux.binding import DEVICES, EDU, NVME, bind, unbind
from tests.linux.guest.drivers import USER, told_as_user

assert uio.KEYS, "imported before anybody gives up the right to read files"
pytestmark = pytest.mark.machine("uio")
OTHER = """
import sys
from rumpci.hosts import open_host
from rumpci.host import Address
open_host("uio:" + sys.argv[1]).claim(Address.parse(sys.argv[1]), "other")
print(flush=True)
sys.stdin.read()
"""


def test_msi_is_refused_by_name() -> None:
    with (
        own_cpu(),
        contextlib.closing(open_host(f"uio:{EDU}")) as host,
        Autoconf(host, properties={"edu": {"intr": "msi"}}) as autoconf,
        pytest.raises(DriverAttachError, match="uio_pci_generic has INTx only, no MSI"),
    ):
        autoconf.attach([Edu])


def test_not_bound() -> None:
    unbind(EDU)
    try:
        with pytest.raises(DeviceBusy, match=f"no driver has it.*rumpci bind {EDU} uio_pci_gen"):
            open_host(f"uio:{EDU}")
        bind(EDU, "vfio-pci")
        with pytest.raises(DeviceBusy, match="driver vfio-pci has it"):
            open_host(f"uio:{EDU}")
    finally:
        bind(EDU, "uio_pci_generic")


def test_no_such_function() -> None:
    with pytest.raises(NoSuchDevice):
        open_host("uio:00:1e.7")
    with pytest.raises(DeviceBusy, match="bridge"):
        open_host("uio:00:00.0")


def test_another_process_has_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, EDU], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        with contextlib.closing(open_host(f"uio:{EDU}")) as host:
            with pytest.raises(DeviceBusy, match="open in another rumpci"):
                host.claim(Address.parse(EDU), "one")
            other.kill()
            other.wait()
            host.claim(Address.parse(EDU), "one")


def test_an_iommu_that_blocks_is_named() -> None:
    unbind(NVME)
    kind = DEVICES / NVME / "iommu_group/type"
    kind.write_text("DMA")
    (DEVICES / NVME / "driver_override").write_text("uio_pci_generic")
    Path("/sys/bus/pci/drivers_probe").write_text(NVME)
    try:
        with contextlib.closing(open_host(f"uio:{NVME}")) as host:
            assert Feature.DMA not in host.features
            claim = host.claim(Address.parse(NVME), "one")
            remedy = f"rumpci bind {NVME} uio_pci_generic --identity"
            with pytest.raises(NoDmaMemory, match=f"IOMMU blocks it.*{remedy}"):
                claim.dma_alloc(MemorySpec(4096))
            assert claim.window(0, 0, 4096).read(0, 4) != 0xFFFF_FFFF
    finally:
        bind(NVME, "uio_pci_generic")


def as_user(address: str, *, given: bool) -> str:
    """What an ordinary user is told; `given`: after the chowns that the messages ask for."""
    node = next((DEVICES / address / "uio").iterdir()).name
    files = [Path("/dev") / node, *(DEVICES / address / name for name in ("config", "resource0"))]
    for path in files:
        os.chown(path, USER if given else 0, -1)
    return told_as_user(lambda: register_and_dma(address))


def register_and_dma(address: str) -> str:
    with contextlib.closing(open_host(f"uio:{address}")) as host:
        claim = host.claim(Address.parse(address), "one")
        value = claim.window(0, 0, 4).read(0, 4)
        try:
            claim.dma_alloc(MemorySpec(4096))
        except NoDmaMemory as error:
            return f"{value:#x} {error}"
        return "it has DMA memory"


def test_an_ordinary_user() -> None:
    assert "user 1000 may not use /dev/uio" in as_user(EDU, given=False)
    told = as_user(EDU, given=True)
    assert told.startswith("0x10000ed ")
    assert "only root (CAP_SYS_ADMIN) is told where memory is" in told
    assert "use vfio:" in told
