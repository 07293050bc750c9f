"""Failures in the middle: no pages, no mappings, a machine that dies.  All or nothing changes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rumpci.errors import DmaError, MachineDied, NoDmaMemory, RumpciError
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.pool import Pool, Run
from rumpci.host_dma import PAGE_SIZE, Direction, MemorySpec, Piece
from rumpci.machines.vtd.unit import Unit

from .test_dma_hostile import BOTH, Pair, mapspec, pages_of

READ, WRITE = Direction.READ, Direction.WRITE
MIB2 = 2 << 20


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(memory=16 << 20)
    with contextlib.closing(made.host):
        yield made


def no_more_pages(pair: Pair) -> list[Run]:
    """Nothing is left for tables."""
    return pair.pool.gather(pair.pool.free)


def listed(pair: Pair) -> tuple[Any, ...]:
    return pair.state()[:-1]


@pytest.mark.parametrize("left", range(6))
def test_no_pages_in_the_middle_of_a_load(pair: Pair, left: int) -> None:
    """Segments far apart: each needs tables of its own."""
    claim = pair.claims[0]
    parts = [
        claim.dma_alloc(MemorySpec(8192, low=n << 30, high=(n + 1 << 30) - 1)) for n in range(1, 5)
    ]
    dmam = claim.dma_map(mapspec())
    before = listed(pair)
    taken = no_more_pages(pair)
    pair.pool.put([(taken[0][0], left * PAGE_SIZE)])
    pieces = [Piece(memory, 0, 8192) for memory in parts]
    with pytest.raises(NoDmaMemory):
        dmam.load(pieces, BOTH)
    assert listed(pair) == before
    assert not any(pair.models[0].dma.write(m.segments[0].ds_addr, b"!") for m in parts)
    pair.pool.put([(taken[0][0] + left * PAGE_SIZE, taken[0][1] - left * PAGE_SIZE), *taken[1:]])
    dmam.load(pieces, BOTH)
    assert pair.host.dma_check() == []
    assert pair.models[0].dma.write(parts[3].segments[0].ds_addr, b"!")


def large(pair: Pair) -> GuardMemory:
    """An allocation that a large page maps."""
    claim = pair.claims[0]
    for _ in range(4):
        memory = claim.dma_alloc(MemorySpec(MIB2, alignment=MIB2))
        if memory.place.runs[0][0] % MIB2 == 0 and len(memory.place.runs) == 1:
            return memory
    raise AssertionError("no large page")


def test_no_page_to_split_a_large_page_leaves_it_as_it_was(pair: Pair) -> None:
    claim, memory = pair.claims[0], large(pair)
    first, second = claim.dma_map(mapspec(MIB2)), claim.dma_map(mapspec())
    first.load([Piece(memory, 0, MIB2)], READ)
    assert MIB2 in {grant.size for grant in pair.host.iommu()}
    before = listed(pair)
    taken = no_more_pages(pair)
    for piece in (Piece(memory, 5 << 12, 4096), Piece(memory, 0, 4096)):
        with pytest.raises(NoDmaMemory):
            second.load([piece], WRITE)
        assert listed(pair) == before
    assert pair.models[0].dma.write(memory.segments[0].ds_addr + (9 << 12), b"!")
    pair.pool.put(taken)
    second.load([Piece(memory, 5 << 12, 4096)], WRITE)
    taken = no_more_pages(pair)
    first.unload()
    assert pair.host.dma_check() == []
    second.unload()
    assert pair.host.dma_check() == []
    pair.pool.put(taken)


@pytest.mark.parametrize("sizes", [(4 << 20, 1 << 20), (4 << 20, 3 << 20), (6 << 20, 4096)])
def test_unloading_never_needs_pages(pair: Pair, sizes: tuple[int, int]) -> None:
    claim = pair.claims[0]
    memory = claim.dma_alloc(MemorySpec(sizes[0], alignment=MIB2))
    for order in ((0, 1), (1, 0)):
        maps = [claim.dma_map(mapspec(8 << 20)) for _ in sizes]
        for at in order:
            maps[at].load([Piece(memory, 0, sizes[at])], (READ, WRITE)[at])
        taken = no_more_pages(pair)
        for dmam in maps:
            dmam.unload()
            assert pair.host.dma_check() == []
        pair.pool.put(taken)
    memory.free()


def test_memory_in_pieces_and_too_little_of_it(pair: Pair) -> None:
    """A pool of every other page gives what it has, or keeps it."""
    taken = no_more_pages(pair)
    pages = [page for start, size in taken for page in range(start, start + size, PAGE_SIZE)]
    pair.pool.put([(page, PAGE_SIZE) for page in pages[:200:2]])
    before = pair.state()
    memory = pair.claims[0].dma_alloc(MemorySpec(100 * PAGE_SIZE))
    assert len(memory.place.runs) == 100
    assert pair.pool.free == 0
    memory.free()
    for size in (101, 150):
        with pytest.raises(NoDmaMemory):
            pair.claims[0].dma_alloc(MemorySpec(size * PAGE_SIZE))
        assert pair.state() == before
    for page in pages[1:200:2] + pages[200:]:
        pair.pool.put([(page, PAGE_SIZE)])


@pytest.mark.parametrize("iommu", [True, False])
@pytest.mark.parametrize("error", [OSError(12, "no"), MemoryError(), KeyboardInterrupt()])
def test_memory_that_cannot_be_mapped(
    error: BaseException, iommu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(iommu=iommu)

    def fails(*_: object) -> None:
        raise error

    with contextlib.closing(pair.host):
        claim = pair.claims[0]
        claim.dma_alloc(MemorySpec(1 << 20)).free()  # so that it has all that it will have
        before = pair.state()
        with monkeypatch.context() as patch:
            patch.setattr(GuardMemory, "of_pool", fails)
            wanted = NoDmaMemory if isinstance(error, OSError) else type(error)
            with pytest.raises(wanted):
                claim.dma_alloc(MemorySpec(1 << 20))
        assert pair.state() == before


def test_zeroing_that_fails_half_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = no_more_pages(pair)
    pages = [page for start, size in taken for page in range(start, start + size, PAGE_SIZE)]
    pair.pool.put([(page, PAGE_SIZE) for page in pages[::2]])
    before, zero, left = pair.state(), Pool._zero, [3]

    def fails(self: Pool, start: int, size: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise MemoryError
        zero(self, start, size)

    monkeypatch.setattr(Pool, "_zero", fails)
    with pytest.raises(MemoryError):
        pair.claims[0].dma_alloc(MemorySpec(8 * PAGE_SIZE))
    assert pair.state() == before


class Dying:
    """The unit's invalidations fail from the nth on, for good or for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left, real = after, Unit.invalidate

        def invalidate(unit: Unit, *descriptors: tuple[int, int]) -> None:
            self.left -= 1
            if self.left < 0:
                raise MachineDied("invalidating", "it hangs", "open it again")
            real(unit, *descriptors)

        monkeypatch.setattr(Unit, "invalidate", invalidate)


