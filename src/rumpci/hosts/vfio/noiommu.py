"""Without an IOMMU: the kernel gives devices and interrupts, and nothing keeps DMA anywhere.

    /dev/vfio/noiommu-NUMBER   a group of one function, for who has CAP_SYS_RAWIO

A bus address is a physical address, so memory is wired and found as for `uio:` hosts.

Source: Linux, drivers/vfio/Kconfig (VFIO_NOIOMMU) and drivers/vfio/vfio_main.c.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rumpci.guard.dma.client import Client
from rumpci.guard.dma.memory import AdoptedMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.recorder import Recorder
from rumpci.host_dma import MemorySpec
from rumpci.hosts.vfio import errors
from rumpci.hosts.vfio.abi import IommuType
from rumpci.hosts.vfio.container import GroupContainer
from rumpci.machines.sysfs import SysFunction
from rumpci.machines.uio.memory import UioMemory
from rumpci.machines.uio.pages import HUGE


class NoIommuContainer(GroupContainer):
    """A group without an IOMMU, and its one function, opened at once.

    The kernel closes a killed process's files in the order of their numbers.  So the function
    comes before the memory that it writes to, and has lost bus mastering when that goes.
    """

    kind = IommuType.NOIOMMU
    prefix = errors.NOIOMMU

    def _joined(self, function: SysFunction) -> None:
        self._first: int | None = super().open_device(function)

    def open_device(self, function: SysFunction) -> int:
        """See container.Opener."""
        first, self._first = self._first, None
        return first if first is not None else super().open_device(function)

    def close(self) -> None:
        """See container.Opener."""
        first, self._first = self._first, None
        if first is not None:
            os.close(first)
        super().close()


class PhysicalMirror(Mirror):
    """The mirror of one function: what it may be told of, and nothing that keeps it there."""

    def __init__(
        self, function: SysFunction, size: int, recorder: Recorder, scatter: int | None = None,
        *, banks: int = 0,
    ) -> None:  # fmt: skip
        whole = -(-size // HUGE) * HUGE
        self.memory = UioMemory(whole, {function.address: function}, banks=banks)
        self.iommu = None
        self.adopt_min = sys.maxsize  # nothing keeps other memory where it is
        try:
            super().__init__(self, scatter, recorder)
        except BaseException:
            self.memory.close()
            raise

    def adopt(self, client: Client, address: int, spec: MemorySpec) -> AdoptedMemory:
        """See host_dma.Adopter: it always refuses."""
        return client.adopt(spec, address)

    def close(self) -> None:
        """See Mirror."""
        super().close()
        self.memory.close()


def check(tried: str, function: SysFunction, root: Path) -> None:
    """Raise unless the function can be had without an IOMMU: DeviceBusy, HostUnavailable."""
    if function.driver != "vfio-pci":
        raise errors.bound_elsewhere(tried, function)
    if not function.without_iommu:
        raise errors.has_iommu(tried, function)
    errors.check_nodes(tried, errors.group_nodes(function, root, errors.NOIOMMU))
