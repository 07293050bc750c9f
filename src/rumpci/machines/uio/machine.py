"""Functions with uio_pci_generic as a machine: raw access to what the kernel enumerated."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rumpci._native import Mapping
from rumpci.errors import DeviceBusy
from rumpci.host import Address, Feature, Function, Space
from rumpci.machines import sysfs
from rumpci.machines.sysfs import SysFunction
from rumpci.machines.uio import errors
from rumpci.machines.uio.bars import Resource, open_bar
from rumpci.machines.uio.config import UioConfig
from rumpci.machines.uio.interrupts import Line, UioInterrupts
from rumpci.machines.uio.memory import UioMemory
from rumpci.machines.uio.node import UioNode

log = logging.getLogger("rumpci.uio")
_ONES = 0xFFFF_FFFF
_EXTENDED = 4096


@dataclass(frozen=True)
class Options:
    """What the URL says: bytes of memory for DMA; whether each load looks where its pages are.

    There are `banks` of as much memory, besides.  `root` is where /sys and /dev are.
    """

    memory: int
    careful: bool = False
    banks: int = 0
    root: Path = Path("/")


class UioMachine:
    """The machine of `uio:` hosts: the functions at `addresses`, and bridges, which nobody claims.

    Raises NoSuchDevice (ENXIO), DeviceBusy (EBUSY), HostUnavailable, HostRefused.
    """

    reset_seconds = 0.1
    iommu = None

    def __init__(self, addresses: Sequence[Address], options: Options, url: str = "uio:") -> None:
        self.url, self._root = url, options.root
        self._named = {at: checked(at, f"opening {url}", options.root) for at in addresses}
        self._functions = self._listed()
        self._bars: dict[tuple[Address, int], Resource] = {}
        self._configs: dict[Address, UioConfig] = {}
        with contextlib.ExitStack() as opened:
            # The nodes come first: the kernel closes a process's files in the order of their
            # numbers, and so ends bus mastering before it frees what devices write to.
            self.interrupts = UioInterrupts([self._line(at, opened) for at in addresses])
            opened.callback(self.interrupts.close)
            self.memory = UioMemory(
                options.memory, self._named, careful=options.careful, banks=options.banks
            )
            opened.callback(self.memory.close)
            self._opened = opened.pop_all()
        self.features = self._features()
        self._warn()

    def _listed(self) -> list[Function]:
        """As they are now: the kernel does not move BARs under a driver."""
        listed = []
        for found in sysfs.functions(self._root):
            with contextlib.suppress(OSError):  # unplugged just now
                function = found.function()
                if function.is_bridge or function.address in self._named:
                    listed.append(function)
        return listed

    def _line(self, address: Address, opened: contextlib.ExitStack) -> Line:
        """A function's line; its node can be opened later."""
        tried, found = f"opening {address}", self._named[address]
        path = node_of(found, tried, self._root)
        check_files(tried, found, path)
        node = UioNode(path)
        opened.callback(node.close)
        wired, fired = _irq(found) != 0, lambda: self._fired(address)
        return Line(address, node, lambda on: self._mask(address, on), fired, wired)

    def _mask(self, address: Address, on: bool) -> None:
        if config := self._configs.get(address):
            config.mask(on)

    def _fired(self, address: Address) -> None:
        if config := self._configs.get(address):
            config.fired()

    def _features(self) -> Feature:
        features = Feature.NONE if self.memory.pages is None else Feature.DMA
        for function in self._functions:
            for bar in function.bars if function.address in self._named else ():
                io = bar.space is Space.IO
                features |= Feature.IOSPACE | Feature.TRAPPED if io else Feature.MEMSPACE
                features |= Feature.NONE if io else Feature.MAPPED
        if any(found.conf_size() >= _EXTENDED for found in self._named.values()):
            features |= Feature.EXTCONF
        return features

    def _warn(self) -> None:
        """Say what this is, each time."""
        if self.memory.pages is not None:
            log.warning("%s", errors.wild_dma(self.url))
            if not self.memory.pages.pinned:
                log.warning(
                    "%s: this kernel pins no memory for us (io_uring): its pages are locked, may "
                    "be moved all the same, and are looked for at every load", self.url,
                )  # fmt: skip
        for refusal in self.memory.refusals:
            log.warning("%s: no DMA: %s", self.url, refusal)

    # ---- see HandsOut --------------------------------------------------------------------

    def open_function(self, address: Address, who: str) -> None:
        """See HandsOut: the node is ours alone, and the line is masked."""
        tried = f"claiming {address} for {who}"
        if (found := self._named.get(address)) is None:
            raise DeviceBusy(tried, "the host's URL does not name it", f"open uio:{address}")
        line = self.interrupts.line(address)
        line.node.open(tried)
        try:
            self._configs[address] = UioConfig(found.directory / "config", tried)
        except BaseException:
            line.node.leave()
            raise

    def close_function(self, address: Address) -> None:
        """See HandsOut; the node comes last, and then the kernel ends bus mastering."""
        for place in [place for place in self._bars if place[0] == address]:
            self._bars.pop(place).close()
        if config := self._configs.pop(address, None):
            config.close()
            self.interrupts.line(address).node.leave()

    # ---- see Machine ---------------------------------------------------------------------

    def conf_read(self, address: Address, reg: int) -> int:
        """See Machine."""
        if config := self._configs.get(address):
            return config.read(reg)
        found = sysfs.find(address, self._root)
        return found.conf_read(reg) if found else _ONES

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """See Machine; what the URL does not name is the kernel's, and stays as it is."""
        if config := self._configs.get(address):
            config.write(reg, value)

    def functions(self) -> Sequence[Function]:
        """See Machine."""
        return self._functions

    def bar(self, address: Address, index: int) -> Resource:
        """See Machine.  Raises HostUnavailable, HostRefused for a file that cannot be opened."""
        found = self._bars.get((address, index))
        if found is None:
            (function,) = (f for f in self._functions if f.address == address)
            bar = function.bar(index)
            assert bar is not None, "the guard asks for what it was told of"  # noqa: S101
            found = open_bar(
                self._named[address].directory, bar, f"opening BAR{index} of {address}"
            )
            self._bars[address, index] = found
        return found

    def map_bar(
        self, address: Address, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See Machine."""
        bar = self.bar(address, index)
        return bar.map(offset, size, at=at, writable=writable)

    def close(self) -> None:
        """See Machine.  The nodes are closed before the memory goes."""
        for address in list(self._configs):
            self.close_function(address)
        self._opened.close()


def checked(address: Address, tried: str, root: Path = Path("/")) -> SysFunction:
    """The function, if it can be had.  Raises NoSuchDevice, DeviceBusy."""
    found = sysfs.find(address, root)
    if found is None:
        raise errors.no_function(tried, address)
    if found.function().is_bridge:
        raise errors.a_bridge(tried)
    if found.driver != errors.DRIVER:
        raise errors.bound_elsewhere(tried, found)
    return found


def node_of(function: SysFunction, tried: str, root: Path = Path("/")) -> Path:
    """The node of a function that is bound.  Raises HostUnavailable (ENOENT)."""
    names = sorted(entry.name for entry in function.directory.glob("uio/uio*"))
    if not names:
        raise errors.no_node(tried, None)
    return root / "dev" / names[0]


def check_files(tried: str, function: SysFunction, node: Path) -> None:
    """Raise HostUnavailable (ENOENT, EACCES) unless this user may use what a driver needs."""
    bars = [function.directory / f"resource{bar.index}" for bar in function.function().bars]
    for path in (node, function.directory / "config", *bars):
        if not path.exists():
            raise errors.no_node(tried, path)
        if not os.access(path, os.R_OK | os.W_OK):
            raise errors.not_allowed(tried, path)


def _irq(function: SysFunction) -> int:
    """The number of the kernel's interrupt; 0: none."""
    try:
        return int((function.directory / "irq").read_text())
    except (OSError, ValueError):
        return 0
