"""Configuration space from a declaration: every bit read-only, writable or clear-by-one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from rumpci import pcireg as pr
from rumpci.host import Space


@dataclass(frozen=True)
class BarSpec:
    """A base address register: `size` is a power of two, at least 16 (memory) or 4 (I/O).

    `ram` makes it plain memory that can be mapped, with no handler calls.
    """

    size: int
    space: Space = Space.MEM
    width64: bool = False
    prefetchable: bool = False
    ram: bool = False


@dataclass(frozen=True)
class CapSpec:
    """A capability: its id, the bytes after the id and next pointer, and which are writable."""

    id: int
    body: bytes
    writable: bytes = b""


@dataclass(frozen=True)
class ConfigSpec:
    """What a device declares about itself; `class_` is class, subclass and interface (24 bits)."""

    vendor: int
    product: int
    class_: int
    revision: int = 0
    header: int = 0
    subsystem: int = 0
    interrupt_pin: int = 0
    bars: dict[int, BarSpec] = field(default_factory=dict)
    capabilities: Sequence[CapSpec] = ()


_COMMAND_WRITABLE = 0x0547  # I/O, memory, master, parity, SERR, INTx disable
_STATUS_CLEAR = 0xF900


class ModelConfig:
    """4 KiB of configuration space that behaves: masks, BAR sizing, write-one-to-clear."""

    def __init__(self, spec: ConfigSpec) -> None:
        self._value = bytearray(pr.PCI_EXTCONF_SIZE)
        self._writable = bytearray(pr.PCI_EXTCONF_SIZE)
        self._clear = bytearray(pr.PCI_EXTCONF_SIZE)
        struct.pack_into("<HH", self._value, 0, spec.vendor, spec.product)
        struct.pack_into("<I", self._value, pr.PCI_CLASS_REG, spec.class_ << 8 | spec.revision)
        self._value[pr.PCI_BHLC_REG + 2] = spec.header
        struct.pack_into("<I", self._value, pr.PCI_SUBSYS_ID_REG, spec.subsystem)
        self._value[pr.PCI_INTERRUPT_REG + 1] = spec.interrupt_pin
        struct.pack_into("<HH", self._writable, pr.PCI_COMMAND_STATUS_REG, _COMMAND_WRITABLE, 0)
        struct.pack_into("<HH", self._clear, pr.PCI_COMMAND_STATUS_REG, 0, _STATUS_CLEAR)
        self._writable[pr.PCI_BHLC_REG : pr.PCI_BHLC_REG + 2] = b"\xff\xff"
        self._writable[pr.PCI_INTERRUPT_REG] = 0xFF
        for index, bar in spec.bars.items():
            self._add_bar(index, bar)
        self._add_capabilities(spec.capabilities)

    def _add_bar(self, index: int, bar: BarSpec) -> None:
        reg = pr.PCI_BAR0 + 4 * index
        mask = -bar.size & (1 << 64) - 1
        bits = pr.PCI_MAPREG_TYPE_IO if bar.space is Space.IO else 0
        bits |= pr.PCI_MAPREG_MEM_TYPE_64BIT if bar.width64 else 0
        bits |= pr.PCI_MAPREG_MEM_PREFETCHABLE_MASK if bar.prefetchable else 0
        self._value[reg] = bits
        width = 8 if bar.width64 else 4
        self._writable[reg : reg + width] = mask.to_bytes(8, "little")[:width]

    def _add_capabilities(self, specs: Sequence[CapSpec]) -> None:
        at, link = 0x40, pr.PCI_CAPLISTPTR_REG
        for spec in specs:
            self._value[pr.PCI_COMMAND_STATUS_REG + 2] |= 0x10
            self._value[link] = at
            self._value[at] = spec.id
            self._value[at + 2 : at + 2 + len(spec.body)] = spec.body
            self._writable[at + 2 : at + 2 + len(spec.writable)] = spec.writable
            link, at = at + 1, (at + 2 + len(spec.body) + 3) & ~3

    def read(self, reg: int) -> int:
        """The dword at `reg`."""
        return int.from_bytes(self._value[reg : reg + 4], "little")

    def write(self, reg: int, value: int) -> None:
        """Write the dword at `reg`, as its bits allow."""
        writable = int.from_bytes(self._writable[reg : reg + 4], "little")
        clear = int.from_bytes(self._clear[reg : reg + 4], "little") & value
        new = (self.read(reg) & ~writable | value & writable) & ~clear
        self._value[reg : reg + 4] = new.to_bytes(4, "little")

    def capability(self, capid: int) -> int:
        """The offset of a capability; 0 if there is none."""
        at = self._value[pr.PCI_CAPLISTPTR_REG]
        while at and self._value[at] != capid:
            at = self._value[at + 1]
        return at

    def set_interrupt_status(self, level: bool) -> None:
        """Show in the status register whether INTx is asserted."""
        status = self._value[pr.PCI_COMMAND_STATUS_REG + 2]
        self._value[pr.PCI_COMMAND_STATUS_REG + 2] = status & ~0x08 | (0x08 if level else 0)

    def set_read_only(self, reg: int, value: int) -> None:
        """Set what the dword at `reg` shows."""
        self._value[reg : reg + 4] = value.to_bytes(4, "little")

    @property
    def command(self) -> int:
        """The command register."""
        return self.read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
