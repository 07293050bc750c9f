"""bus_dma(9) as a whole, on every host: random calls, good and bad (dma_machine.py), and a model.

After every step the mirror says what the model says, and agrees with the IOMMU's tables.
On a model machine a device then reads and writes where it may and where it may not.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from rumpci._dma import SharedMemory
from rumpci.guard import Guard
from rumpci.host import Address, Claim, Host
from rumpci.hosts import open_host
from rumpci.machines.model.machine import ModelMachine
from tests.pci4_served import served
from tests.qemu.needs import qemu

from .dma_machine import BusDma
from .dma_memories import Probe


class OnModel(BusDma):
    scatter: int | None = None

    def open(self) -> Guard:
        return Guard(ModelMachine([Probe()], memory=16 << 20), scatter=self.scatter)

    def find_probe(self) -> Probe:
        function = next(f for f in self.host.functions() if not f.is_bridge)
        machine = self.host.machine
        assert isinstance(machine, ModelMachine)
        model = machine.model(function.address)
        assert isinstance(model, Probe)
        return model


class Scattered(OnModel):
    scatter = 7


class WithoutIommu(OnModel):
    def open(self) -> Guard:
        return Guard(ModelMachine([Probe()], memory=16 << 20, iommu=False))


class Private(OnModel):
    """All memory is in a bank that could be handed to another process."""

    private = "uid 1000"
    scatter = 5

    def open(self) -> Guard:
        machine = ModelMachine([Probe()], memory=16 << 20, banks=1)
        return Guard(machine, scatter=self.scatter)

    @invariant()
    def nothing_is_in_the_shared_memory(self) -> None:
        bank = self.host.machine.memory.banks[0]
        views = [kva.obj for memory in self.all_memories for kva in memory.kvas]
        assert all(view.fd == bank.fd for view in views if isinstance(view, SharedMemory))
        assert all(bank.start <= grant.page < bank.start + bank.size for grant in self.host.iommu())


class Served(OnModel):
    """A client of a guard's server; what is compared is the guard's own."""

    url: str | None = None

    def open(self) -> Guard:
        if self.url is None:
            return Guard(ModelMachine([Probe()], memory=16 << 20, banks=1), scatter=5)
        host = open_host(self.url)
        assert isinstance(host, Guard)
        return host

    def take(self, address: Address) -> Claim:
        url = self.stack.enter_context(served(self.host))
        self.client = self.stack.enter_context(contextlib.closing(open_host(url)))
        return self.client.claim(address, "test0")

    @invariant()
    def the_client_is_told_the_same(self) -> None:
        assert self.client.dma() == self.host.dma()
        assert self.client.dma_check() == []
        assert [g[:3] for g in self.grants(self.client)] == [g[:3] for g in self.grants(self.host)]

    def grants(self, host: Host) -> list[tuple[Any, ...]]:
        return [(g.device, g.addr, g.size, g.direction) for g in host.iommu()]


class ServedOnQemu(Served):
    url = "qemu:edu?banks=1&scatter=3"

    def find_probe(self) -> Probe | None:  # type: ignore[override]
        return None


class OnQemu(BusDma):
    def open(self) -> Guard:
        host = open_host("qemu:edu?scatter=3")
        assert isinstance(host, Guard)
        return host


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
TestOnModel = OnModel.TestCase
TestOnModel.settings = settings(max_examples=250, deadline=None, suppress_health_check=QUIET)
TestScattered = Scattered.TestCase
TestScattered.settings = settings(max_examples=250, deadline=None, suppress_health_check=QUIET)
TestPrivate = Private.TestCase
TestPrivate.settings = settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
TestServed = Served.TestCase
TestServed.settings = settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
TestServedOnQemu = qemu(ServedOnQemu.TestCase)
TestServedOnQemu.settings = settings(max_examples=4, deadline=None, suppress_health_check=QUIET)
TestWithoutIommu = WithoutIommu.TestCase
TestWithoutIommu.settings = settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
TestOnQemu = qemu(OnQemu.TestCase)
TestOnQemu.settings = settings(max_examples=12, deadline=None, suppress_health_check=QUIET)
