"""A made-up /sys, /dev/vfio and /proc, for what only looks at them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

BUS = "sys/bus/pci"
NO_BARS = "0x0 0x0 0x0\n" * 13


class Sysfs:
    """Functions and their drivers below `root`, as a kernel shows them; nothing is a device."""

    def __init__(self, root: Path) -> None:
        self.root, self.bus = root, root / BUS
        self.devices = self.bus / "devices"
        for folder in (f"{BUS}/devices", f"{BUS}/drivers", "sys/class"):
            (root / folder).mkdir(parents=True)

    def file(self, path: str, text: str = "") -> Path:
        """A file somewhere below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        """A link somewhere below the root to somewhere else there."""
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(self.root / target, link.parent))

    def place(self, address: str) -> str:
        """Where a function's folder is."""
        return f"sys/devices/pci0000:00/{address}"

    def load(self, driver: str) -> None:
        """A driver's module."""
        (self.bus / "drivers" / driver).mkdir(exist_ok=True)

    def attach(self, address: str, driver: str) -> None:
        """Let a function have a driver."""
        self.load(driver)
        self.link(f"{self.place(address)}/driver", f"{BUS}/drivers/{driver}")

    def join(self, address: str, group: int) -> Path:
        """Let a function be of an IOMMU group; the group's folder."""
        folder, place = f"sys/kernel/iommu_groups/{group}", self.place(address)
        self.link(f"{folder}/devices/{address}", place)
        self.link(f"{place}/iommu_group", folder)
        return self.root / folder

    def function(
        self, address: str, driver: str | None = "vfio-pci", group: int | None = 1,
        *, class_: int = 0x00FF_0000, resource: str = NO_BARS, header: int = 0,
        identity: int = 0x11E8_1234,
    ) -> Path:  # fmt: skip
        """One more function; its folder."""
        place = self.place(address)
        config = struct.pack("<IIII", identity, 0x0010_0002, class_ << 8, header << 16)
        self.file(f"{place}/config").write_bytes(config.ljust(256, b"\0"))
        self.file(f"{place}/resource", resource)
        self.link(f"{BUS}/devices/{address}", place)
        if group is not None:
            self.join(address, group)
        if driver is not None:
            self.attach(address, driver)
        return self.root / place


class Tree(Sysfs):
    """And nodes of VFIO, and the kernel's command line."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.file("proc/cmdline", "quiet\n")

    def node(self, name: str) -> Path:
        """A file in the place of a node of /dev/vfio."""
        return self.file(f"dev/vfio/{name}")
