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
    (folder / "iommu_group" / "type").write_text(kind)
    (folder / "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(address)
    if bound(address) != driver:
        raise OSError(f"{address} is with {bound(address)}, not {driver}: see dmesg")


def give(address: str, user: int) -> None:
    """Let an ordinary user open the node of the function's group."""
    os.chown(f"/dev/vfio/{group(address)}", user, user)


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
