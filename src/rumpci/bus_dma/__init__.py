"""bus_dma(9): memory that a device reaches, and the maps that let it.

    segs = bus_dmamem_alloc(dmat, size, alignment, boundary, nsegs)     memory
    kva  = bus_dmamem_map(dmat, segs, size)                             the driver's view of it
    dmam = bus_dmamap_create(dmat, size, nsegments, maxsegsz, boundary) a map
    bus_dmamap_load(dmat, dmam, kva)                                    the device reaches it
    ... dmam.dm_segs ...                                                at these bus addresses
    bus_dmamap_sync(dmat, dmam, 0, size, BUS_DMASYNC_PREREAD)

Any buffer can be loaded.  One that is not from bus_dmamem_alloc is copied
(bounced), by bus_dmamap_sync and nothing else.  What goes wrong raises, and
nothing has changed then:

    BadDma           EINVAL   arguments or calls in an order that make no sense
    TooManySegments  EFBIG    the buffer lies in more segments than the map may have
    NoDmaMemory      ENOMEM   no memory, or none at such addresses
    DmaQuota         ENOMEM   this driver holds as much as it may
    DmaBusy          EBUSY    loaded, or still loaded, or still mapped
    DeadDma          ENXIO    freed, destroyed, or its device detached

Source: NetBSD bus_dma(9).  Differences: docs/netbsd-map.md.
"""

from rumpci.bus_dma.bounce import (
    BUS_DMASYNC_POSTREAD as BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_POSTWRITE as BUS_DMASYNC_POSTWRITE,
    BUS_DMASYNC_PREREAD as BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE as BUS_DMASYNC_PREWRITE,
)
from rumpci.bus_dma.map import (
    BusDmamap as BusDmamap,
    bus_dmamap_create as bus_dmamap_create,
    bus_dmamap_destroy as bus_dmamap_destroy,
    bus_dmamap_load as bus_dmamap_load,
    bus_dmamap_load_mbuf as bus_dmamap_load_mbuf,
    bus_dmamap_load_raw as bus_dmamap_load_raw,
    bus_dmamap_load_uio as bus_dmamap_load_uio,
    bus_dmamap_sync as bus_dmamap_sync,
    bus_dmamap_unload as bus_dmamap_unload,
)
from rumpci.bus_dma.mem import (
    BusDmaMemSegment as BusDmaMemSegment,
    bus_dmamem_alloc as bus_dmamem_alloc,
    bus_dmamem_free as bus_dmamem_free,
    bus_dmamem_map as bus_dmamem_map,
    bus_dmamem_mmap as bus_dmamem_mmap,
    bus_dmamem_unmap as bus_dmamem_unmap,
)
from rumpci.bus_dma.tag import (
    BUS_DMA_ALLOCNOW as BUS_DMA_ALLOCNOW,
    BUS_DMA_BUS1 as BUS_DMA_BUS1,
    BUS_DMA_BUS2 as BUS_DMA_BUS2,
    BUS_DMA_BUS3 as BUS_DMA_BUS3,
    BUS_DMA_BUS4 as BUS_DMA_BUS4,
    BUS_DMA_COHERENT as BUS_DMA_COHERENT,
    BUS_DMA_NOCACHE as BUS_DMA_NOCACHE,
    BUS_DMA_NOWAIT as BUS_DMA_NOWAIT,
    BUS_DMA_PREFETCHABLE as BUS_DMA_PREFETCHABLE,
    BUS_DMA_READ as BUS_DMA_READ,
    BUS_DMA_STREAMING as BUS_DMA_STREAMING,
    BUS_DMA_WAITOK as BUS_DMA_WAITOK,
    BUS_DMA_WRITE as BUS_DMA_WRITE,
    BusDmaTag as BusDmaTag,
    DmaRoot as DmaRoot,
    bus_dma_faults as bus_dma_faults,
    bus_dmatag_destroy as bus_dmatag_destroy,
    bus_dmatag_subregion as bus_dmatag_subregion,
)
from rumpci.host_dma import Segment as BusDmaSegment  # noqa: F401
