"""Many accesses made of single ones: what registers in Python have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Registers(ABC):
    """The machine's BarAccess, for who defines `read` and `write`."""

    @abstractmethod
    def read(self, offset: int, width: int) -> int:
        """See BarAccess."""

    @abstractmethod
    def write(self, offset: int, width: int, value: int) -> None:
        """See BarAccess."""

    def read_many(self, offset: int, width: int, count: int, step: int) -> bytes:
        """See BarAccess."""
        values = (self.read(offset + i * step, width) for i in range(count))
        return b"".join(value.to_bytes(width, "little") for value in values)

    def write_many(self, offset: int, width: int, step: int, data: bytes) -> None:
        """See BarAccess."""
        for i in range(len(data) // width):
            element = data[i * width : (i + 1) * width]
            self.write(offset + i * step, width, int.from_bytes(element, "little"))

    def barrier(self) -> None:
        """See BarAccess: nothing is posted here."""
        return
