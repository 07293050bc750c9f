"""MSI-X on Intel's 82574L (QEMU's e1000e): five vectors, each raised by software.

    rumpci run examples/msix.py --on qemu:e1000e --show intr

Source: Intel 82574 GbE Controller Family Datasheet, 7.4 (interrupts), 10.2.4.
"""

from __future__ import annotations

from rumpci import kern
from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.errors import DriverError
from rumpci.kern import IPL_NET
from rumpci.pci import PciAttachArgs, pci_conf_read, pci_conf_write, pci_mapreg_map
from rumpci.pci_intr import (
    PciIntrHandle,
    pci_intr_establish_xname,
    pci_intr_string,
    pci_msix_alloc_exact,
)
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_COMMAND_MASTER_ENABLE,
    PCI_COMMAND_STATUS_REG,
    PCI_MAPREG_TYPE_MEM,
)
from rumpci.regs import RW, WO, Field, Register

VECTORS = 5
LIMIT_US = 20_000_000


class ICS(Register, offset=0xC8, access=WO, section="10.2.4.3"):
    """Interrupt cause set: software raises causes."""

    CAUSES = Field(24, 20)  # receive queues 0 and 1, transmit queues 0 and 1, other


class IMS(Register, offset=0xD0, access=RW, section="10.2.4.5"):
    """Interrupt mask set: causes that may interrupt."""

    CAUSES = Field(24, 20)


class EIAC(Register, offset=0xDC, access=RW, section="10.2.4.7"):
    """Causes that a message clears."""

    CAUSES = Field(24, 20)


class IVAR(Register, offset=0xE4, access=RW, section="10.2.4.8"):
    """The vector of each cause: four bits each, of which the highest says it is valid."""


class CTRL_EXT(Register, offset=0x18, access=RW, section="10.2.2.3"):  # noqa: N801
    """Extended device control."""

    EIAME = Field(24)
    PBA_SUPPORT = Field(31)


class Msix(Driver):
    """Takes five vectors, and raises each: unmasked, then masked, then unmasked again."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Vendor and product."""
        return (pa.vendor, pa.product) == (0x8086, 0x10D3)

    def attach(self, pa: PciAttachArgs) -> None:
        """Map, route cause n to vector n, and establish a handler for each."""
        pci_aprint_devinfo(self, pa)
        self.iot, self.ioh, _, _ = pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)
        self.fired = [0] * VECTORS
        self.handles = pci_msix_alloc_exact(pa, VECTORS)
        command = pci_conf_read(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG) & 0xFFFF
        command |= PCI_COMMAND_MASTER_ENABLE
        pci_conf_write(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG, command)
        for index, handle in enumerate(self.handles):
            pci_intr_establish_xname(
                pa.pa_pc, handle, IPL_NET, self.intr, index, f"{self.xname} {index}"
            )
            aprint_normal_dev(self, f"interrupting at {pci_intr_string(pa.pa_pc, handle)}")
        self.route()

    def route(self) -> None:
        """Cause n to vector n, cleared by its message (82574, 7.4.2)."""
        CTRL_EXT.modify(self.iot, self.ioh, PBA_SUPPORT=1, EIAME=1)
        vectors = sum((8 | index) << 4 * index for index in range(VECTORS))
        IVAR.write(self.iot, self.ioh, vectors)
        EIAC.write(self.iot, self.ioh, CAUSES=0x1F)
        IMS.write(self.iot, self.ioh, CAUSES=0x1F)

    def intr(self, index: int) -> bool:
        """Count, and let the cause interrupt again."""
        self.fired[index] += 1
        IMS.write(self.iot, self.ioh, CAUSES=1 << index)
        return True

    def run(self) -> None:
        """Try every vector.  Raises DriverError (EIO) for one that does not behave."""
        for index, handle in enumerate(self.handles):
            ICS.write(self.iot, self.ioh, CAUSES=1 << index)
            self.await_more(index, 0)
            others = [n for i, n in enumerate(self.fired) if i > index and n]
            if others:
                raise DriverError(f"{self.xname}: vector {index}", "others fired", "a bug")
            handle.interrupt.mask()
            kern.delay(1000)  # what came just before is handled
            before = self.fired[index]
            ICS.write(self.iot, self.ioh, CAUSES=1 << index)
            self.await_pending(index, handle, before)
            handle.interrupt.unmask()
            self.await_more(index, before)
            aprint_normal_dev(self, f"vector {index}: fired, pending while masked, fired")

    def pending(self, handle: PciIntrHandle) -> bool:
        """Whether the device holds a message back."""
        return handle.interrupt.pending()

    def await_pending(self, index: int, handle: PciIntrHandle, before: int) -> None:
        """Wait until a masked vector is pending; it does not fire.  Raises DriverError (EIO)."""
        deadline = kern.deadline(LIMIT_US)
        while not self.pending(handle) and not deadline.passed():
            kern.delay(100)
        kern.delay(1000)  # it must not fire
        if self.fired[index] != before:
            why = f"masked, it fired {self.fired[index] - before} times"
        elif not self.pending(handle):
            why = "masked, its message was lost"
        else:
            return
        raise DriverError(f"{self.xname}: vector {index}", why, "see `rumpci run --show intr`")

    def await_more(self, index: int, before: int) -> None:
        """Wait until a vector fired again.  Raises DriverError (EIO).

        It may more than once: a QEMU before 8.0 that has once held a message back, because the
        vector fired less than 128 us before, repeats each of its messages from then on.
        """
        deadline = kern.deadline(LIMIT_US)
        while self.fired[index] == before and not deadline.passed():
            kern.delay(100)
        if self.fired[index] == before:
            raise DriverError(
                f"{self.xname}: vector {index}",
                f"fired {before} times, and not again",
                "see `rumpci run --show intr`",
            )
