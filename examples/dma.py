"""DMA with bus_dma(9): QEMU's educational device writes into an ordinary bytearray.

    rumpci run examples/dma.py --on qemu:edu --show dma --show iommu

It is the shipped driver of edu, and a buffer that stays loaded until detach.
"""

from rumpci.autoconf import aprint_normal_dev
from rumpci.bus_dma import (
    BUS_DMA_READ,
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_PREREAD,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
    bus_dmatag_subregion,
)
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_BUFFER, EDU_DMA_MASK
from rumpci.pci import PciAttachArgs

LINE = b"written by the device"
SIZE = len(LINE)


class Dma(Edu):
    """edu, which is given a line and writes it back to where `line` is on the bus."""

    def attach(self, pa: PciAttachArgs) -> None:
        """Load the buffer: from here on the device may write it."""
        super().attach(pa)
        self.dmat = bus_dmatag_subregion(pa.pa_dmat, 0, EDU_DMA_MASK)
        self.line = bytearray(SIZE)
        self.map = bus_dmamap_create(self.dmat, SIZE, 1, SIZE, 0, name="line")
        bus_dmamap_load(self.dmat, self.map, self.line, flags=BUS_DMA_READ)

    def run(self) -> None:
        """Have the device write, at the bus address that the map says."""
        self.dma_write(0, LINE)
        bus_dmamap_sync(self.dmat, self.map, 0, SIZE, BUS_DMASYNC_PREREAD)
        self.transfer(EDU_DMA_BUFFER, self.map.dm_segs[0].ds_addr, SIZE, to_ram=True)
        bus_dmamap_sync(self.dmat, self.map, 0, SIZE, BUS_DMASYNC_POSTREAD)
        aprint_normal_dev(self, f"line is {bytes(self.line)!r}")

    def detach(self) -> None:
        """Take the buffer from the device."""
        bus_dmamap_unload(self.dmat, self.map)
        bus_dmamap_destroy(self.dmat, self.map)
        super().detach()
