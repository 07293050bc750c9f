"""QEMU's educational device, in Python: identification, liveness, factorial.

Source: QEMU, docs/specs/edu.rst.  Interrupts and DMA are not modelled yet:
their registers read as zero and ignore writes.
"""

from __future__ import annotations

from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model

_ID, _LIVENESS, _FACTORIAL, _STATUS = 0x00, 0x04, 0x08, 0x20
_IRQFACT = 0x80


class Edu(Model):
    """The factorial is ready as soon as it is asked for; arithmetic is modulo 2**32."""

    config = ConfigSpec(
        vendor=0x1234,
        product=0x11E8,
        class_=0x00FF00,
        revision=0x10,
        interrupt_pin=1,
        bars={0: BarSpec(1 << 20)},
    )

    def __init__(self) -> None:
        self._liveness = 0
        self._factorial = 1
        self._status = 0

    def read(self, bar: int, offset: int, width: int) -> int:
        """32-bit registers; other widths below 0x80 read as ones, as QEMU's do."""
        del bar
        if width != 4 and not (width == 8 and offset >= 0x80):
            return (1 << 8 * width) - 1
        registers = {
            _ID: 0x0100_00ED,
            _LIVENESS: self._liveness,
            _FACTORIAL: self._factorial,
            _STATUS: self._status,
        }
        return registers.get(offset, 0)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """32-bit writes; others below 0x80 are ignored, as QEMU's are."""
        del bar
        if width != 4:
            return
        if offset == _LIVENESS:
            self._liveness = ~value & 0xFFFF_FFFF
        elif offset == _STATUS:
            self._status = value & _IRQFACT
        elif offset == _FACTORIAL:
            self._factorial = 1
            for n in range(2, value + 1):
                self._factorial = self._factorial * n & 0xFFFF_FFFF
                if not self._factorial:
                    break
