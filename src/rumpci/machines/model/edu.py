"""QEMU's educational device, in Python: identification, liveness, factorial, interrupts, DMA.

Source: QEMU, docs/specs/edu.rst; what that leaves open is as QEMU 7.2's device
does it, except that everything is done at once (there, DMA takes 100 ms) and
that a transfer outside the device's buffer is ignored with a warning (there,
it ends QEMU).
"""

from __future__ import annotations

import logging

from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.signals import msi_capability

_ID, _LIVENESS, _FACTORIAL, _STATUS = 0x00, 0x04, 0x08, 0x20
_INTR_STATUS, _INTR_RAISE, _INTR_ACK = 0x24, 0x60, 0x64
_IRQFACT, _FACT_IRQ, _DMA_IRQ = 0x80, 0x01, 0x100
_DMA_SRC, _DMA_DST, _DMA_CNT, _DMA_CMD = 0x80, 0x88, 0x90, 0x98
_RUN, _TO_RAM, _INTERRUPT = 1, 2, 4
_BUFFER, _BUFFER_SIZE = 0x40000, 4096
_DMA_MASK = (1 << 28) - 1
_LOG = logging.getLogger(__name__)


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
        self._buffer = bytearray(_BUFFER_SIZE)
        self._dma = {_DMA_SRC: 0, _DMA_DST: 0, _DMA_CNT: 0, _DMA_CMD: 0}

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
            **self._dma,
        }
        return registers.get(offset, 0)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """32-bit writes; DMA's registers take 64 bits too, and any write sets them whole."""
        del bar
        if offset in self._dma and width in (4, 8):
            self._write_dma(offset, value)
        elif width == 4:
            self._write_register(offset, value)

    def _write_register(self, offset: int, value: int) -> None:
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

    # ---- DMA ----------------------------------------------------------------------

    def _write_dma(self, offset: int, value: int) -> None:
        if offset == _DMA_CMD and not value & _RUN:
            return
        self._dma[offset] = value
        if offset == _DMA_CMD:
            self._transfer(bool(value & _TO_RAM))
            self._dma[_DMA_CMD] &= ~_RUN
            if value & _INTERRUPT:
                self._raise(_DMA_IRQ)

    def _transfer(self, to_ram: bool) -> None:
        """Copy CNT bytes, if they are in the buffer; its last byte is not (QEMU 7.2)."""
        inside, addr = self._dma[_DMA_SRC], self._dma[_DMA_DST]
        if not to_ram:
            inside, addr = addr, inside
        start, count = inside - _BUFFER, self._dma[_DMA_CNT]
        if not (count and start >= 0 and start + count < _BUFFER_SIZE):
            _LOG.warning("edu: DMA of %#x bytes at %#x: outside its buffer", count, inside)
        elif to_ram:
            self.dma.write(addr & _DMA_MASK, bytes(self._buffer[start : start + count]))
        else:  # what is blocked reads as zeros, as QEMU's
            data = self.dma.read(addr & _DMA_MASK, count) or bytes(count)
            self._buffer[start : start + count] = data

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
