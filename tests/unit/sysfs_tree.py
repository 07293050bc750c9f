"""A made-up /sys, /dev/vfio and /proc, for what only looks at them."""

from __future__ import annotations

import struct
from pathlib import Path


class Tree:
    """Functions and nodes below `root`; nothing in it is a device."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices = root / "sys/bus/pci/devices"
        self.devices.mkdir(parents=True)
        (root / "proc").mkdir()
        (root / "proc/cmdline").write_text("quiet\n")

    def function(
        self, name: str, driver: str | None = "vfio-pci", group: int | None = 1,
        *, class_: int = 0x00FF_0000, resource: str = "", header: int = 0,
    ) -> Path:  # fmt: skip
        """One more function, 1234:11e8."""
        directory = self.devices / name
        directory.mkdir()
        config = struct.pack("<IIII", 0x11E8_1234, 0x0010_0002, class_ << 8, header << 16)
        (directory / "config").write_bytes(config.ljust(256, b"\0"))
        (directory / "resource").write_text(resource or "0x0 0x0 0x0\n" * 13)
        if driver is not None:
            self._link(directory / "driver", self.root / "sys/bus/pci/drivers" / driver)
        if group is not None:
            target = self.root / f"sys/kernel/iommu_groups/{group}"
            (target / "devices").mkdir(parents=True, exist_ok=True)
            self._link(target / "devices" / name, directory)
            self._link(directory / "iommu_group", target)
        return directory

    def node(self, name: str) -> Path:
        """A file in the place of a node of /dev/vfio."""
        path = self.root / "dev/vfio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    @staticmethod
    def _link(path: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
