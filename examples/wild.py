"""A wild DMA: a driver that gives its device an address a page too high.

    rumpci run examples/wild.py --on qemu:edu

The IOMMU has nothing there, so nothing is written, and the guard says who, what,
where, and what was near; the driver can ask, too.  With `qemu:edu?iommu=off`
the device overwrites whatever is there.
"""

from rumpci.autoconf import aprint_normal_dev
from rumpci.bus_dma import (
    BUS_DMA_READ,
    bus_dma_faults,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_unload,
    bus_dmatag_subregion,
)
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_BUFFER, EDU_DMA_MASK

PAGE = 4096


class Wild(Edu):
    """edu with the mistake."""

    def run(self) -> None:
        """Have the device write to the page after the one that is loaded."""
        dmat = bus_dmatag_subregion(self.pa.pa_dmat, 0, EDU_DMA_MASK)
        buffer = bytearray(PAGE)
        dmam = bus_dmamap_create(dmat, PAGE, 1, PAGE, 0, name="buffer")
        bus_dmamap_load(dmat, dmam, buffer, flags=BUS_DMA_READ)
        self.transfer(EDU_DMA_BUFFER, dmam.dm_segs[0].ds_addr + PAGE, 64, to_ram=True)
        blocked = [hex(fault.addr) for fault in bus_dma_faults(dmat)]
        aprint_normal_dev(self, f"blocked: {blocked}")
        bus_dmamap_unload(dmat, dmam)
        bus_dmamap_destroy(dmat, dmam)
