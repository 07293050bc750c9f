"""edu: QEMU's educational device.  Source: QEMU, docs/specs/edu.rst.

How it interrupts is a property: `intr=msi` (the default where it has MSI),
`intr=intx`, `intr=shim` (INTx, acknowledged by a shim), `intr=poll`.
"""

from __future__ import annotations

from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.bus_space import bus_space_unmap
from rumpci.drivers.edureg import (
    EDU_FACTORIAL,
    EDU_ID,
    EDU_ID_VALUE,
    EDU_INTR_ACK,
    EDU_INTR_RAISE,
    EDU_INTR_STATUS,
    EDU_LIVENESS,
    EDU_PRODUCT,
    EDU_SIZE,
    EDU_STATUS,
    EDU_VENDOR,
)
from rumpci.errors import BadRange, DriverError
from rumpci.kern import (
    IPL_NET,
    cv_broadcast,
    cv_init,
    cv_timedwait,
    hz,
    mutex_enter,
    mutex_exit,
    mutex_init,
)
from rumpci.pci import PciAttachArgs, pci_conf_read, pci_conf_write, pci_mapreg_submap
from rumpci.pci_intr import (
    Handler,
    pci_intr_disestablish,
    pci_intr_establish_xname,
    pci_intr_event,
    pci_intr_map,
    pci_intr_string,
    pci_msi_alloc,
    pci_msi_count,
)
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_COMMAND_MASTER_ENABLE,
    PCI_COMMAND_STATUS_REG,
    PCI_MAPREG_TYPE_MEM,
)
from rumpci.shim import Shim

FACTORIAL_LIMIT_US = 1_000_000
SHIM = (
    Shim().read(EDU_INTR_STATUS).notz().store(0).write_a(EDU_INTR_ACK).deliver()
)  # read, acknowledge what was read, deliver it


class Edu(Driver):
    """Identification, liveness, and the factorial by polling and by interrupt."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Vendor and product."""
        return (pa.vendor, pa.product) == (EDU_VENDOR, EDU_PRODUCT)

    def attach(self, pa: PciAttachArgs) -> None:
        """Map BAR0, check who it is and that it is alive, and let it compute."""
        pci_aprint_devinfo(self, pa)
        self.pc = pa.pa_pc
        self.ih: Handler | None = None
        self.iot, self.ioh, _, self.ios = pci_mapreg_submap(
            pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM, maxsize=EDU_SIZE
        )
        identity = EDU_ID.read(self.iot, self.ioh)
        if identity != EDU_ID_VALUE:
            raise DriverError(
                f"attaching {self.xname}", f"EDU_ID is {identity}", "is BAR0 decoded (rumpci show)?"
            )
        version = f"{identity.MAJOR}.{identity.MINOR}"
        alive = "ok" if self.alive(0x1234_5678) else "FAILED"
        aprint_normal_dev(self, f"id {int(identity):#010x} (version {version}), liveness {alive}")
        self.establish(pa)
        aprint_normal_dev(self, f"10! = {self.factorial(10)}")

    def detach(self) -> None:
        """Stop interrupts and unmap."""
        if self.ih:
            EDU_STATUS.write(self.iot, self.ioh)
            pci_intr_disestablish(self.pc, self.ih)
        bus_space_unmap(self.iot, self.ioh, self.ios)

    def alive(self, pattern: int) -> bool:
        """Whether the device inverts `pattern` (32 bits), as a live one does."""
        EDU_LIVENESS.write(self.iot, self.ioh, pattern)
        return EDU_LIVENESS.read(self.iot, self.ioh) == ~pattern & 0xFFFF_FFFF

    # ---- interrupts ---------------------------------------------------------------

    def establish(self, pa: PciAttachArgs) -> None:
        """Establish the interrupt that the property `intr` names.  Raises BadRange (EINVAL)."""
        how = self.properties.get("intr", "msi" if pci_msi_count(pa) else "intx")
        if how not in ("msi", "intx", "shim", "poll"):
            raise BadRange(f"{self.xname}: intr={how}", "unknown", "use msi, intx, shim or poll")
        self.causes, self.done = 0, False
        self.lock, self.cv = mutex_init(IPL_NET), cv_init("edufact")
        if how == "poll":
            return
        if how == "msi":
            (handle,) = pci_msi_alloc(pa, 1)
            command = pci_conf_read(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG) & 0xFFFF
            command |= PCI_COMMAND_MASTER_ENABLE
            pci_conf_write(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG, command)
        else:
            handle = pci_intr_map(pa)
        shim = SHIM if how == "shim" else None
        self.ih = pci_intr_establish_xname(
            pa.pa_pc, handle, IPL_NET, self.intr, None, self.xname, shim
        )
        EDU_STATUS.write(self.iot, self.ioh, IRQFACT=1)
        with_shim = ", acknowledged by a shim" if shim else ""
        aprint_normal_dev(self, f"interrupting at {pci_intr_string(pa.pa_pc, handle)}{with_shim}")

    def intr(self, arg: object) -> bool:
        """Take the causes, from the event if the shim did; wake who waits for the factorial."""
        del arg
        event = pci_intr_event(self.ih) if self.ih else None
        if event and event.status:
            causes = event.status[0]
        else:
            causes = int(EDU_INTR_STATUS.read(self.iot, self.ioh))
            EDU_INTR_ACK.write(self.iot, self.ioh, causes)
        self.causes |= causes
        if EDU_INTR_STATUS(causes).FACTORIAL:
            self.done = True
            cv_broadcast(self.cv)
        return bool(causes)

    def raise_intr(self, causes: int) -> None:
        """Have the device interrupt with these bits (32)."""
        EDU_INTR_RAISE.write(self.iot, self.ioh, causes)

    # ---- the factorial --------------------------------------------------------------

    def factorial(self, n: int) -> int:
        """N! modulo 2**32, computed by the device.  Raises WaitTimeout, ValueTooWide."""
        if self.ih:
            return self.factorial_intr(n)
        EDU_FACTORIAL.write(self.iot, self.ioh, n)
        EDU_STATUS.wait(self.iot, self.ioh, FACTORIAL_LIMIT_US, COMPUTING=0)
        return int(EDU_FACTORIAL.read(self.iot, self.ioh))

    def factorial_intr(self, n: int) -> int:
        """The same, asleep until the device interrupts."""
        mutex_enter(self.lock)
        try:
            self.done = False
            EDU_FACTORIAL.write(self.iot, self.ioh, n)
            while not self.done:
                cv_timedwait(self.cv, self.lock, FACTORIAL_LIMIT_US * hz // 1_000_000)
            return int(EDU_FACTORIAL.read(self.iot, self.ioh))
        finally:
            mutex_exit(self.lock)
