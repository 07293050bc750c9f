"""A client's shim at work: verified once, then run whenever the line fired (rule 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rumpci import pcireg as pr
from rumpci.errors import NotEnabled
from rumpci.guard.shim import BarLimits, Outcome, Verified, verify
from rumpci.host import Space
from rumpci.machines.machine import BarAccess


class ShimRunner:
    """What a shim may reach (`limits`), and how (`bars`); `command` reads the command register."""

    def __init__(
        self,
        bars: Mapping[int, BarAccess],
        limits: dict[int, BarLimits],
        command: Callable[[], int],
    ) -> None:
        self._bars, self._limits, self._command = bars, limits, command
        self._shim: Verified | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a shim to run."""
        return self._shim is not None

    def load(self, shim: bytes | None, who: str) -> None:
        """Verify a shim for `who`, or forget the last (None).

        Raises BadShim (EINVAL); NotEnabled (ENXIO) if what it accesses is not decoded: it
        would read ones.
        """
        self._shim = verify(shim, self._limits) if shim is not None else None
        command = self._command()
        for bar in self._shim.bars if self._shim else ():
            io = self._limits[bar].space is Space.IO
            if not command & (pr.PCI_COMMAND_IO_ENABLE if io else pr.PCI_COMMAND_MEM_ENABLE):
                raise NotEnabled(
                    f"establishing {who} with a shim",
                    f"decoding of BAR{bar} is off",
                    "set PCI_COMMAND_MEM_ENABLE or PCI_COMMAND_IO_ENABLE first",
                )

    def run(self) -> Outcome:
        """Run it once."""
        if self._shim is None:
            raise AssertionError("no shim is loaded")
        return self._shim.run(self._read, self._write)

    def _read(self, bar: int, offset: int, width: int) -> int:
        return self._bars[bar].read(offset, width)

    def _write(self, bar: int, offset: int, width: int, value: int) -> None:
        self._bars[bar].write(offset, width, value)
