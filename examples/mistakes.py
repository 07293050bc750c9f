"""Two mistakes to mend while it runs: a wild DMA and a null dereference.

    rumpci run examples/mistakes.py --on qemu:edu --reload

The guard blocks the first, the second ends the driver's process, and the report names
both.  Mend the two lines, save, and it runs on the same machine (README.md).
"""

import ctypes

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

PAGE = 4096
LINE = b"written by the device"


class Mistakes(Edu):
    """edu, which writes a line to memory that a C function then reads."""

    def run(self) -> None:
        """Have the device write the line, and look at it as C would."""
        self.dma_write(0, LINE)
        dmat = bus_dmatag_subregion(self.pa.pa_dmat, 0, EDU_DMA_MASK)
        buffer = bytearray(PAGE)
        dmam = bus_dmamap_create(dmat, PAGE, 1, PAGE, 0, name="line")
        bus_dmamap_load(dmat, dmam, buffer, flags=BUS_DMA_READ)
        bus_dmamap_sync(dmat, dmam, 0, PAGE, BUS_DMASYNC_PREREAD)
        target = dmam.dm_segs[0].ds_addr + PAGE  # a page too high
        self.transfer(EDU_DMA_BUFFER, target, len(LINE), to_ram=True)
        bus_dmamap_sync(dmat, dmam, 0, PAGE, BUS_DMASYNC_POSTREAD)
        source = 0  # never set
        aprint_normal_dev(self, f"line is {ctypes.string_at(source)!r}")
        bus_dmamap_unload(dmat, dmam)
        bus_dmamap_destroy(dmat, dmam)
