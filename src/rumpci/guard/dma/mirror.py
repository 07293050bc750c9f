"""The mirror: every allocation and every map of every client, and what the IOMMU has of them."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Collection, Iterator
from typing import Protocol

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.banks import Banks
from rumpci.guard.dma.client import Client, Quota
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.nearest import nearest
from rumpci.guard.dma.placing import Identity, NoDomain, Placing, Translated, bus_space_of
from rumpci.guard.dma.pool import Pool, Tables
from rumpci.guard.dma.space import Space
from rumpci.guard.recorder import Recorder
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, Direction, DmaInfo, DmaUsage, Fault, Grant
from rumpci.machines.machine import Domain, Iommu, IommuFault, Memory, Wired

log = logging.getLogger("rumpci.guard")
Place = tuple[int, int]
"""A requester id, and a bus address of its."""


class HasMemory(Protocol):
    """The part of a machine that this needs."""

    @property
    def memory(self) -> Memory:
        """See machine.Machine."""

    @property
    def iommu(self) -> Iommu | None:
        """See machine.Machine."""


class Mirror:
    """A machine's DMA.  With an IOMMU, nothing gets through but what clients have loaded.

    `scatter` seeds the mode in which allocations come in as many segments as they may.
    """

    def __init__(
        self, machine: HasMemory, scatter: int | None = None, recorder: Recorder | None = None
    ) -> None:
        self.lock = threading.RLock()
        self.recorder = recorder or Recorder(1)
        self.pool = Pool.of_memory(machine.memory)
        self.banks = Banks(machine.memory.banks)
        self.quota = Quota(self.pool.share)
        self.scatter = None if scatter is None else random.Random(scatter)  # noqa: S311
        self.clients: dict[Address, Client] = {}
        self._iommu = machine.iommu
        self._wired = machine.memory if isinstance(machine.memory, Wired) else None
        self._spaces: dict[Address, Space] = {}
        if self._iommu is not None:
            self._iommu.start(self.pool)

    def attach(self, device: Address, who: str, private: str | None = None) -> Client:
        """Give a function a domain with nothing in it.  Raises DeviceBusy (EBUSY).

        `private` is whose process is to get its memory, which then comes from a bank of
        theirs: then NoDmaMemory (ENOMEM) if there is none.
        """
        with self.lock:
            self.collect()  # what was blocked until now was the last client's
            pool = self.pool if private is None else self.banks.take(private, device)
            try:
                domain, placing = self._domain(device, pool)
            except BaseException:
                self.banks.give(pool)
                raise
            self.clients[device] = client = Client(self, device, who, domain, placing)
            return client

    def _domain(self, device: Address, pool: Pool) -> tuple[Domain, Placing]:
        """A domain, and how memory of `pool` is placed in it; its tables are never in a bank."""
        iommu = self._iommu
        if iommu is None:
            pools, wired = [self.pool, *self.banks.pools()], self._wired
            return NoDomain(wired), Identity(pool, device, pools, wired)
        space = self._spaces.get(device) or bus_space_of(iommu)
        self._spaces[device] = space  # kept: what is old is used last by the next client
        return iommu.attach(device, Tables(self.pool)), Translated(pool, space)

    def detach(self, client: Client, *, quiet: bool) -> None:
        """Take everything from a client; `quiet`: its device was shown to be still."""
        with self.lock:
            try:
                client.close(quiet=quiet)
            finally:
                self.banks.give(client.pool)
            if self.clients.get(client.device) is client:
                del self.clients[client.device]

    # ---- faults ------------------------------------------------------------------

    def collect(self) -> None:
        """Give the faults since the last time to those who caused them, and report them."""
        iommu = self._iommu
        if iommu is None:
            return
        with self.lock:
            for found in iommu.faults():
                client = self._client_of(iommu, found.source)
                fault = self._describe(found, client)
                log.warning("%s", fault)
                self.recorder.fault(fault)
                if client:
                    client.faults.append(fault)

    def _client_of(self, iommu: Iommu, source: int) -> Client | None:
        clients = self.clients.values()
        return next((c for c in clients if iommu.requester(c.device) == source), None)

    def _describe(self, found: IommuFault, client: Client | None) -> Fault:
        source = found.source
        device = Address(0, source >> 8, source >> 3 & 0x1F, source & 7)
        verb = "write" if found.write else "read"
        near = nearest(client, found.addr, found.write) if client else ""
        who = client.who if client else ""
        where = client.device if client else device
        return Fault(where, who, found.addr, verb, found.reason, near, found.lost)

    # ---- listings -----------------------------------------------------------------

    def rows(self) -> list[DmaInfo]:
        """See host.Host.dma."""
        with self.lock:
            self.collect()
            return [row for _, client in sorted(self.clients.items()) for row in client.rows()]

    def objects(self, devices: Collection[Address] | None) -> list[GuardMemory | GuardMap]:
        """Every allocation and map of these functions (None: of all), in no order.

        It takes no longer for what they are: their `info` can be asked for little by little.
        """
        with self.lock:
            self.collect()
            clients = [c for d, c in self.clients.items() if devices is None or d in devices]
            found = list[GuardMemory | GuardMap]()
            for client in clients:
                found += client.memories
                found += client.maps
            return found

    def usage(self) -> list[DmaUsage]:
        """See host.Host.dma_usage."""
        with self.lock:
            return [client.usage() for _, client in sorted(self.clients.items())]

    def grants(self) -> list[Grant]:
        """See host.Host.iommu."""
        with self.lock:
            return list(self._iommu.entries()) if self._iommu else []

    def grants_from(
        self, place: Place, most: int, devices: Collection[Address] | None
    ) -> tuple[list[Grant], Place | None]:
        """Up to `most` leaves of these functions (None: of all) from (requester id, address) on.

        And the place where the next one is; None if these are the last.
        """
        with self.lock:
            entries = self._iommu.entries_from(place, devices) if self._iommu else iter(())
            found = list(itertools.islice(entries, most + 1))
        if len(found) <= most:
            return [grant for _, grant in found], None
        requester, following = found.pop()
        return [grant for _, grant in found], (requester, following.addr)

    def check(self) -> list[str]:
        """See host.Host.dma_check: what the tables grant and the mirror does not, or otherwise."""
        with self.lock:
            wrong = [*self._check_pages(), *self._check_places()]
            if self._iommu is None:
                return wrong
            expected, real = self._expected(), _pages(self._iommu.entries())
            differ = (k for k in expected.keys() | real.keys() if expected.get(k) != real.get(k))
            return wrong + [_difference(k, expected.get(k), real.get(k)) for k in sorted(differ)]

    def _expected(self) -> dict[Key, Value]:
        """Every page that the mirror says is granted."""
        found: dict[Key, Value] = {}
        for device, client in self.clients.items():
            for memory in client.memories:
                for (_, addr, page, size), direction in memory.granted():
                    for at in range(0, size, PAGE_SIZE):
                        found[device, addr + at] = page + at, direction
        return found

    def _check_pages(self) -> Iterator[str]:
        """Pages that two allocations have."""
        owners: dict[int, str] = {}
        for client in self.clients.values():
            for memory in client.memories:
                name = memory.spec.name
                for start, size in memory.place.runs:
                    for page in range(start, start + size, PAGE_SIZE):
                        if page in owners:
                            yield f"page {page:#x} has two owners: {owners[page]}, {name}"
                        owners[page] = name

    def _check_places(self) -> Iterator[str]:
        """Memory that is no longer where it was."""
        if self._wired is None:
            return
        for client in self.clients.values():
            for memory in client.memories:
                for start, size in memory.place.runs:
                    try:
                        self._wired.check(start, size)
                    except NoDmaMemory as error:
                        yield f"{memory.spec.name}: {error}"

    def close(self) -> None:
        """Let the memory go."""
        self.banks.close()
        self.pool.close()


Key = tuple[Address, int]
Value = tuple[int, Direction]


def _pages(entries: Iterator[Grant]) -> dict[Key, Value]:
    """Leaves as pages of 4 KiB."""
    return {
        (grant.device, grant.addr + at): (grant.page + at, grant.direction)
        for grant in entries
        for at in range(0, grant.size, PAGE_SIZE)
    }


def _difference(key: Key, mirror: Value | None, tables: Value | None) -> str:
    def text(value: Value | None) -> str:
        return f"page {value[0]:#x} for {value[1].name}" if value else "nothing"

    return f"{key[0]} {key[1]:#x}: the mirror has {text(mirror)}, the tables {text(tables)}"
