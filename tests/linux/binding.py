"""In a guest: give a device to a kernel driver, by its sysfs folder.

`python -m tests.linux.binding ADDRESS DRIVER UID` binds it and gives that user its node.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

DEVICES = Path("/sys/bus/pci/devices")

EDU, NVME, COM, E1000E = (f"0000:00:{device}.0" for device in ("10", "11", "12", "13"))
"""Where machines.DEVICES are."""
EDU_2, SHARED, BLOCKER = "0000:00:14.0", "0000:00:15.0", "0000:00:15.1"
"""Where the rest of machines.MORE is."""
IOMMUFD = Path("/dev/iommu")


def bound(address: str) -> str | None:
    """The driver of the function at `address`, if it has one."""
    driver = DEVICES / address / "driver"
    return driver.resolve().name if driver.exists() else None


def group(address: str) -> int:
    """The number of its IOMMU group: /dev/vfio/N."""
    return int((DEVICES / address / "iommu_group").resolve().name)


def bind(address: str, driver: str) -> None:
    """Give the function to `driver`, whoever has it.  Raises OSError as the kernel refuses.

    For uio_pci_generic the group's DMA is switched to bus addresses that are those of memory
    (`iommu_group/type`): no program could map anything for it.
    """
    folder = DEVICES / address
    unbind(address)
    kind = "identity" if driver == "uio_pci_generic" else "auto"
    type_ = folder / "iommu_group" / "type"
    if type_.exists():  # there is an IOMMU
        type_.write_text(kind)
    (folder / "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(address)
    if bound(address) != driver:
        raise OSError(f"{address} is with {bound(address)}, not {driver}: see dmesg")


def nodes(address: str) -> list[Path]:
    """What is opened for the function: its group's node; its own, and the iommufd's, if it has."""
    own = [Path("/dev/vfio/devices") / entry.name for entry in cdevs(address)]
    found = [Path(f"/dev/vfio/{group(address)}"), Path(f"/dev/vfio/noiommu-{group(address)}")]
    return [node for node in (*found, *own, IOMMUFD) if node.exists()]


def cdevs(address: str) -> list[Path]:
    """Where sysfs has the function's own node: one, or none."""
    folder = DEVICES / address / "vfio-dev"
    return list(folder.iterdir()) if folder.is_dir() else []


def give(address: str, user: int) -> None:
    """Let an ordinary user open the function's nodes."""
    for node in nodes(address):
        os.chown(node, user, user)


def unbind(address: str) -> None:
    """Take it from its driver; nobody gets it."""
    folder = DEVICES / address
    if bound(address) is not None:
        (folder / "driver" / "unbind").write_text(address)
    (folder / "driver_override").write_text("\n")


if __name__ == "__main__":
    bind(sys.argv[1], sys.argv[2])
    if sys.argv[2] == "vfio-pci":
        give(sys.argv[1], int(sys.argv[3]))
