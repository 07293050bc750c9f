"""A base address register at the prompt: bar0.read4(0x8), bar0.write4(0x8, 1)."""

from __future__ import annotations

from typing import NoReturn

from rumpci.bus_space import READS, WRITES, BusSpaceHandle, BusSpaceTag
from rumpci.errors import BadAccess
from rumpci.host import Bar
from rumpci.pci import PciAttachArgs, pci_mapreg_map, pci_mapreg_type
from rumpci.pcireg import PCI_BAR0
from rumpci.shell.record import Access, Record


class BarAccess:
    """One BAR of the device, mapped when it is first used.

    Offsets are in bytes; each call is one access of its width (1, 2, 4, 8 bytes).
    """

    def __init__(self, pa: PciAttachArgs, bar: Bar, record: Record) -> None:
        self.bar, self.record = bar, record
        self._pa = pa
        self._mapped: tuple[BusSpaceTag, BusSpaceHandle] | None = None

    def map(self) -> tuple[BusSpaceTag, BusSpaceHandle]:
        """The tag and the handle of the whole BAR.  Raises as pci_mapreg_map."""
        if self._mapped is None:
            reg = PCI_BAR0 + 4 * self.bar.index
            type_ = pci_mapreg_type(self._pa.pa_pc, self._pa.pa_tag, reg)
            self._mapped = pci_mapreg_map(self._pa, reg, type_)[:2]
        return self._mapped

    @property
    def tag(self) -> BusSpaceTag:
        """Its bus_space tag."""
        return self.map()[0]

    @property
    def handle(self) -> BusSpaceHandle:
        """Its bus_space handle."""
        return self.map()[1]

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.bar.size

    def note(self, access: Access) -> None:
        """Record an access that was made."""
        self.record.access(access)

    def _read(self, width: int, offset: int) -> int:
        value = READS[width](self.tag, self.handle, offset)
        self.note(Access(self.bar.index, False, width, offset, value))
        return value

    def _write(self, width: int, offset: int, value: int) -> None:
        WRITES[width](self.tag, self.handle, offset, value)
        self.note(Access(self.bar.index, True, width, offset, value))

    def read1(self, offset: int) -> int:
        """Read 8 bits.  Raises as bus_space_read_1."""
        return self._read(1, offset)

    def read2(self, offset: int) -> int:
        """Read 16 bits.  Raises as bus_space_read_2."""
        return self._read(2, offset)

    def read4(self, offset: int) -> int:
        """Read 32 bits.  Raises as bus_space_read_4."""
        return self._read(4, offset)

    def read8(self, offset: int) -> int:
        """Read 64 bits.  Raises as bus_space_read_8."""
        return self._read(8, offset)

    def write1(self, offset: int, value: int) -> None:
        """Write 8 bits.  Raises as bus_space_write_1."""
        self._write(1, offset, value)

    def write2(self, offset: int, value: int) -> None:
        """Write 16 bits.  Raises as bus_space_write_2."""
        self._write(2, offset, value)

    def write4(self, offset: int, value: int) -> None:
        """Write 32 bits.  Raises as bus_space_write_4."""
        self._write(4, offset, value)

    def write8(self, offset: int, value: int) -> None:
        """Write 64 bits.  Raises as bus_space_write_8."""
        self._write(8, offset, value)

    def __getitem__(self, where: object) -> NoReturn:
        raise self._no_array(where)

    def __setitem__(self, where: object, value: object) -> NoReturn:
        raise self._no_array(where)

    def _no_array(self, where: object) -> BadAccess:
        return BadAccess(
            f"bar{self.bar.index}[{where}]",
            "a register is no memory: how wide and how many accesses that is, nobody can tell",
            f"use bar{self.bar.index}.read4(offset) and write4(offset, value)",
        )

    def __repr__(self) -> str:
        bar = self.bar
        used = "mapped" if self._mapped else "not mapped yet"
        return f"<bar{bar.index}: {bar.space.value}, {bar.size:#x} bytes, {used}>"