@pytest.mark.parametrize("after", range(4))
def test_what_was_not_forgotten_is_not_used_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The unit hangs, and goes on: until then the device may reach what it cached."""
    claim, model = pair.claims[0], pair.models[0]
    memory = claim.dma_alloc(MemorySpec(8192))
    dmam, other = claim.dma_map(mapspec()), claim.dma_map(mapspec())
    dmam.load([Piece(memory, 0, 8192)], BOTH)
    other.load([Piece(memory, 4096, 4096)], BOTH)
    addr = memory.segments[0].ds_addr
    assert model.dma.write(addr, b"x")
    assert model.dma.write(addr + 4096, b"x")
    dying = Dying(monkeypatch, after)
    with contextlib.suppress(MachineDied):
        dmam.unload()
        other.unload()
        memory.free()
    reached = model.dma.write(addr, b"y")
    if reached:
        assert pages_of(memory) <= held(pair), "the device reaches what is anybody's"
    dying.left = 1 << 30
    for call in (dmam.unload, other.unload, memory.free):
        with contextlib.suppress(DmaError):
            call()
    assert pair.host.dma_check() == []
    assert not model.dma.write(addr, b"z")
    assert not [row for row in pair.host.dma() if row.kind == "memory"]


def held(pair: Pair) -> set[int]:
    """Pages that nobody else can get."""
    runs = pair.pool.gather(pair.pool.free)
    free = {page for start, size in runs for page in range(start, start + size, 4096)}
    pair.pool.put(runs)
    every = range(0, pair.machine.memory.size, 4096)
    return set(every) - free


@pytest.mark.parametrize("after", range(3))
def test_a_release_that_the_unit_does_not_answer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    claim, model = pair.claims[0], pair.models[0]
    memory = claim.dma_alloc(MemorySpec(8192))
    claim.dma_map(mapspec()).load([Piece(memory, 0, 8192)], BOTH)
    addr = memory.segments[0].ds_addr
    assert model.dma.write(addr, b"x")
    Dying(monkeypatch, after)
    claim.release()
    pair.machine.conf_write(pair.places[0], 4, 6)
    if model.dma.write(addr, b"y"):
        assert pages_of(memory) <= held(pair)
    assert not pair.host.dma()
    assert not any(memoryview(memory.view))


@pytest.mark.parametrize("after", range(4))
def test_a_unit_that_answers_again_lets_the_function_be_claimed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    dying = Dying(monkeypatch, after)
    pair.claims[0].release()
    with contextlib.suppress(MachineDied):
        pair.host.claim(pair.places[0], "too early").release()
    dying.left = 1 << 30
    claim = pair.host.claim(pair.places[0], "next")
    memory = claim.dma_alloc(MemorySpec(8192))
    claim.dma_map(mapspec()).load([Piece(memory, 0, 8192)], BOTH)
    assert pair.host.dma_check() == []
    claim.conf_write(4, 6)
    assert pair.models[0].dma.write(memory.segments[0].ds_addr, b"x")


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize(
    "error", [MachineDied("x", "y", "z"), OSError(5, "no"), RumpciError("x", "y", "z")]
)
def test_a_release_with_configuration_space_that_fails(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int, error: Exception
) -> None:
    """Whatever fails, its DMA is taken from it and the function can be claimed again."""
    claim, left = pair.claims[0], [number]
    memory = claim.dma_alloc(MemorySpec(8192))
    claim.dma_map(mapspec()).load([Piece(memory, 0, 8192)], BOTH)
    conf_write, conf_read = pair.machine.conf_write, pair.machine.conf_read

    def fails(call: Any) -> Any:
        def inner(*args: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise error
            return call(*args)

        return inner

    with monkeypatch.context() as patch:
        patch.setattr(pair.machine, "conf_write", fails(conf_write))
        patch.setattr(pair.machine, "conf_read", fails(conf_read))
        with contextlib.suppress(type(error)):
            claim.release()
    assert not pair.host.dma()
    assert not pair.host.iommu()
    assert pair.host.dma_check() == []
    again = pair.host.claim(pair.places[0], "next")
    again.dma_alloc(MemorySpec(8192))


def test_closing_releases_every_claim_whatever_one_raises(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = list[memoryview]()
    for claim in pair.claims:
        memory = claim.dma_alloc(MemorySpec(4096))
        view = memoryview(memory.view)
        view[:4] = b"live"
        views.append(view)

    def fails() -> None:
        raise OSError(5, "no")

    for claim in pair.claims:
        monkeypatch.setattr(claim.interrupts, "release", fails)
    with pytest.raises(OSError, match="no"):
        pair.host.close()
    assert not any(any(view) for view in views)
    assert pair.host.dma() == []


def test_a_claim_that_gets_no_domain_leaves_nothing(pair: Pair) -> None:
    pair.claims[0].release()
    free = pair.pool.free
    taken = no_more_pages(pair)
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NoDmaMemory):
        pair.host.claim(pair.places[0], "poor")
    assert len(os.listdir("/proc/self/fd")) == files
    assert all(f.claimed_by is None for f in pair.host.functions() if f.address == pair.places[0])
    pair.pool.put(taken)
    pair.claims[0] = pair.host.claim(pair.places[0], "rich")
    pair.claims[0].release()
    assert pair.pool.free == free


FULL = """
import mmap, os
from rumpci._dma import SharedMemory
fd = os.memfd_create("x")
os.ftruncate(fd, 1 << 16)
first = SharedMemory(fd, [(0, 4096), (8192, 4096)])
memoryview(first)[:2] = b"ab"
held = []
try:
    while True:
        held.append(SharedMemory(fd, [(8192, 4096)] if len(held) % 2 else [(0, 4096)]))
except OSError:
    pass
more = []
try:
    while True:
        more.append(mmap.mmap(fd, 4096))
except OSError:
    pass
view = memoryview(first)
first.revoke()
assert not any(view), "it is still there"
view[:4] = b"gone"
for memory in held:
    memory.revoke()
assert os.pread(fd, 4, 0) == b"ab\\0\\0", os.pread(fd, 4, 0)
print(len(held), flush=True)
os._exit(0)
"""


def test_memory_is_taken_away_from_a_process_that_has_as_many_mappings_as_it_may() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-400:]
    assert int(done.stdout) > 1000
