"""The smallest driver: match a device, map its registers, read one.

Run it with `rumpci run examples/first.py --on qemu:edu`.
"""

from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.bus_space import bus_space_read_4
from rumpci.pci import PciAttachArgs, pci_mapreg_map
from rumpci.pcireg import PCI_BAR0, PCI_MAPREG_TYPE_MEM


class First(Driver):
    """Reads the identification register of QEMU's educational device."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Vendor and product."""
        return (pa.vendor, pa.product) == (0x1234, 0x11E8)

    def attach(self, pa: PciAttachArgs) -> None:
        """Map BAR0 and read 32 bits at offset 0."""
        pci_aprint_devinfo(self, pa)
        iot, ioh, _, _ = pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)
        aprint_normal_dev(self, f"register 0 is {bus_space_read_4(iot, ioh, 0):#010x}")
