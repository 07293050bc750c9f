"""How a model interrupts: its INTx line, MSI and MSI-X, as its configuration space says.

Source: PCI 3.0, 6.8 (MSI, MSI-X), 6.2.2 (INTx disable), 6.2.3 (interrupt status).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rumpci import pcireg as pr
from rumpci.host import Address
from rumpci.machines.model.config import CapSpec, ModelConfig
from rumpci.machines.model.interrupts import ModelInterrupts


@dataclass(frozen=True)
class MsixSpec:
    """`count` vectors, the table at `table` and the pending bits at `pba` of BAR `bar`."""

    count: int
    bar: int
    table: int = 0
    pba: int = 0x800

    def capability(self) -> CapSpec:
        """Control word, table and PBA offsets (PCI 3.0, 6.8.2)."""
        body = struct.pack("<HII", self.count - 1, self.table | self.bar, self.pba | self.bar)
        return CapSpec(pr.PCI_CAP_MSIX, body, struct.pack("<H", 0xC000))


def msi_capability(count: int) -> CapSpec:
    """64-bit, with masking per vector; `count` is a power of two (PCI 3.0, 6.8.1)."""
    log = count.bit_length() - 1
    body = struct.pack("<HQHHII", log << 1 | 0x180, 0, 0, 0, 0, 0)
    writable = struct.pack("<HQHHI", 0x71, 0xFFFF_FFFF_FFFF_FFFC, 0xFFFF, 0, (1 << count) - 1)
    return CapSpec(pr.PCI_CAP_MSI, body, writable)


class Signals:
    """The interrupts of one plugged model."""

    def __init__(
        self, config: ModelConfig, controller: ModelInterrupts, at: Address, msix: MsixSpec | None
    ) -> None:
        self._config, self._controller, self._at = config, controller, at
        self._intx = (config.read(pr.PCI_INTERRUPT_REG) >> 8 & 0xFF) - 1
        self._msi = config.capability(pr.PCI_CAP_MSI)
        self._msix_at = config.capability(pr.PCI_CAP_MSIX)
        self.msix = msix
        self._line = False
        self._table = bytearray(b"\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0" * (msix.count if msix else 0))
        self._pending: set[int] = set()

    # ---- what a model calls ------------------------------------------------------

    def line(self, level: bool) -> None:
        """Raise or lower INTx."""
        self._line = level
        self.update()

    def message(self, vector: int) -> bool:
        """Send MSI or MSI-X `vector`; False if neither is enabled."""
        if not (self._msi_on() or self._msix_on()):
            return False
        self._pending.add(vector)
        self.update()
        return True

    # ---- what the configuration space and the table say ---------------------------

    def update(self) -> None:
        """Act on what changed: the line, and messages that waited."""
        self._config.set_interrupt_status(self._line)
        enabled = not self._config.command & pr.PCI_COMMAND_INTERRUPT_DISABLE
        if self._intx >= 0:
            quiet = self._msi_on() or self._msix_on()
            self._controller.assert_line(self._at, self._intx, self._line and enabled and not quiet)
        for vector in sorted(self._pending):
            self._try(vector)
        if self._msi:
            bits = sum(1 << vector for vector in self._pending) if self._msi_on() else 0
            self._config.set_read_only(self._msi + 0x14, bits)

    def _try(self, vector: int) -> None:
        message = self._msix_message(vector) if self._msix_on() else self._msi_message(vector)
        if message and self._config.command & pr.PCI_COMMAND_MASTER_ENABLE:
            self._pending.discard(vector)
            self._controller.send(*message)

    def _msi_on(self) -> bool:
        return bool(self._msi and self._config.read(self._msi) >> 16 & 1)

    def _msix_on(self) -> bool:
        return bool(self._msix_at and self._config.read(self._msix_at) >> 31)

    def _msi_message(self, vector: int) -> tuple[int, int] | None:
        if not self._msi_on() or self._config.read(self._msi + 0x10) >> vector & 1:
            return None
        log = self._config.read(self._msi) >> 20 & 7
        address = self._config.read(self._msi + 4) | self._config.read(self._msi + 8) << 32
        return address, self._config.read(self._msi + 0xC) & 0xFFFF | vector % (1 << log)

    def _msix_message(self, vector: int) -> tuple[int, int] | None:
        address, data, control = struct.unpack_from("<QII", self._table, 16 * vector)
        masked = control & 1 or self._config.read(self._msix_at) >> 30 & 1
        return None if masked else (address, data)

    # ---- the table and the pending bits, as registers of their BAR ------------------

    def covers(self, bar: int, offset: int) -> bool:
        """Whether a register is in the MSI-X table or the pending bits."""
        m = self.msix
        if m is None or bar != m.bar:
            return False
        pba = m.pba <= offset < m.pba + (m.count + 63) // 64 * 8
        return pba or m.table <= offset < m.table + 16 * m.count

    def read(self, offset: int, width: int) -> int:
        """A register of the table, or pending bits."""
        assert self.msix is not None  # noqa: S101
        start = offset - self.msix.table
        if 0 <= start < len(self._table):
            return int.from_bytes(self._table[start : start + width], "little")
        bits = sum(1 << vector for vector in self._pending)
        return bits >> 8 * (offset - self.msix.pba) & (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        """A register of the table; an entry that is unmasked may send what waited."""
        assert self.msix is not None  # noqa: S101
        start = offset - self.msix.table
        if 0 <= start <= len(self._table) - width:
            self._table[start : start + width] = value.to_bytes(width, "little")
            self.update()
