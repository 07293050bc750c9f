"""Memory that an NVMe controller reaches for as long as it exists: queues, PRP lists, data."""

from __future__ import annotations

import contextlib

from rumpci.bus_dma import (
    BUS_DMA_NOWAIT,
    BusDmaTag,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
    bus_dmamem_alloc,
    bus_dmamem_free,
    bus_dmamem_map,
    bus_dmamem_unmap,
)


class DmaArea:
    """`size` bytes of zeroed memory, loaded until `free`.

    `view` is the memory, `segments` are (bus address, bytes): one, or with `page` one for
    each page of that many bytes.  `flags` say what is granted: BUS_DMA_READ (the
    controller only writes), BUS_DMA_WRITE (it only reads), 0 (both).  Raises DmaError.
    """

    def __init__(
        self, dmat: BusDmaTag, size: int, name: str, flags: int = 0, *, page: int = 0
    ) -> None:
        self.dmat, self.size = dmat, size
        pages = -(-size // page) if page else 1
        with contextlib.ExitStack() as stack:
            segs = bus_dmamem_alloc(dmat, size, page, 0, pages, BUS_DMA_NOWAIT, name=name)
            stack.callback(bus_dmamem_free, dmat, segs)
            self.view = bus_dmamem_map(dmat, segs, size, BUS_DMA_NOWAIT)
            stack.callback(bus_dmamem_unmap, dmat, self.view, size)
            self.map = bus_dmamap_create(dmat, size, pages, page or size, page, name=name)
            stack.callback(bus_dmamap_destroy, dmat, self.map)
            bus_dmamap_load(dmat, self.map, self.view, size, None, BUS_DMA_NOWAIT | flags)
            stack.callback(bus_dmamap_unload, dmat, self.map)
            self._release = stack.pop_all()
        self.segments = [tuple(segment) for segment in self.map.dm_segs]

    @property
    def address(self) -> int:
        """The bus address of its first byte."""
        return self.segments[0][0]

    def sync(self, offset: int, length: int, ops: int) -> None:
        """bus_dmamap_sync of a part."""
        bus_dmamap_sync(self.dmat, self.map, offset, length, ops)

    def free(self) -> None:
        """Take it from the controller and give it back."""
        self._release.close()
