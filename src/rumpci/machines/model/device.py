"""What a device model is: a declaration, and a handler for each access to a BAR.

    class Blinker(Model):
        '''A lamp: BAR0 offset 0, bit 0.'''

        config = ConfigSpec(0x1234, 0x0001, 0x088000, bars={0: BarSpec(4096)})
        lamp = 0

        def read(self, bar, offset, width):
            return self.lamp if offset == 0 else 0

        def write(self, bar, offset, width, value):
            if offset == 0:
                self.lamp = value & 1

Open it with `model:blinker.py`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import ClassVar

from rumpci._native import Mapping
from rumpci.host import Address, Space
from rumpci.machines.model.busmaster import BusMaster
from rumpci.machines.model.config import ConfigSpec, ModelConfig
from rumpci.machines.model.interrupts import ModelInterrupts
from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.signals import MsixSpec, Signals
from rumpci.machines.model.vtd import ModelVtd

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Model:
    """One device.  Subclass it, declare `config`, and handle `read` and `write`.

    Properties of the URL (`model:NAME,key=value`) arrive as keyword arguments,
    as text.  Once it is plugged in, `dma` reads and writes the machine's memory.
    """

    config: ClassVar[ConfigSpec]
    msix: ClassVar[MsixSpec | None] = None
    signals: Signals
    dma: BusMaster

    def read(self, bar: int, offset: int, width: int) -> int:
        """One read by the driver; return the `width` bytes as a number."""
        del bar, offset, width
        return 0

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """One write by the driver."""

    def interrupt(self, level: bool, vector: int = 0) -> None:
        """Interrupt as the driver chose: a message when `level` rises, or the INTx line."""
        sent = level and self.signals.message(vector)
        self.signals.line(level and not sent)


class Slot:
    """A model plugged in: its configuration space and the memory of its RAM BARs."""

    def __init__(
        self,
        model: Model,
        controller: ModelInterrupts,
        at: Address,
        memory: ModelMemory,
        unit: ModelVtd | None,
    ) -> None:
        self.model = model
        self.config = ModelConfig(model.config)
        self.signals = model.signals = Signals(self.config, controller, at, model.msix)
        model.dma = BusMaster(self.config, at, memory, unit)
        self._ram: dict[int, tuple[int, mmap.mmap]] = {}
        self._read_only: dict[int, int] = {}
        for index, bar in model.config.bars.items():
            if bar.ram:
                self._make_ram(index, bytes(max(bar.size, mmap.PAGESIZE)))

    def _make_ram(self, index: int, content: bytes) -> None:
        """The memory of a RAM BAR: a file that nobody who gets it can make smaller."""
        fd = os.memfd_create(f"rumpci-bar{index}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, len(content))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        ram = mmap.mmap(fd, len(content))
        ram[:] = content
        self._ram[index] = fd, ram
        self._read_only[index] = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)

    def take_back(self, index: int) -> None:
        """See machine.TakesBack: the BAR gets a new file."""
        fd, ram = self._ram[index]
        read_only, content = self._read_only[index], ram[:]
        self._make_ram(index, content)
        ram.close()
        os.close(fd)
        os.close(read_only)

    def decodes(self, bar: int) -> bool:
        """Whether the command register lets this BAR answer."""
        io = self.model.config.bars[bar].space is Space.IO
        return bool(self.config.command & (1 if io else 2))

    def read(self, bar: int, offset: int, width: int) -> int:
        """One read; ones where nothing answers."""
        if not self.decodes(bar):
            return (1 << 8 * width) - 1
        if bar in self._ram:
            return int.from_bytes(self._ram[bar][1][offset : offset + width], "little")
        if self.signals.covers(bar, offset):
            return self.signals.read(offset, width)
        return self.model.read(bar, offset, width) & (1 << 8 * width) - 1

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """One write; nothing where nothing answers."""
        if not self.decodes(bar):
            return
        if bar in self._ram:
            self._ram[bar][1][offset : offset + width] = value.to_bytes(width, "little")
        elif self.signals.covers(bar, offset):
            self.signals.write(offset, width, value)
        else:
            self.model.write(bar, offset, width, value)

    def conf_write(self, reg: int, value: int) -> None:
        """Write configuration space, which may let an interrupt through."""
        self.config.write(reg, value)
        self.signals.update()

    def mapping(
        self, bar: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """Part of a RAM BAR as memory; None for one with handlers."""
        if bar not in self._ram:
            return None
        fd, ram = self._ram[bar]
        fd = fd if writable else self._read_only[bar]
        return Mapping(memoryview(ram)[offset : offset + size], at, fd=fd, fd_offset=offset)

    def close(self) -> None:
        """Give the memory back; every mapping of it must be revoked."""
        for fd, ram in self._ram.values():
            ram.close()
            os.close(fd)
        for fd in self._read_only.values():
            os.close(fd)
        self._ram.clear()
        self._read_only.clear()
