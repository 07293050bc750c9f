"""Devices of the kernel's generic UIO: /dev/uioN with its maps, PCI or not.

sysfs says what there is: `name`, `maps/mapN/{addr,size,offset,name}`, `portio/`.  The node maps
mapN at the offset N * page size, which selects the map and is no address.  A device whose driver
has a switch (a write of 1 or 0) is masked by the kernel when it interrupts, and unmasked by us.

Source: Linux, Documentation/driver-api/uio-howto.rst, drivers/uio/uio.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rumpci._native import Mapping
from rumpci.errors import HostUnavailable, NoSuchDevice
from rumpci.host import Address, Bar, Feature, Function, Space
from rumpci.host_dma import PAGE_SIZE
from rumpci.host_platform import PlatformDevice
from rumpci.machines.uio import errors
from rumpci.machines.uio.bars import MemoryBar
from rumpci.machines.uio.interrupts import Line, UioInterrupts
from rumpci.machines.uio.memory import UioMemory
from rumpci.machines.uio.node import UioNode

_ONES = 0xFFFF_FFFF


@dataclass(frozen=True)
class UioDevice:
    """What sysfs says of the node `node`; `bars` are its maps, at physical addresses."""

    node: Path
    directory: Path

    @classmethod
    def of(cls, node: Path, root: Path = Path("/")) -> UioDevice:
        """Look it up.  Raises NoSuchDevice (ENXIO), HostUnavailable (EACCES)."""
        directory = root / "sys/class/uio" / node.name
        if not directory.exists():
            raise NoSuchDevice(
                f"opening {node}", "the kernel has no such uio device", "see /sys/class/uio"
            )
        path = root / node.relative_to("/")
        if not os.access(path, os.R_OK | os.W_OK):
            tried = f"opening {node}"
            raise errors.not_allowed(tried, path) if path.exists() else errors.no_node(tried, path)
        return cls(path, directory)

    @property
    def name(self) -> str:
        """What its driver calls it, with the node's name: two devices may have one name."""
        return f"{(self.directory / 'name').read_text().strip()}@{self.node.name}"

    def bars(self) -> tuple[Bar, ...]:
        """Its maps."""
        found = sorted(int(path.name[3:]) for path in (self.directory / "maps").glob("map*"))
        return tuple(map(self._bar, found))

    def _bar(self, index: int) -> Bar:
        """A map, from where its registers begin."""
        path, skip = self.directory / f"maps/map{index}", self.skip(index)
        return Bar(index, Space.MEM, _hex(path / "addr") + skip, _hex(path / "size") - skip)

    def skip(self, index: int) -> int:
        """Where a map begins in its first page."""
        return _hex(self.directory / f"maps/map{index}/offset")


class GenericUioMachine:
    """See machine.Machine and machine.HasPlatform: devices, no PCI functions and no DMA."""

    features = Feature.MEMSPACE | Feature.MAPPED
    reset_seconds = 0.0
    iommu = None

    def __init__(self, nodes: Sequence[Path], url: str = "uio:", root: Path = Path("/")) -> None:
        self.url = url
        self._devices = [UioDevice.of(node, root) for node in nodes]
        self._names = [device.name for device in self._devices]
        self._bars: dict[tuple[str, int], MemoryBar] = {}
        self._switched: dict[str, bool] = {}
        with contextlib.ExitStack() as opened:
            self.interrupts = UioInterrupts([self._line(d, opened) for d in self._devices], "uio")
            opened.callback(self.interrupts.close)
            self.memory = UioMemory(PAGE_SIZE, {})
            opened.callback(self.memory.close)
            self._opened = opened.pop_all()

    def _line(self, device: UioDevice, opened: contextlib.ExitStack) -> Line:
        node, name = UioNode(device.node), device.name
        opened.callback(node.close)
        return Line(name, node, lambda on: self._mask(name, on))

    def _mask(self, name: str, on: bool) -> None:
        """Use the driver's switch; a driver without one does not mask either."""
        if not self._switched.get(name):
            return
        try:
            self.interrupts.line(name).node.control(not on)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EIO, errno.ENODEV):
                raise
            self._switched[name] = False

    # ---- see HasPlatform ---------------------------------------------------------------

    def platform(self) -> Sequence[PlatformDevice]:
        """See HasPlatform."""
        return [
            PlatformDevice(name, device.bars(), wired=True)
            for name, device in zip(self._names, self._devices, strict=True)
        ]

    def platform_bar(self, name: str, index: int) -> MemoryBar:
        """See HasPlatform.  Raises HostUnavailable for a map that the kernel does not map."""
        if (name, index) not in self._bars:
            device = self._devices[self._names.index(name)]
            (bar,) = (bar for bar in device.bars() if bar.index == index)
            self._bars[name, index] = self._open(device, bar)
        return self._bars[name, index]

    def _open(self, device: UioDevice, bar: Bar) -> MemoryBar:
        tried = f"mapping map {bar.index} of {device.name}"
        fds: list[int] = []
        try:
            for flags in (os.O_RDWR, os.O_RDONLY):
                fds.append(os.open(device.node, flags | os.O_CLOEXEC))  # noqa: PERF401
            place, skip = bar.index * PAGE_SIZE, device.skip(bar.index)
            return MemoryBar(fds[0], fds[1], bar.size, offset=place, skip=skip)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            if error.errno in (errno.EINVAL, errno.ENODEV):
                why = f"the kernel does not map it: {error.strerror}"
                remedy = "its size or place is no whole page, or it is no memory: see its driver"
                raise HostUnavailable(tried, why, remedy) from error
            raise errors.cannot_open(tried, device.node, error) from error

    def map_platform(
        self, name: str, index: int, offset: int, size: int, *, writable: bool
    ) -> Mapping | None:
        """See HasPlatform."""
        return self.platform_bar(name, index).map(offset, size, at=0, writable=writable)

    def platform_pin(self, name: str) -> int | None:
        """See HasPlatform: None where the node says EIO, as it does without an interrupt."""
        line = self.interrupts.line(name)
        return self._names.index(name) if line.node.counts() else None

    def open_platform(self, name: str, who: str) -> None:
        """See HasPlatform."""
        self.interrupts.line(name).node.open(f"claiming {name} for {who}")
        self._switched[name] = True

    def close_platform(self, name: str) -> None:
        """See HasPlatform."""
        for place in [place for place in self._bars if place[0] == name]:
            self._bars.pop(place).close()
        self.interrupts.line(name).node.leave()

    # ---- see Machine: there is no PCI ----------------------------------------------------

    def conf_read(self, address: Address, reg: int) -> int:
        """See Machine."""
        del address, reg
        return _ONES

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """See Machine."""

    def functions(self) -> Sequence[Function]:
        """See Machine."""
        return []

    def bar(self, address: Address, index: int) -> MemoryBar:
        """See Machine.  Raises NoSuchDevice (ENXIO)."""
        raise NoSuchDevice(f"BAR{index} of {address}", "no PCI here", "see `rumpci list`")

    def map_bar(
        self, address: Address, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See Machine."""
        del address, index, offset, size, at, writable
        return None

    def close(self) -> None:
        """See Machine."""
        for name in self._names:
            self.close_platform(name)
        self._opened.close()


def _hex(path: Path) -> int:
    return int(path.read_text(), 16)
