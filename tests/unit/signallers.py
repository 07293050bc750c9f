"""Cards that interrupt as a test tells them, behind a guard; claims of them."""

import contextlib
import select
from collections.abc import Iterator

from rumpci import pcireg as pr
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.guard.intr import GuardInterrupt
from rumpci.host import Address, Event, IntrType
from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.model.signals import MsixSpec, msi_capability

CAUSES, ACK = 0, 4
"""BAR0: the causes (read); those to acknowledge (written)."""
COMMAND = pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE
VECTORS = 40
SHARES = 8
"""Model slots so far apart share a line."""


class Signaller(Model):
    """INTx, MSI (4 vectors) and MSI-X (40); `fire` interrupts as the driver chose."""

    msix = MsixSpec(VECTORS, bar=1)
    config = ConfigSpec(
        vendor=0x1234, product=0x0002, class_=0x088000, interrupt_pin=1,
        bars={0: BarSpec(64), 1: BarSpec(8192)},
        capabilities=(msi_capability(4), msix.capability()),
    )  # fmt: skip

    def __init__(self) -> None:
        self.causes = 0

    def fire(self, vector: int = 0, cause: int = 1) -> None:
        self.causes |= cause
        self.interrupt(True, vector)

    def quiet(self) -> None:
        self.causes = 0
        self.signals.line(False)

    def read(self, bar: int, offset: int, width: int) -> int:
        del width
        return self.causes if (bar, offset) == (0, CAUSES) else 0

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        del width
        if (bar, offset) == (0, ACK):
            self.causes &= ~value
            if not self.causes:
                self.signals.line(False)


class Raging(Signaller):
    """It asserts INTx whatever its driver does."""

    def quiet(self) -> None:
        pass

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        pass


class Bench:
    """Models in slots 1 and on, and a guard."""

    def __init__(self, models: list[Model]) -> None:
        self.models = models
        self.machine = ModelMachine(models)
        self.host = Guard(self.machine)

    def card(self, slot: int = 1) -> Signaller:
        found = self.models[slot - 1]
        assert isinstance(found, Signaller)
        return found

    def claim(self, slot: int = 1) -> GuardClaim:
        return self.host.claim(Address(0, 0, slot, 0), f"test{slot}")

    def intx(self, slot: int = 1, shim: bytes | None = None) -> GuardInterrupt:
        claim = self.claim(slot)
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE)
        (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
        interrupt.establish(shim)
        return interrupt

    def messages(self, type_: IntrType, count: int, slot: int = 1) -> list[GuardInterrupt]:
        """Allocated, and bus mastering on; not established."""
        claim = self.claim(slot)
        found = list(claim.intr_alloc(type_, range(count)))
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
        return found

    def without_disable_bit(self, slot: int) -> None:
        """Make a function as before PCI 2.3: no INTx disable, no interrupt status."""
        config = self.machine._slots[Address(0, 0, slot, 0)].config
        config._writable[pr.PCI_COMMAND_STATUS_REG + 1] &= ~0x04
        config.set_interrupt_status = _show_nothing  # type: ignore[method-assign]


def _show_nothing(level: bool) -> None:
    del level


@contextlib.contextmanager
def bench(*models: Model) -> Iterator[Bench]:
    made = Bench(list(models) or [Signaller()])
    try:
        yield made
    finally:
        made.host.close()


def ready(interrupt: GuardInterrupt) -> bool:
    """Whether its descriptor polls readable."""
    return bool(select.select([interrupt], [], [], 0)[0])


def events(interrupt: GuardInterrupt) -> list[Event]:
    """Every event, until its descriptor polls readable no more."""
    found = []
    while ready(interrupt):
        found += interrupt.read()
    return found


def count(interrupt: GuardInterrupt) -> int:
    return sum(event.count for event in events(interrupt))
