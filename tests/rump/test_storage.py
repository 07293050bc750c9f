"""NetBSD's storage drivers, unmodified, on QEMU's devices: the image is the oracle."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.qemu.needs import qemu
from tests.rump import needs, storage
from tests.rump.scene import Player

pytestmark = qemu
SIZE = 4 << 20
NEVER_UNLOADED = "what was loaded before was never unloaded"
"""ld(4) at virtio before NetBSD 9: the map of a request that is done, when its slot comes again."""
EMPTY = ["there is nothing to load: 0 bytes", "nothing is loaded"]
"""vioscsi(4) loads and syncs the data of a command that has none."""
DISKS = [
    pytest.param(
        "virtio-blk-pci", "?iommu=off", "/dev/rld0d", ["virtio", "rumpdev_virtio_ld"],
        [NEVER_UNLOADED] if needs.release() < (9,) else [], id="virtio-ld",
        marks=needs.libraries("rumpdev_pci_virtio", "rumpdev_virtio_ld", "rumpdev_disk"),
    ),
    pytest.param(
        "virtio-scsi-pci,id=s+scsi-hd,bus=s.0", "?iommu=off", "/dev/rsd0d",
        ["virtio", "rumpdev_virtio_vioscsi", "rumpdev_scsipi"], EMPTY, id="vioscsi",
        marks=needs.libraries("rumpdev_virtio_vioscsi", "rumpdev_scsipi"),
    ),
]  # fmt: skip


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(random.Random(1).randbytes(SIZE))  # noqa: S311
    return path


@pytest.mark.soak
@pytest.mark.parametrize(("device", "query", "disk", "drivers", "bugs"), DISKS)
def test_a_disk(
    rump: Player,
    image: Path,
    soak: bool,
    device: str,
    query: str,
    disk: str,
    drivers: list[str],
    bugs: list[str],
) -> None:
    times, expected = (3000 if soak else 300), bytearray(image.read_bytes())
    got = rump(
        storage.work, f"qemu:{device},file={image}{query}", disk, SIZE, times,
        drivers=drivers, components=["rumpdev_disk"],
    )  # fmt: skip
    assert got["read"] == storage.oracle(expected, times)
    assert image.read_bytes() == expected
    assert got["unused"] == []
    assert all(bug in told for bug, told in zip(bugs, got["findings"], strict=True)), got[
        "findings"
    ]


@needs.libraries("rumpdev_pci_virtio", "rumpdev_virtio_viornd", "rumpdev_rnd")
def test_random_numbers(rump: Player) -> None:
    got = rump(
        storage.random_numbers, "qemu:virtio-rng-pci?iommu=off", 4096,
        drivers=["virtio", "rumpdev_virtio_viornd"], components=["rumpdev_rnd"],
    )  # fmt: skip
    assert got["came"]
    assert got["read"] > 200
    assert got["findings"] == []


NO_USB_DMA = "ux_bus->ub_usedma == false"
"""Some trees' rump kernels have a USB stack without usb_dma(4): its first transfer panics."""
OHCI_BUG = pytest.mark.xfail(
    needs.release() < (9,),
    reason="ohci(4) before NetBSD 9 gives each descriptor of a long transfer the end of all of it",
    strict=True,
)
CONTROLLERS = ["usb-ehci", "piix3-usb-uhci", pytest.param("pci-ohci", marks=OHCI_BUG)]


@needs.libraries("rumpdev_pci_usbhc", "rumpdev_umass", "rumpdev_scsipi", "rumpdev_disk")
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_usb_disk(rump: Player, image: Path, controller: str) -> None:
    expected = bytearray(image.read_bytes())
    url = f"qemu:{controller},id=u+usb-storage,bus=u.0,file={image}"
    try:
        got = rump(
            storage.work, url, "/dev/rsd0d", SIZE, 20,
            drivers=["usbhc", "rumpdev_umass", "rumpdev_scsipi"], components=["rumpdev_disk"],
        )  # fmt: skip
    except AssertionError:
        if NO_USB_DMA in rump.said:
            pytest.skip("librumpdev_usb was built without usb_dma: build it with NUSB_DMA 1")
        raise
    assert got["read"] == storage.oracle(expected, 20)
    assert image.read_bytes() == expected
