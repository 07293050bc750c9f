"""MSI and MSI-X as the guard programs them: no client ever writes an address or a vector.

Source: PCI 3.0, 6.8.1 (MSI), 6.8.2 (MSI-X).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from rumpci import pcireg as pr
from rumpci.errors import NotSupported
from rumpci.machines.machine import BarAccess

Read = Callable[[int], int]
Write = Callable[[int, int], None]


class Messages(Protocol):
    """The message capability of one function."""

    def count(self) -> int:
        """How many vectors the function has."""

    def program(self, index: int, total: int, address: int, data: int) -> None:
        """Set what vector `index` of `total` writes; it stays masked where it can be.

        Of MSI, it is what vector 0 writes: the function adds the index to the data.
        """

    def enable(self, on: bool) -> None:
        """Let the function send messages, or stop it."""

    def mask(self, index: int, on: bool) -> None:
        """Mask or unmask one vector.  Raises NotSupported (EOPNOTSUPP)."""

    def pending(self, index: int) -> bool:
        """Whether a masked vector wants to fire."""


class Msi:
    """The MSI capability at `offset`."""

    def __init__(self, read: Read, write: Write, offset: int, who: str) -> None:
        self._read, self._write, self._at, self._who = read, write, offset, who
        control = read(offset) >> 16
        self._wide = bool(control & 0x80)
        self._data = offset + (0xC if self._wide else 8)
        self._mask = self._data + 4 if control & 0x100 else 0
        self._count: int = 1 << (control >> 1 & 7)

    def count(self) -> int:
        """See Messages."""
        return self._count

    def program(self, index: int, total: int, address: int, data: int) -> None:
        """See Messages; vectors are consecutive: what the first one writes says all."""
        if self._mask:
            self.mask(index, True)
        self._write(self._at + 4, address & 0xFFFF_FFFF)
        if self._wide:
            self._write(self._at + 8, address >> 32)
        self._write(self._data, self._read(self._data) & ~0xFFFF | data)
        control = self._read(self._at) & ~(0x70 << 16)
        self._write(self._at, control | (total.bit_length() - 1) << 20)

    def enable(self, on: bool) -> None:
        """See Messages."""
        control = self._read(self._at) & ~(1 << 16)
        self._write(self._at, control | on << 16)

    def mask(self, index: int, on: bool) -> None:
        """See Messages."""
        if not self._mask:
            raise NotSupported(
                f"masking MSI vector {index} of {self._who}",
                "this function has no mask bits",
                "disestablish it, or use MSI-X or INTx",
            )
        before = self._read(self._mask) & ~(1 << index)
        self._write(self._mask, before | on << index)

    def pending(self, index: int) -> bool:
        """See Messages."""
        return bool(self._mask and self._read(self._mask + 4) >> index & 1)


class Msix:
    """The MSI-X capability at `offset`, whose table and pending bits are in BARs."""

    def __init__(
        self, read: Read, write: Write, offset: int, bar: Callable[[int], BarAccess]
    ) -> None:
        self._read, self._write, self._at = read, write, offset
        table, pba = read(offset + 4), read(offset + 8)
        self._table, self._start = bar(table & 7), table & ~7
        self._pba, self._bits = bar(pba & 7), pba & ~7
        self._count = (read(offset) >> 16 & 0x7FF) + 1

    def count(self) -> int:
        """See Messages."""
        return self._count

    def program(self, index: int, total: int, address: int, data: int) -> None:
        """See Messages."""
        del total
        entry = self._start + 16 * index
        self.mask(index, True)
        for offset, word in ((0, address & 0xFFFF_FFFF), (4, address >> 32), (8, data)):
            self._table.write(entry + offset, 4, word)

    def enable(self, on: bool) -> None:
        """See Messages."""
        control = self._read(self._at) & ~(3 << 30)
        self._write(self._at, control | on << 31)

    def mask(self, index: int, on: bool) -> None:
        """See Messages."""
        with self._decoded():
            self._table.write(self._start + 16 * index + 12, 4, int(on))

    def pending(self, index: int) -> bool:
        """See Messages."""
        with self._decoded():
            return bool(self._pba.read(self._bits + index // 32 * 4, 4) >> index % 32 & 1)

    @contextlib.contextmanager
    def _decoded(self) -> Iterator[None]:
        """Let the table answer, whether or not the client switched decoding off."""
        command = self._read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        if command & pr.PCI_COMMAND_MEM_ENABLE:
            yield
            return
        self._write(pr.PCI_COMMAND_STATUS_REG, command | pr.PCI_COMMAND_MEM_ENABLE)
        try:
            yield
        finally:
            self._write(pr.PCI_COMMAND_STATUS_REG, command)
