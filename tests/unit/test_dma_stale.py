"""What a function may still write after its driver ended: never another client's memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.client import Quota
from rumpci.host_dma import Direction, MemorySpec, Piece

from .test_dma_hostile import BOTH, Pair, fill, mapspec, pages_of


@pytest.fixture
def bare() -> Iterator[Pair]:
    """Without an IOMMU; the functions cannot be reset; a client may have all the memory."""
    pair = Pair(iommu=False)
    pair.pool.share = pair.pool.size
    pair.host.mirror.quota = Quota(pair.pool.size)
    with contextlib.closing(pair.host):
        yield pair


def test_pages_of_what_was_not_shown_quiet_are_its_next_claims_only(bare: Pair) -> None:
    one, other = bare.claims
    old = pages_of(one.dma_alloc(MemorySpec(64 << 10)))
    one.release()
    for memory in fill(other, 4096):
        assert not pages_of(memory) & old
    for _ in range(3):  # and its next one's, and so on
        one = bare.host.claim(bare.places[0], "next")
        again = one.dma_alloc(MemorySpec(64 << 10))
        assert pages_of(again) == old
        again.free()
        one.dma_alloc(MemorySpec(4096))
        one.release()
        for memory in fill(other, 4096):
            assert not pages_of(memory) & old


def test_pages_that_were_freed_on_the_way_out_too(bare: Pair) -> None:
    """A driver that fails frees its memory, with the device still writing it."""
    one, other = bare.claims
    memory = one.dma_alloc(MemorySpec(8192))
    old = pages_of(memory)
    memory.free()
    one.release()
    for taken in fill(other, 4096):
        assert not pages_of(taken) & old


def test_what_could_not_be_placed_goes_back_where_it_was_from(bare: Pair) -> None:
    one, other = bare.claims
    memory = one.dma_alloc(MemorySpec(8 * 4096))
    old = pages_of(memory)
    low = min(old)
    one.release()
    one = bare.host.claim(bare.places[0], "next")
    with pytest.raises(NoDmaMemory):
        one.dma_alloc(MemorySpec(16 * 4096, nsegs=16, low=low, high=low + 12 * 4096 - 1,
                                 alignment=4 * 4096))  # fmt: skip
    for taken in fill(other, 4096):
        assert not pages_of(taken) & old


def test_what_is_its_own_counts_for_its_share(bare: Pair) -> None:
    """However it asks, it does not keep more than its share from the others."""
    one, other = bare.claims
    bare.pool.share = bare.pool.size * 3 // 4
    for size in (4096, 5 * 4096, 1 << 16, 1 << 18):
        for memory in fill(one, size):
            memory.free()
    assert bare.pool.free >= bare.pool.size // 4
    assert len(fill(other, 4096)) * 4096 >= bare.pool.size // 4


def test_what_is_shown_quiet_is_everybodys_again(bare: Pair) -> None:
    before = bare.pool.free
    one = bare.claims[0]
    one.dma_alloc(MemorySpec(8192)).free()
    one.dma_alloc(MemorySpec(1 << 16))
    assert bare.pool.free < before
    bare.host.mirror.detach(one.dma, quiet=True)
    assert bare.pool.free == before


def test_old_bus_addresses_are_not_those_of_the_next_client() -> None:
    """Of any size: what the device still does is blocked, and told to nobody new."""
    pair = Pair()
    with contextlib.closing(pair.host):
        for size in (1, 2, 3, 4, 8, 13):
            claim = pair.claims[0]
            memory = claim.dma_alloc(MemorySpec(size * 4096))
            claim.dma_map(mapspec()).load([Piece(memory, 0, size * 4096)], BOTH)
            addr = memory.segments[0].ds_addr
            assert pair.models[0].dma.write(addr, b"x")
            claim.release()
            pair.machine.conf_write(pair.places[0], 4, 6)
            assert not pair.models[0].dma.write(addr, b"!")
            pair.claims[0] = claim = pair.host.claim(pair.places[0], "next")
            assert claim.dma_faults() == []
            claim.conf_write(4, 6)
            memory = claim.dma_alloc(MemorySpec(size * 4096))
            claim.dma_map(mapspec()).load([Piece(memory, 0, size * 4096)], Direction.READ)
            for page in range(size):
                assert not pair.models[0].dma.write(addr + 4096 * page, b"!")
            assert not any(memoryview(memory.view))
