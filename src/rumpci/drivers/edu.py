"""edu: QEMU's educational device.  Source: QEMU, docs/specs/edu.rst."""

from __future__ import annotations

from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.bus_space import bus_space_unmap
from rumpci.drivers.edureg import (
    EDU_FACTORIAL,
    EDU_ID,
    EDU_ID_VALUE,
    EDU_LIVENESS,
    EDU_PRODUCT,
    EDU_SIZE,
    EDU_STATUS,
    EDU_VENDOR,
)
from rumpci.errors import DriverError
from rumpci.pci import PciAttachArgs, pci_mapreg_submap
from rumpci.pcireg import PCI_BAR0, PCI_MAPREG_TYPE_MEM

FACTORIAL_LIMIT_US = 1_000_000


class Edu(Driver):
    """Identification, liveness, and the factorial by polling."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Vendor and product."""
        return (pa.vendor, pa.product) == (EDU_VENDOR, EDU_PRODUCT)

    def attach(self, pa: PciAttachArgs) -> None:
        """Map BAR0, check who it is and that it is alive, and let it compute once."""
        pci_aprint_devinfo(self, pa)
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
        aprint_normal_dev(self, f"10! = {self.factorial(10)}")

    def detach(self) -> None:
        """Unmap."""
        bus_space_unmap(self.iot, self.ioh, self.ios)

    def alive(self, pattern: int) -> bool:
        """Whether the device inverts `pattern` (32 bits), as a live one does."""
        EDU_LIVENESS.write(self.iot, self.ioh, pattern)
        return EDU_LIVENESS.read(self.iot, self.ioh) == ~pattern & 0xFFFF_FFFF

    def factorial(self, n: int) -> int:
        """N! modulo 2**32, computed by the device.  Raises WaitTimeout, ValueTooWide."""
        EDU_FACTORIAL.write(self.iot, self.ioh, n)
        EDU_STATUS.wait(self.iot, self.ioh, FACTORIAL_LIMIT_US, COMPUTING=0)
        return int(EDU_FACTORIAL.read(self.iot, self.ioh))
