"""Configuration space at the prompt."""

from __future__ import annotations

from collections.abc import Callable

from rumpci import pcireg as pr
from rumpci.pci import PciAttachArgs, pci_conf_read, pci_conf_write
from rumpci.shell.record import Access, Record
from rumpci.shell.text import Text


class Conf:
    """`conf.read(reg)`, `conf.write(reg, value)` of 32 bits; `conf.show()`, or `conf`, decodes."""

    def __init__(self, pa: PciAttachArgs, record: Record, decoded: Callable[[], list[str]]) -> None:
        self._pa, self._record, self._decoded = pa, record, decoded

    def read(self, reg: int) -> int:
        """The 32 bits at `reg`.  Raises as pci_conf_read."""
        value = pci_conf_read(self._pa.pa_pc, self._pa.pa_tag, reg)
        self._record.access(Access(None, False, 4, reg, value))
        return value

    def write(self, reg: int, value: int) -> None:
        """Write 32 bits; those that are not a driver's stay.  Raises as pci_conf_write."""
        pci_conf_write(self._pa.pa_pc, self._pa.pa_tag, reg, value)
        self._record.access(Access(None, True, 4, reg, value))

    def show(self) -> Text:
        """Every register and capability, by name and field."""
        return Text("\n".join(self._decoded()))

    def __repr__(self) -> str:
        return self.show()


def set_master(pa: PciAttachArgs) -> None:
    """Let the device be a bus master, as DMA and messages need."""
    reg = pr.PCI_COMMAND_STATUS_REG
    command = pci_conf_read(pa.pa_pc, pa.pa_tag, reg) & 0xFFFF
    pci_conf_write(pa.pa_pc, pa.pa_tag, reg, command | pr.PCI_COMMAND_MASTER_ENABLE)
