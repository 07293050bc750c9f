"""DMA memory at the prompt: dma(size)."""

from __future__ import annotations

import contextlib

from rumpci.bus_dma import (
    BusDmaTag,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_unload,
    bus_dmamem_alloc,
    bus_dmamem_free,
    bus_dmamem_map,
    bus_dmamem_unmap,
    bus_dmatag_subregion,
)
from rumpci.errors import BadRange, DeadDma
from rumpci.host_dma import PAGE_SIZE
from rumpci.pci import PciAttachArgs
from rumpci.shell.conf import set_master

_LOW = 1 << 32


class Memory:
    """Memory that the device reaches, both ways, at the bus address `addr`, until `free()`.

    `view` is the same memory here; `size` its bytes.
    """

    def __init__(self, pa: PciAttachArgs, size: int, below: int = _LOW) -> None:
        tag = pa.pa_dmat if below <= _LOW else pa.pa_dmat64
        self.size = size
        with contextlib.ExitStack() as acquired:
            self._load(bus_dmatag_subregion(tag, 0, below - 1), acquired)
            set_master(pa)
            self._acquired: contextlib.ExitStack | None = acquired.pop_all()

    def _load(self, tag: BusDmaTag, acquired: contextlib.ExitStack) -> None:
        size = self.size
        segs = bus_dmamem_alloc(tag, size, PAGE_SIZE, 0, 1)
        acquired.callback(bus_dmamem_free, tag, segs)
        self._view = bus_dmamem_map(tag, segs, size)
        acquired.callback(bus_dmamem_unmap, tag, self._view, size)
        dmam = bus_dmamap_create(tag, size, 1, size, 0)
        acquired.callback(bus_dmamap_destroy, tag, dmam)
        bus_dmamap_load(tag, dmam, self._view)
        acquired.callback(bus_dmamap_unload, tag, dmam)
        self._addr = dmam.dm_segs[0].ds_addr

    @property
    def addr(self) -> int:
        """The bus address to give to the device.  Raises DeadDma (ENXIO) once it is freed."""
        self._living()
        return self._addr

    @property
    def view(self) -> memoryview:
        """Its bytes.  Raises DeadDma (ENXIO) once it is freed."""
        self._living()
        return self._view

    def free(self) -> None:
        """Give it back: the device reaches it no more.  Raises DeadDma (ENXIO) the second time."""
        acquired = self._living()
        self._acquired = None
        acquired.close()

    def _living(self) -> contextlib.ExitStack:
        if self._acquired is None:
            raise DeadDma(f"{self!r}", "it was freed", "take memory again: dma(size)")
        return self._acquired

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        freed = "" if self._acquired else ", freed"
        return f"<{self.size:#x} bytes of DMA memory at bus address {self._addr:#x}{freed}>"


def take(pa: PciAttachArgs, size: int, below: int = _LOW) -> Memory:
    """Take memory at bus addresses under `below`.  Raises BadRange, and as bus_dmamem_alloc."""
    if below < 1:
        raise BadRange(f"dma below {below}", "there are no addresses", "pass, say, 1 << 28")
    return Memory(pa, size, below)
