"""Devices that the guard has as models, and the core's simulated machine as its own."""

from __future__ import annotations

import struct

from rumpci import pcireg as pr
from rumpci.host import Space
from rumpci.machines.model.config import BarSpec, CapSpec, ConfigSpec, ModelConfig
from rumpci.machines.model.device import Model
from rumpci.machines.model.signals import MsixSpec, msi_capability

CAUSES, ACK = 0, 4
"""BAR 0: the causes (read); those to acknowledge (written).  All else is memory."""
_MEMORY = 1 << 16


class Device(Model):
    """Registers that keep what is written, and an interrupt: see harness/sim_bus.c.

    `w1c` are the bits of its configuration space that ones clear; all of them are set.
    `pliant` are registers that could be written as a whole, where no device lets them.
    """

    w1c: dict[int, int] = {}  # noqa: RUF012
    pliant: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.causes = 0
        self.memory = {
            bar: bytearray(min(spec.size, _MEMORY) + 8) for bar, spec in self.config.bars.items()
        }

    def read(self, bar: int, offset: int, width: int) -> int:
        if (bar, offset) == (0, CAUSES):
            return self.causes
        if offset >= len(self.memory[bar]) - 8:
            return 0
        return int.from_bytes(self.memory[bar][offset : offset + width], "little")

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        if (bar, offset) == (0, ACK):
            self.causes &= ~value
            if not self.causes:
                self.signals.line(False)
        elif offset < len(self.memory[bar]) - 8:
            self.memory[bar][offset : offset + width] = value.to_bytes(width, "little")

    def raise_(self, cause: int, vector: int) -> None:
        """Interrupt as the driver chose."""
        self.causes |= cause
        self.interrupt(True, vector)

    def quiet(self) -> None:
        """Stop."""
        self.causes = 0
        self.signals.line(False)

    def prepare(self, config: ModelConfig) -> None:
        """Set the bits that ones clear, once it is plugged in."""
        for reg, bits in self.w1c.items():
            for table, change in ((config._clear, bits), (config._value, config.read(reg) | bits)):
                table[reg : reg + 4] = change.to_bytes(4, "little")
            writable = int.from_bytes(config._writable[reg : reg + 4], "little") & ~bits
            config._writable[reg : reg + 4] = writable.to_bytes(4, "little")
        for reg in self.pliant:
            config._writable[reg : reg + 4] = b"\xff" * 4


PM, VPD, PCIE, MSI, MSIX = 0x40, 0x48, 0x50, 0x8C, 0xA4


class Full(Device):
    """All that a client could wish to write, of every kind of BAR and capability."""

    msix = MsixSpec(8, bar=3)
    w1c = {0x04: 0xF900_0000, PM + 4: 0x8000, PCIE + 8: 0x004F_0000}  # noqa: RUF012
    pliant = (pr.PCI_BHLC_REG, 0x28, 0x2C, pr.PCI_MAPREG_ROM, 0x38, 0x100, 0xFFC)
    config = ConfigSpec(
        vendor=0x1234, product=0x0002, class_=0x020000, interrupt_pin=1,
        bars={
            0: BarSpec(0x4000, width64=True, prefetchable=True),
            2: BarSpec(32, Space.IO),
            3: BarSpec(0x4000),
            4: BarSpec(1 << 32, width64=True, prefetchable=True),
        },
        capabilities=[
            CapSpec(pr.PCI_CAP_PWRMGMT, bytes(6), b"\xff" * 6),
            CapSpec(pr.PCI_CAP_VPD, bytes(6), b"\xff" * 6),
            CapSpec(pr.PCI_CAP_PCIEXPRESS, bytes(58), b"\xff" * 58),
            msi_capability(4),
            MsixSpec(8, bar=3).capability(),
        ],
    )  # fmt: skip


class Old(Device):
    """Before PCI 2.3: no INTx disable bit, no interrupt status; no capabilities."""

    config = ConfigSpec(
        vendor=0x1234, product=0x0003, class_=0x070000, interrupt_pin=2,
        bars={0: BarSpec(256), 1: BarSpec(8, Space.IO)},
    )  # fmt: skip

    def prepare(self, config: ModelConfig) -> None:
        """See above."""
        config._writable[pr.PCI_COMMAND_STATUS_REG + 1] &= ~0x04
        config.set_interrupt_status = _show_nothing  # type: ignore[method-assign]


class Table(Device):
    """The MSI-X table in the middle of a BAR, and not at a page's start; no line."""

    msix = MsixSpec(4, bar=0, table=0x2F80, pba=0x2800)
    config = ConfigSpec(
        vendor=0x1234, product=0x0004, class_=0x010802,
        bars={0: BarSpec(0x8000, width64=True)},
        capabilities=[MsixSpec(4, bar=0, table=0x2F80, pba=0x2800).capability()],
    )  # fmt: skip


class Alone(Full):
    """The same; it has a line to itself, which the first one shares with Sharing."""


class Sharing(Device):
    """On the line of the first."""

    config = ConfigSpec(
        vendor=0x1234, product=0x0006, class_=0x088000, interrupt_pin=4, bars={0: BarSpec(4096)}
    )


class Looping(Device):
    """A list of capabilities that has one twice, goes back, and has one at the end of its space."""

    config = ConfigSpec(
        vendor=0x1234, product=0x0005, class_=0x088000, interrupt_pin=4, bars={0: BarSpec(4096)}
    )

    def prepare(self, config: ModelConfig) -> None:
        """See above."""
        links = [(0x40, 1, 0x60), (0x60, 16, 0x44), (0x44, 3, 0xF8), (0xF8, 1, 0x40)]
        config._value[pr.PCI_COMMAND_STATUS_REG + 2] |= 0x10
        config._value[pr.PCI_CAPLISTPTR_REG] = 0x43  # the low bits are to be ignored
        for at, capid, link in links:
            struct.pack_into("<BB", config._value, at, capid, link)
            config._writable[at + 4 : at + 12] = b"\xff" * 8


def _show_nothing(level: bool) -> None:
    del level


MACHINES: dict[str, list[type[Device]]] = {
    "full": [Full, Old, Table, Looping, Alone, Sharing],
}
"""Machines by name; function 0 is the host bridge."""
