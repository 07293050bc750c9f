"""A model as a bus master: its reads and writes of the machine's memory.

A transfer is made page by page, through the IOMMU where there is one; it stops
at the first page that it may not reach, and what was done before stays done, as
with the packets of a real device.
"""

from __future__ import annotations

from collections.abc import Iterator

from rumpci import pcireg as pr
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.model.config import ModelConfig
from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.vtd import ModelVtd
from rumpci.machines.requester import source

_MESSAGES = range(0xFEE0_0000, 0xFEF0_0000)  # interrupts are written there, never memory


class BusMaster:
    """`Model.dma` of one plugged model; addresses are bus addresses."""

    def __init__(
        self, config: ModelConfig, at: Address, memory: ModelMemory, unit: ModelVtd | None
    ) -> None:
        self._config, self._requester = config, source(at)
        self._memory, self._unit = memory, unit

    def read(self, addr: int, size: int) -> bytes | None:
        """`size` bytes, or None if bus mastering is off or any of them cannot be reached."""
        data = bytearray()
        for at, length in _pages(addr, size):
            place = self._place(at, write=False)
            piece = None if place is None else self._memory.read(place, length)
            if piece is None:
                return None
            data += piece
        return bytes(data)

    def write(self, addr: int, data: bytes) -> bool:
        """Write `data`; False if bus mastering is off or not all of it could be written."""
        done = 0
        for at, length in _pages(addr, len(data)):
            place = self._place(at, write=True)
            if place is None or not self._memory.write(place, data[done : done + length]):
                return False
            done += length
        return True

    def _place(self, addr: int, *, write: bool) -> int | None:
        """Where in memory a request at `addr` goes, if it goes anywhere."""
        if not self._config.command & pr.PCI_COMMAND_MASTER_ENABLE or addr in _MESSAGES:
            return None
        if self._unit is None:
            return addr
        page = self._unit.translate(self._requester, addr, write)
        return None if page is None else page + addr % PAGE_SIZE


def _pages(addr: int, size: int) -> Iterator[tuple[int, int]]:
    """[addr, addr + size) cut at pages: (address, bytes); a transfer of nothing has none."""
    end = addr + size
    while addr < end:
        length = min(PAGE_SIZE - addr % PAGE_SIZE, end - addr)
        yield addr, length
        addr += length
