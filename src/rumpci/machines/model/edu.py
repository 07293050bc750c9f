"""QEMU's educational device, in Python: identification, liveness, factorial, interrupts.

Source: QEMU, docs/specs/edu.rst.  DMA is not modelled yet: its registers read
as zero and ignore writes.
"""

from __future__ import annotations

from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.signals import msi_capability

_ID, _LIVENESS, _FACTORIAL, _STATUS = 0x00, 0x04, 0x08, 0x20
_INTR_STATUS, _INTR_RAISE, _INTR_ACK = 0x24, 0x60, 0x64
_IRQFACT, _FACT_IRQ = 0x80, 0x01


class Edu(Model):
    """The factorial is ready as soon as it is asked for; arithmetic is modulo 2**32."""

    config = ConfigSpec(
        vendor=0x1234,
        product=0x11E8,
        class_=0x00FF00,
        revision=0x10,
        interrupt_pin=1,
        bars={0: BarSpec(1 << 20)},
        capabilities=(msi_capability(1),),
    )

    def __init__(self) -> None:
        self._liveness = 0
        self._factorial = 1
        self._status = 0
        self._causes = 0
        self._line = False

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
            _INTR_STATUS: self._causes,
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
            self._factorial = _factorial(value)
            if self._status & _IRQFACT:
                self._raise(_FACT_IRQ)
        elif offset == _INTR_RAISE:
            self._raise(value)
        elif offset == _INTR_ACK:
            self._causes &= ~value
            self.signals.line(bool(self._causes) and self._line)

    def _raise(self, causes: int) -> None:
        self._causes |= causes
        if self._causes:
            self._line = not self.signals.message(0)
            self.signals.line(self._line)


def _factorial(n: int) -> int:
    """N! modulo 2**32; zero once it has 32 factors of two."""
    result = 1
    for factor in range(2, n + 1):
        result = result * factor & 0xFFFF_FFFF
        if not result:
            break
    return result
