"""--dma=shared: a rump kernel's heap in DMA memory, for speed.

The device reaches all of it as long as it lives: nothing bounces, and no load is noted.  So a
wild access inside the heap is not blocked, and the rules of bus_dma(9) are not checked.
"""

from __future__ import annotations

from rumpci.errors import BadDma
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.rump import _busdma, _heap
from rumpci.rump.functions import Functions

SIZE = 48 << 20
_ALIGNMENT = 1 << 20
_HIGH = (1 << 32) - 1


def share_heap(functions: Functions, size: int = SIZE) -> None:
    """Make the heap, before librumpuser is loaded.

    Raises BadDma (EINVAL) unless there is one device, NoDmaMemory, DmaQuota (ENOMEM).
    """
    if len(functions.held) != 1:
        raise BadDma(
            "a heap that is shared with devices", f"there are {len(functions.held)} of them",
            "give the rump kernel one, with --device ADDRESS",
        )  # fmt: skip
    (held,) = functions.held.values()
    claim = held.mastered()
    memory = claim.dma_alloc(MemorySpec(size, _ALIGNMENT, 0, 1, 0, _HIGH, "heap"))
    granted = claim.dma_map(MapSpec(size, 1, size, 0, 0, _HIGH, "heap"))
    (segment,) = granted.load([Piece(memory, 0, size)], Direction.BOTH)
    held.keep = (memory, granted)
    _heap.open_heap(memory.view.address, segment.ds_addr, size)
    _busdma.share(memory.view.address, segment.ds_addr, size)
