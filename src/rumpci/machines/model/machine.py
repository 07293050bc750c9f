"""A machine whose devices are Python objects, on one bus behind a host bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rumpci._native import Mapping
from rumpci.errors import HostRefused, MachineDied
from rumpci.host import Address, Feature, Function
from rumpci.machines.model.access import Registers
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model, Slot
from rumpci.machines.model.interrupts import FAULT, MESSAGE_BASE, ModelInterrupts
from rumpci.machines.model.memory import DEFAULT_SIZE, ModelMemory
from rumpci.machines.model.vtd import ModelVtd
from rumpci.machines.pciconf import Regions, configure
from rumpci.machines.requester import Requesters
from rumpci.machines.vtd.iommu import VtdIommu
from rumpci.machines.vtd.unit import Unit

Trace = Callable[[str, Address, int, int, int, int], None]
"""Called with "read" or "write", address, BAR, offset, width and value of every access."""

_REGIONS = Regions(io=(0x1000, 0x10000), mem=(0xC000_0000, 0xFEC0_0000), pmem=(8 << 30, 256 << 30))
_QUEUE, _DONE = 0x1000, 0x2000  # in RAM, in what is the machine's own: the IOMMU's queue
_MODELS_MAX = 31  # devices on a bus without the host bridge


class HostBridge(Model):
    """What stands at 00:00.0, so that devices start at 00:01.0 as on a PC."""

    config = ConfigSpec(vendor=0x1234, product=0xFFFD, class_=0x060000)


class ModelBar(Registers):
    """Raw access to one BAR of a model: the machine's BarAccess."""

    def __init__(self, slot: Slot, address: Address, index: int, trace: Trace | None) -> None:
        self._slot, self._address, self._index, self._trace = slot, address, index, trace

    def read(self, offset: int, width: int) -> int:
        """See BarAccess."""
        value = self._slot.read(self._index, offset, width)
        if self._trace:
            self._trace("read", self._address, self._index, offset, width, value)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """See BarAccess."""
        if self._trace:
            self._trace("write", self._address, self._index, offset, width, value)
        self._slot.write(self._index, offset, width, value)


class ModelMachine:
    """The machine of `model:` hosts, with `memory` bytes of RAM and, unless told not, an IOMMU.

    `banks` is how many banks of memory there are to hand out.
    `trace` sees every access to a BAR that is not RAM-mapped.  `unit` is the IOMMU's
    hardware, `iommu` what programs it.
    """

    features = Feature.MEMSPACE | Feature.IOSPACE | Feature.EXTCONF | Feature.TRAPPED | Feature.DMA
    reset_seconds = 0.0

    def __init__(
        self,
        models: Sequence[Model],
        url: str = "model:",
        trace: Trace | None = None,
        *,
        memory: int = DEFAULT_SIZE,
        iommu: bool = True,
        banks: int = 0,
    ) -> None:
        if len(models) > _MODELS_MAX:
            raise HostRefused(
                f"plugging in {len(models)} models",
                f"the bus has room for {_MODELS_MAX} and the host bridge",
                "use fewer",
            )
        self.url = url
        self._trace = trace
        self.interrupts = ModelInterrupts()
        self.memory = ModelMemory(memory, banks)
        self.unit: ModelVtd | None = None
        self.iommu = self._start_iommu() if iommu else None
        places = (Address(0, 0, device, 0) for device in range(32))
        self._slots = {
            at: Slot(model, self.interrupts, at, self.memory, self.unit)
            for at, model in zip(places, [HostBridge(), *models], strict=False)
        }
        if any(bar.ram for model in models for bar in model.config.bars.values()):
            self.features |= Feature.MAPPED
        self._functions = configure(self, _REGIONS)

    def _start_iommu(self) -> VtdIommu:
        """The unit, and the driver that real ones have too."""
        memory, interrupts = self.memory, self.interrupts
        self.unit = ModelVtd(memory, interrupts.send_fault)
        driver = Unit(self.unit, memory.words, queue=_QUEUE, done=_DONE, wait=_at_once)
        requesters = Requesters(lambda _bus: None, self.conf_read)
        self.features |= Feature.IOMMU
        return VtdIommu(driver, requesters, (MESSAGE_BASE, FAULT), lambda: interrupts.faults)

    def conf_read(self, address: Address, reg: int) -> int:
        """See Machine."""
        slot = self._slots.get(address)
        return slot.config.read(reg) if slot else 0xFFFF_FFFF

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """See Machine."""
        if slot := self._slots.get(address):
            slot.conf_write(reg, value)

    def functions(self) -> Sequence[Function]:
        """See Machine."""
        return self._functions

    def bar(self, address: Address, index: int) -> ModelBar:
        """See Machine."""
        return ModelBar(self._slots[address], address, index, self._trace)

    def map_bar(
        self, address: Address, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See Machine."""
        return self._slots[address].mapping(index, offset, size, at=at, writable=writable)

    def take_back(self, address: Address, index: int) -> None:
        """See machine.TakesBack."""
        self._slots[address].take_back(index)

    def model(self, address: Address) -> Model:
        """The device model at `address`, for tests that look at it from behind."""
        return self._slots[address].model

    def close(self) -> None:
        """See Machine."""
        for slot in self._slots.values():
            slot.close()
        self.interrupts.close()
        self.memory.close()


def _at_once(done: Callable[[], bool], tried: str, state: Callable[[], str]) -> None:
    """How the unit's driver waits: what a model has not done when a call returns, it never does."""
    if not done():
        raise MachineDied(tried, f"the model of the IOMMU did not: {state()}", "see its `misuse`")
