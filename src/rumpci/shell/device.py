"""The claimed device, and the names that the prompt has for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rumpci.bus_dma import bus_dma_faults
from rumpci.host import Function
from rumpci.pci import PciAttachArgs, pci_devinfo
from rumpci.shell import memory
from rumpci.shell.access import BarAccess
from rumpci.shell.conf import Conf
from rumpci.shell.interrupts import Interrupts
from rumpci.shell.memory import Memory
from rumpci.shell.record import Record
from rumpci.shell.registers import Registers, Table
from rumpci.shell.save import save
from rumpci.shell.text import Text, dump
from rumpci.tools import show
from rumpci.tools.common import bar_text

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Device:
    """A device that is held for a prompt; `names` are what can be typed there.

    Raises BadRange (EINVAL) for a table whose BAR the device has not.
    """

    def __init__(self, pa: PciAttachArgs, function: Function, tables: Iterable[Table]) -> None:
        self.pa, self.function, self.tables = pa, function, list(tables)
        self.record = Record()
        self.bars = {bar.index: BarAccess(pa, bar, self.record) for bar in function.bars}
        self.regs = Registers(self.tables, self.bars)
        self.conf = Conf(pa, self.record, lambda: list(show.lines(pa.pa_pc.host, function)))
        self.interrupts = Interrupts(pa)

    @property
    def names(self) -> dict[str, object]:
        """What can be typed: pa, bar0..., regs, conf, and the functions."""
        functions: tuple[Callable[..., object], ...] = (
            self.dma, self.intr, self.wait_intr, self.faults, self.hexdump, self.show, self.save,
        )  # fmt: skip
        return {
            "pa": self.pa,
            "regs": self.regs,
            "conf": self.conf,
            **{f"bar{index}": bar for index, bar in self.bars.items()},
            **{function.__name__: function for function in functions},
        }

    def dma(self, size: int, below: int = 1 << 32) -> Memory:
        """Zeroed memory that the device reaches: `.addr` (bus address), `.view`, `.free()`.

        `below` is for a device that cannot put out every address.  Lets it be a bus master.
        """
        taken = memory.take(self.pa, size, below)
        self.record.matters(took_memory=True)
        return taken

    def intr(self, how: str = "") -> Text:
        """Take an interrupt, "msi", "msix" or "intx"; by default MSI if there is any."""
        name = self.interrupts.take(how)
        self.record.matters()
        return name

    def wait_intr(self, seconds: float = 1.0) -> int:
        """How often the interrupt fired since the last wait; waits at most `seconds`."""
        return self.interrupts.wait(seconds)

    def faults(self) -> Text:
        """The device's accesses to memory that were blocked since the last call."""
        found = bus_dma_faults(self.pa.pa_dmat)
        return Text("\n".join(map(str, found)) or "no faults")

    def hexdump(self, data: Buffer | Memory, start: int = 0, length: int = 256) -> Text:
        """`length` bytes of bytes, or of DMA memory, from `start` on."""
        return dump(data.view if isinstance(data, Memory) else data, start, length)

    def save(self, path: str | os.PathLike[str]) -> Text:
        """Write what was typed as the beginning of a driver: `rumpci run PATH --on HOST`."""
        bars = [each.bar for each in self.bars.values()]
        save(self.pa, bars, self.record.inputs, Path(path))
        return Text(f"saved as {os.fspath(path)}")

    def show(self) -> Text:
        """What there is: the device, its BARs, registers, and the names to type."""
        name = pci_devinfo(self.pa.pa_id, self.pa.pa_class, showclass=True)
        rows = [f"{self.function.address} {name}"]
        rows += [f"  {bar_text(each.bar).replace('BAR', 'bar', 1)}" for each in self.bars.values()]
        for table in self.tables:
            bar = min(self.bars, default=0) if table.bar is None else table.bar
            registers = ", ".join(each.__name__ for each in table.registers)
            rows.append(f"  regs: {registers} ({table.name}, BAR{bar})")
        if self.interrupts.name:
            rows.append(f"  interrupt: {self.interrupts.name}")
        calls = [name for name, value in self.names.items() if callable(value)]
        rows.append(f"  pa, regs, conf, {', '.join(f'{name}()' for name in calls)}")
        return Text("\n".join(rows))
