"""DMA of a group: memory of this process, a container in the place of an IOMMU's driver.

The mirror is the guard's (guard/dma): what is allocated, loaded and where is decided and
noted there.  What it grants becomes a map of the container, and what it revokes is unmapped.
A page's number is its offset in the memory's file; of other memory of this process, which a driver
loads as it is, it is OWN and its address.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from rumpci._dma import SharedMemory, populate
from rumpci.errors import MachineDied, NoDmaMemory
from rumpci.guard.dma.client import Client
from rumpci.guard.dma.memory import AdoptedMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.dma.placing import Placing, Translated, bus_space_of
from rumpci.guard.dma.pool import Pool
from rumpci.guard.dma.space import Space
from rumpci.guard.recorder import Recorder
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, Direction, Grant, MemorySpec
from rumpci.hosts.vfio.container import Container
from rumpci.hosts.vfio.maps import KernelMaps
from rumpci.machines.bank import make_banks
from rumpci.machines.kernellog import KernelLog
from rumpci.machines.machine import Bank, Domain, IommuFault, PageSource
from rumpci.machines.requester import source

OWN = 1 << 56
"""Above all addresses of a process."""
ADOPT_MIN = 64 << 10
"""From so many bytes on the kernel maps a driver's own memory: what is smaller is copied sooner."""


class Memory:
    """See machine.Memory: files of this process; only what is used of them takes memory.

    All of them are mapped, for the kernel to find the pages: the first, which is the
    machine's own memory, and as many `banks`, each as large.
    """

    def __init__(self, size: int, banks: int = 0) -> None:
        self.size = -(-size // PAGE_SIZE) * PAGE_SIZE
        self.usable: Sequence[tuple[int, int]] = [(0, self.size)]
        self.banks: Sequence[Bank]
        with contextlib.ExitStack() as files:
            first, *rest = make_banks(files, 1 + banks, 0, self.size)
            self.fd, self.banks = first.fd, tuple(rest)
            self._mapped = [SharedMemory(bank.fd, [(0, bank.size)]) for bank in (first, *rest)]
            self._files = files.pop_all()

    def vaddr(self, page: int) -> int:
        """Where a page is in this process."""
        if page >= OWN:
            return page - OWN
        number, offset = divmod(page, self.size)
        return self._mapped[number].address + offset

    def close(self) -> None:
        """Let the memory go."""
        self._mapped.clear()
        self._files.close()


class ContainerIommu:
    """See machine.Iommu: the container of one group.

    It has no tables that could be read: `entries` are the maps that the kernel was asked for.
    """

    name = "vfio type1"

    def __init__(
        self, container: Container, memory: Memory, kernel: KernelLog, *, lazy: bool
    ) -> None:
        self._container, self._memory, self._kernel = container, memory, kernel
        self._lazy = lazy
        self.address_bits = container.info.address_bits
        self.reserved: Sequence[tuple[int, int]] = container.info.reserved
        self._domains: dict[Address, ContainerDomain] = {}

    def start(self, pages: PageSource) -> None:
        """See machine.Iommu: the kernel has its tables, and translates already."""

    def attach(self, address: Address, pages: PageSource | None = None) -> Domain:
        """See machine.Iommu."""
        del pages
        maps = KernelMaps(self._container, self._memory.vaddr, lazy=self._lazy)
        domain = ContainerDomain(maps, lambda: self._domains.pop(address, None))
        self._domains[address] = domain
        return domain

    def requester(self, address: Address) -> int:
        """See machine.Iommu."""
        return source(address)

    def faults(self) -> list[IommuFault]:
        """See machine.Iommu; nothing where the kernel's log cannot be read."""
        return self._kernel.faults()

    def entries(self) -> Iterator[Grant]:
        """See machine.Iommu."""
        return (grant for _, grant in self.entries_from((0, 0), None))

    def entries_from(
        self, place: tuple[int, int], devices: Collection[Address] | None
    ) -> Iterator[tuple[int, Grant]]:
        """See machine.Iommu."""
        for address, domain in sorted(self._domains.items()):
            if devices is None or address in devices:
                requester = self.requester(address)
                for addr, size, page, direction in domain.maps:
                    if (requester, addr) >= place:
                        yield requester, Grant(address, addr, size, page, direction)


class ContainerDomain:
    """See machine.Domain: one function's maps; the group's others can reach them, too."""

    def __init__(self, maps: KernelMaps, on_detach: object) -> None:
        self.maps = maps
        self._on_detach = on_detach

    def grant(self, addr: int, page: int, size: int, direction: Direction) -> None:
        """See machine.Domain.

        What is only to be read the kernel pins as it is (before Linux 6.2): pages that nobody
        has written yet would be replaced by the first write, and the device not told.
        """
        if page >= OWN and direction is Direction.WRITE and not populate(page - OWN, size):
            raise NoDmaMemory(
                f"letting a device reach {size:#x} bytes at {page - OWN:#x} of this process",
                "they cannot be written",
                "copy them",
            )
        self.maps.grant(addr, page, size, direction)

    def revoke(self, ranges: Sequence[tuple[int, int]], *, wait: bool = True) -> None:
        """See machine.Domain: the kernel has waited when the request returns."""
        del wait
        try:
            for addr, size in ranges:
                self.maps.revoke(addr, addr + size)
            if not ranges:  # memory is to be freed: nothing may reach it any more
                self.maps.flush()
        except OSError as error:
            raise _stuck(error) from error

    def settle(self) -> None:
        """See machine.Domain: nothing is owed."""

    def detach(self) -> None:
        """See machine.Domain."""
        try:
            self.maps.clear()
        except OSError as error:
            raise _stuck(error) from error
        if callable(self._on_detach):
            self._on_detach()


class GroupMirror(Mirror):
    """The mirror of one group: its functions share one container, so one space of addresses."""

    def __init__(
        self,
        container: Container,
        memory: Memory,
        kernel: KernelLog,
        recorder: Recorder,
        scatter: int | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        self.memory = memory
        self.iommu = ContainerIommu(container, self.memory, kernel, lazy=lazy)
        self.adopt_min = sys.maxsize if lazy else ADOPT_MIN  # lazy, only the first load maps
        try:
            super().__init__(self, scatter, recorder)
        except BaseException:
            self.memory.close()
            raise

    @cached_property
    def _space(self) -> Space:
        return bus_space_of(self.iommu)

    def _domain(self, device: Address, pool: Pool) -> tuple[Domain, Placing]:
        """See Mirror."""
        return self.iommu.attach(device), Translated(pool, self._space)

    def adopt(self, client: Client, address: int, spec: MemorySpec) -> AdoptedMemory:
        """See host_dma.Adopter."""
        return client.adopt(spec, OWN + address)

    def close(self) -> None:
        """See Mirror."""
        super().close()
        self.memory.close()


def _stuck(error: OSError) -> MachineDied:
    return MachineDied(
        "taking memory back from a device",
        f"the kernel says: {error.strerror}",
        "see its messages (dmesg)",
    )
