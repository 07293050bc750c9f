"""The memory that devices reach on a running system: some pages of this process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rumpci.errors import NoDmaMemory
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.machine import Bank, Extent
from rumpci.machines.sysfs import SysFunction
from rumpci.machines.uio import errors
from rumpci.machines.uio.pages import WiredPages

_BLOCKING = ("DMA", "DMA-FQ", "blocked", "unmanaged")
"""Kinds of an IOMMU group's default domain in which a physical address leads nowhere."""


class UioMemory:
    """See machine.Memory and machine.Wired: `size` bytes for `functions`.

    Where there can be none, it is empty, and `admit` says why.  `careful` looks at every load
    whether the pages are still in their place; where they are not pinned, it does anyway.
    Each of the `banks` has as many bytes, besides.
    """

    def __init__(
        self, size: int, functions: Mapping[Address, SysFunction], *, careful: bool = False,
        banks: int = 0,
    ) -> None:  # fmt: skip
        self.size, self.careful = size, careful
        self._refused: dict[Address, NoDmaMemory] = {}
        for address, function in functions.items():
            if refusal := _blocked(function):
                self._refused[address] = refusal
        self.pages, self._more = self._wire(functions, banks)
        self.banks: Sequence[Bank] = [
            Bank(more.fd, 0, more.size, more.extents) for more in self._more
        ]
        self.extents: Sequence[Extent] = self.pages.extents if self.pages else ()
        self.usable: Sequence[tuple[int, int]] = [
            (start, start + size) for start, _, size in self.extents
        ]
        self.fd = self.pages.fd if self.pages else _empty()
        self.size = size if self.pages else PAGE_SIZE
        if self.pages and not self.pages.pinned:
            self.careful = True

    def _wire(
        self, functions: Mapping[Address, SysFunction], banks: int
    ) -> tuple[WiredPages | None, list[WiredPages]]:
        """The pages, and those of the banks, if they can be had and anybody can use them."""
        rest, made = functions.keys() - self._refused.keys(), list[WiredPages]()
        if not rest:
            return None, []
        try:
            for _ in range(1 + banks):
                made.append(WiredPages(self.size))
        except BaseException as error:
            for pages in made:
                pages.close()
            if not isinstance(error, NoDmaMemory):
                raise
            self._refused |= dict.fromkeys(rest, error)
            return None, []
        return made[0], made[1:]

    @property
    def refusals(self) -> list[NoDmaMemory]:
        """Why functions can do no DMA: each reason once."""
        return list({str(error): error for error in self._refused.values()}.values())

    def admit(self, device: Address) -> None:
        """See machine.Wired."""
        if refusal := self._refused.get(device):
            raise NoDmaMemory(f"DMA of {device}", refusal.why, refusal.remedy)

    def check(self, start: int, size: int) -> None:
        """See machine.Wired."""
        if self.pages is None or not self.careful:
            return
        for pages in (self.pages, *self._more):
            for extent in within(pages.extents, start, size):
                if not pages.stays(extent):
                    raise errors.moved(start, size)

    def close(self) -> None:
        """Give it back.  Closing twice does nothing."""
        fd, self.fd = self.fd, -1
        if self.pages:
            for pages in (self.pages, *self._more):
                pages.close()
        elif fd >= 0:
            os.close(fd)


def within(extents: Sequence[Extent], start: int, size: int) -> list[Extent]:
    """The parts of `extents` that are in [start, start + size), by physical address."""
    found = []
    for extent in extents:
        low, high = max(start, extent.start), min(start + size, extent.start + extent.size)
        if low < high:
            found.append(Extent(low, extent.offset + low - extent.start, high - low))
    return sorted(found)


def _blocked(function: SysFunction) -> NoDmaMemory | None:
    """Why the IOMMU would block the function's DMA, if it would."""
    try:
        kind = (function.directory / "iommu_group/type").read_text().strip()
    except OSError:
        return None  # no IOMMU, or a kernel that does not say
    if kind not in _BLOCKING:
        return None
    return errors.blocked_by_iommu(f"DMA of {function.address}", function, kind)


def _empty() -> int:
    fd = os.memfd_create("rumpci-uio-none", os.MFD_CLOEXEC)
    os.ftruncate(fd, PAGE_SIZE)
    return fd
