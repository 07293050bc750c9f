"""PCI functions as a Linux kernel shows them below /sys/bus/pci/devices: it enumerated them.

Nothing here changes anything.  Source: Linux, Documentation/ABI/testing/sysfs-bus-pci
and Documentation/PCI/sysfs-pci.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rumpci import pcireg as pr
from rumpci.host import Address, Bar, Function, Space

_BARS = 6
_IO, _MEM, _PREFETCH, _MEM_64 = 0x100, 0x200, 0x2000, 0x10_0000  # flags of a resource
_ONES = 0xFFFF_FFFF
_NAME = len("0000:00:00.0")


@dataclass(frozen=True)
class SysFunction:
    """One function's directory; what is absent there is None."""

    directory: Path

    @property
    def address(self) -> Address:
        """Where it is."""
        return Address.parse(self.directory.name)

    @property
    def driver(self) -> str | None:
        """The kernel driver that has it."""
        return _link(self.directory / "driver")

    @property
    def group(self) -> str | None:
        """The number of its IOMMU group."""
        return _link(self.directory / "iommu_group")

    @property
    def header(self) -> int:
        """Its header type: 0 a device, 1 or 2 a bridge."""
        return self.conf_read(pr.PCI_BHLC_REG) >> 16 & 0x7F

    @property
    def is_bridge(self) -> bool:
        """Whether it has buses behind it, and is nobody's but the kernel's."""
        return self.header in (1, 2)

    @property
    def without_iommu(self) -> bool:
        """Whether vfio made its group, with no IOMMU behind it (VFIO_NOIOMMU)."""
        try:
            return (self.directory / "iommu_group/name").read_text().strip() == "vfio-noiommu"
        except OSError:
            return False

    def siblings(self) -> list[SysFunction]:
        """Every function of its IOMMU group, itself among them, in bus order."""
        group = self.directory / "iommu_group" / "devices"
        if not group.is_dir():
            return []
        parent = self.directory.parent
        return sorted(
            (SysFunction(parent / entry.name) for entry in group.iterdir()),
            key=lambda found: found.directory.name,
        )

    def conf_read(self, reg: int) -> int:
        """32 bits of configuration space; ones where the kernel does not let this user read.

        Who is not root sees the first 64 bytes.
        """
        try:
            with (self.directory / "config").open("rb", buffering=0) as file:
                file.seek(reg)
                data = file.read(4)
        except OSError:
            return _ONES
        return int.from_bytes(data, "little") if len(data) == 4 else _ONES

    def conf_size(self) -> int:
        """How many bytes of configuration space the function has: 256 or 4096."""
        return (self.directory / "config").stat().st_size

    def function(self) -> Function:
        """What the seam lists.  Raises OSError if it is gone."""
        bridge = self.is_bridge
        return Function(
            self.address,
            self.conf_read(pr.PCI_ID_REG),
            self.conf_read(pr.PCI_CLASS_REG),
            self.header,
            () if bridge else tuple(self._bars()),
            self.conf_read(0x18) >> 8 & 0xFF if bridge else None,
        )

    def _bars(self) -> Iterator[Bar]:
        lines = (self.directory / "resource").read_text().splitlines()
        for index, line in enumerate(lines[:_BARS]):
            start, end, flags = (int(word, 16) for word in line.split())
            if flags & (_IO | _MEM) and end > start:
                space = Space.IO if flags & _IO else Space.MEM
                wide, prefetch = bool(flags & _MEM_64), bool(flags & _PREFETCH)
                yield Bar(index, space, start, end - start + 1, wide, prefetch)


def find(address: Address, root: Path = Path("/")) -> SysFunction | None:
    """The function at `address`, or None if the kernel has none there."""
    directory = _devices(root) / str(address)
    return SysFunction(directory) if directory.exists() else None


def functions(root: Path = Path("/")) -> list[SysFunction]:
    """Every function that the kernel has, in bus order.

    Those of a segment that no Address can name are left out: the kernel makes up segments from
    0x10000 on for what is behind a volume management device (VMD).
    """
    directory = _devices(root)
    entries = directory.iterdir() if directory.is_dir() else ()
    names = sorted(entry.name for entry in entries if len(entry.name) == _NAME)
    return [SysFunction(directory / name) for name in names]


def _devices(root: Path) -> Path:
    return root / "sys/bus/pci/devices"


def _link(path: Path) -> str | None:
    try:
        return os.path.basename(os.readlink(path))  # resolving costs 3 ms
    except OSError:
        return None
