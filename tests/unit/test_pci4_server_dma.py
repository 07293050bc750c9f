"""DMA through the server: memory, maps, faults, listings."""

from __future__ import annotations

import errno
import mmap
from pathlib import Path

import pytest

from rumpci.pci4.abi import Op
from tests.unit.pci4raw import Raw, Refused, serving
from tests.unit.pci4served import (
    ANY,
    EDU,
    dma_alloc,
    dma_load,
    dma_map,
    enable,
    made_guard,
    refused,
)

# ---- DMA -----------------------------------------------------------------------------------


def test_memory_and_maps(raw: Raw, other: Raw) -> None:
    claim = raw.claim(EDU)
    enable(raw, claim)
    memory, dmamap = dma_alloc(raw, claim, name="ring"), dma_map(raw, claim)
    segments = dma_load(raw, dmamap, memory.memory)
    assert segments.seg_addr[0] == memory.seg_addr[0]
    assert segments.seg_len[0] == memory.seg_len[0] == 8192
    row = raw.ask(Op.DMA_PAGE)
    assert (row.total, row.count, row.kind[:2], row.direction[:2]) == (2, 2, (0, 1), (3, 3))
    assert row.name.startswith(b"ring\0")
    assert raw.ask(Op.IOMMU_PAGE).count == 2
    assert raw.ask(Op.DMA_USAGE).bytes == 8192
    assert raw.ask(Op.DMA_CHECK).total == 0
    refused(errno.EBUSY, raw.ask, Op.DMA_FREE, handle=memory.memory)
    refused(errno.EBUSY, raw.ask, Op.DMAMAP_DESTROY, handle=dmamap)
    for op in (Op.DMA_FREE, Op.DMAMAP_UNLOAD, Op.DMAMAP_DESTROY):
        refused(errno.EINVAL, other.ask, op, handle=dmamap)
    raw.ask(Op.DMAMAP_UNLOAD, handle=dmamap)
    refused(errno.EINVAL, raw.ask, Op.DMAMAP_UNLOAD, handle=dmamap)
    raw.ask(Op.DMAMAP_DESTROY, handle=dmamap)
    raw.ask(Op.DMA_FREE, handle=memory.memory)
    refused(errno.EINVAL, raw.ask, Op.DMA_FREE, handle=memory.memory)
    assert raw.ask(Op.DMA_PAGE).total == 0


def test_the_device_reads_what_the_client_wrote(raw: Raw) -> None:
    claim = raw.claim(EDU)
    enable(raw, claim)
    memory, dmamap = dma_alloc(raw, claim), dma_map(raw, claim)
    with mmap.mmap(raw.fds[0], 8192, offset=memory.range_offset[0]) as mine:
        mine[:8] = b"datadata"
        dma_load(raw, dmamap, memory.memory)
        window = raw.window(claim)
        for command, source, target in ((1, 0, 0x40000), (3, 0x40000, 4096)):
            ends = [source, target]
            ends[command == 3] += memory.seg_addr[0]
            for register, value in zip((0x80, 0x88, 0x90, 0x98), (*ends, 8, command), strict=True):
                raw.write(window, register, value, 8)
        assert mine[4096:4104] == b"datadata"


def test_dma_that_there_is_not(raw: Raw, other: Raw) -> None:
    first, second = raw.claim(EDU), raw.claim(EDU, nth=1)
    memory, dmamap = dma_alloc(raw, first).memory, dma_map(raw, second)
    assert refused(errno.EINVAL, dma_load, raw, dmamap, memory) == "BadDma"
    own = dma_map(raw, first)
    refused(errno.EINVAL, dma_load, raw, own, memory, 1 << 40)
    refused(errno.EINVAL, dma_load, raw, own, memory, direction=0)
    refused(errno.EINVAL, dma_load, raw, own, memory, direction=4)
    refused(errno.EINVAL, dma_load, raw, own, own)
    refused(errno.EINVAL, dma_load, other, own, memory)
    refused(errno.EINVAL, raw.ask, Op.DMAMAP_LOAD, map=own, direction=1, npieces=51)
    for wrong in ({"map": 999}, {"memory": 999}, {"direction": 0}, {"direction": 4},
                  {"length": 1 << 40}, {"offset": 8192}):  # fmt: skip
        piece = {"map": own, "memory": memory, "direction": 3, "length": 4096} | wrong
        refused(errno.EINVAL, raw.ask, Op.DMAMAP_LOAD_PIECE, **piece)
    for size in (0, 1 << 50, ANY):
        with pytest.raises(Refused):
            dma_alloc(raw, first, size)
    refused(errno.EINVAL, dma_alloc, raw, first, alignment=3)
    refused(errno.EINVAL, dma_alloc, raw, first, name="\n")
    refused(errno.EINVAL, dma_map, raw, first, size=0)
    refused(errno.EINVAL, dma_alloc, other, first)
    refused(errno.EINVAL, dma_map, other, first)


def test_a_piece_by_the_short_message(raw: Raw) -> None:
    """What takes more segments than its answer holds is not loaded."""
    claim = raw.claim(EDU)
    memory = dma_alloc(raw, claim, 16 * 4096).memory
    loaded, cut = dma_map(raw, claim), dma_map(raw, claim, 16 * 4096, maxsegsz=4096, nsegments=16)
    piece = {"memory": memory, "direction": 1, "offset": 100}
    answer = raw.ask(Op.DMAMAP_LOAD_PIECE, map=loaded, length=5000, **piece)
    assert (answer.count, answer.seg_len[0]) == (1, 5000)
    refused(errno.EINVAL, raw.ask, Op.DMAMAP_LOAD_PIECE, map=cut, length=60000, **piece)
    refused(errno.EINVAL, raw.ask, Op.DMAMAP_UNLOAD, handle=cut)
    raw.ask(Op.DMAMAP_UNLOAD, handle=loaded)


def test_faults(raw: Raw, other: Raw) -> None:
    claim = raw.claim(EDU)
    enable(raw, claim)
    assert raw.ask(Op.DMA_FAULTS, claim=claim).valid == 0
    window = raw.window(claim)
    for register, value in ((0x80, 0xBAD000), (0x88, 0x40000), (0x90, 8), (0x98, 1)):
        raw.write(window, register, value, 8)
    fault = raw.ask(Op.DMA_FAULTS, claim=claim)
    assert (fault.valid, fault.addr, fault.verb, fault.who) == (1, 0xBAD000, "read", "raw")
    assert raw.ask(Op.DMA_FAULTS, claim=claim).valid == 0
    refused(errno.EINVAL, other.ask, Op.DMA_FAULTS, claim=claim)


def test_without_banks_there_is_no_memory(path: Path) -> None:
    with serving(made_guard(banks=0), path), Raw(path) as raw:
        assert refused(errno.EOPNOTSUPP, dma_alloc, raw, raw.claim(EDU)) == "NotSupported"


def test_rows_that_there_are_not(raw: Raw) -> None:
    for op in (Op.INTR_LIST, Op.DMA_PAGE, Op.DMA_USAGE):
        refused(errno.EINVAL, raw.ask, op, index=1000)
    assert raw.ask(Op.IOMMU_PAGE, requester=1000).count == 0
    rows = raw.ask(Op.INTR_LIST).total
    states = {raw.ask(Op.INTR_LIST, index=index).state for index in range(rows)}
    assert "free" in states
