"""A hostile client at the seam: whatever it passes, nothing changes but what it may change."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rumpci.errors import BadDma, DeadDma, DmaError, DmaQuota, TooManySegments
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.host_dma import PAGE_SIZE, Direction, MapSpec, MemorySpec, Piece
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine

from .cards import has_three_parts

BOTH = Direction.BOTH
HUGE = 1 << 20_000
"""So many digits that Python does not print it in decimal."""


class Probe(Model):
    """A device that does DMA as the test tells it."""

    config = ConfigSpec(0x1234, 0x0D0A, 0x088000)


class Pair:
    """Two functions, claimed by two clients."""

    def __init__(self, *, memory: int = 4 << 20, iommu: bool = True, scatter: int | None = None):
        self.models = [Probe(), Probe()]
        self.machine = ModelMachine(self.models, memory=memory, iommu=iommu)
        self.host = Guard(self.machine, scatter)
        self.pool = self.host.mirror.pool
        self.places = [f.address for f in self.host.functions() if not f.is_bridge]
        self.claims: list[GuardClaim] = [self.host.claim(at, f"c{at.device}") for at in self.places]
        for claim in self.claims:
            claim.conf_write(4, 0x6)

    def state(self) -> tuple[Any, ...]:
        """All that a client could change."""
        return (
            self.host.dma(), self.host.dma_usage(), self.host.iommu(), self.host.dma_check(),
            self.pool.free,
        )  # fmt: skip

    def memory(self) -> bytes:
        return os.pread(self.machine.memory.fd, self.machine.memory.size, 0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with contextlib.closing(made.host):
        yield made


def mapspec(size: int = 1 << 20, nsegments: int = 64, maxsegsz: int = 1 << 20) -> MapSpec:
    return MapSpec(size, nsegments, maxsegsz, name="m")


NONSENSE: list[Any] = ["x", None, 1.5, b"1", [], HUGE, -HUGE, 1 << 64, -1, object()]


@pytest.mark.parametrize("field", ["size", "alignment", "boundary", "nsegs", "low", "high"])
def test_memory_of_nonsense(pair: Pair, field: str) -> None:
    before, claim = pair.state(), pair.claims[0]
    for value in NONSENSE:
        spec = MemorySpec(**{"size": 8192, field: value})
        with contextlib.suppress(DmaError):
            claim.dma_alloc(spec).free()
    for what in (None, 5, "x", (4096,)):
        with pytest.raises(BadDma) as caught:
            claim.dma_alloc(what)  # type: ignore[arg-type]
        has_three_parts(caught.value)
    assert pair.state() == before


@pytest.mark.parametrize("field", ["size", "nsegments", "maxsegsz", "boundary", "low", "high"])
def test_maps_of_nonsense(pair: Pair, field: str) -> None:
    before, claim = pair.state(), pair.claims[0]
    for value in NONSENSE:
        spec = MapSpec(**{"size": 8192, "nsegments": 1, "maxsegsz": 8192, field: value})
        with contextlib.suppress(DmaError):
            claim.dma_map(spec).destroy()
    for what in (None, 5, "x", (4096,)):
        with pytest.raises(BadDma):
            claim.dma_map(what)  # type: ignore[arg-type]
    assert pair.state() == before


def test_names_of_nonsense(pair: Pair) -> None:
    for name in (5, b"x", object(), "x" * 10_000, None):
        with pytest.raises(BadDma):
            pair.claims[0].dma_alloc(MemorySpec(4096, name=name))  # type: ignore[arg-type]
        with pytest.raises(BadDma):
            pair.claims[0].dma_map(MapSpec(1, 1, 1, name=name))  # type: ignore[arg-type]
    assert pair.host.dma() == []


class Liar:
    """Looks like memory, or a spec, or a piece, and says something else each time it is asked."""

    def __init__(self, real: Any, **lies: list[Any]) -> None:
        self._real = real
        self._lies = {name: itertools.cycle(values) for name, values in lies.items()}

    def __getattr__(self, name: str) -> Any:
        lies = self.__dict__["_lies"]
        return next(lies[name]) if name in lies else getattr(self._real, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._real)

    def __hash__(self) -> int:
        return hash(self._real)

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("lie", [[4096, 1 << 21], [1 << 21, 4096], [4096, 4096, 4096, 1 << 21]])
def test_a_spec_that_changes_its_mind(pair: Pair, lie: list[int]) -> None:
    before = pair.state()
    with contextlib.suppress(DmaError):
        memory = pair.claims[0].dma_alloc(Liar(MemorySpec(4096), size=lie))  # type: ignore[arg-type]
        usage = pair.host.dma_usage()[0]
        assert usage.bytes == sum(s.ds_len for s in memory.segments) == memory.view.size
        memory.free()
    assert pair.state() == before


def test_pieces_of_nonsense(pair: Pair) -> None:
    claim, other = pair.claims
    memory, dmam = claim.dma_alloc(MemorySpec(8192)), claim.dma_map(mapspec())
    foreign, freed = other.dma_alloc(MemorySpec(8192)), claim.dma_alloc(MemorySpec(4096))
    freed.free()
    good = Piece(memory, 0, 4096)
    dmam.load([good], BOTH)
    dmam.unload()  # its tables stay
    before = pair.state()
    bad: list[Any] = [
        [Piece(foreign, 0, 4096)], [good, Piece(foreign, 0, 4096)], [Piece(freed, 0, 4096)],
        [Liar(good, size=[4096, 4096, 1 << 30])], [Liar(good, offset=[0, 0, -4096, 1 << 40])],
        [Piece(Liar(memory, extents=foreign.extents), 0, 4096)],  # type: ignore[arg-type]
        [Piece(Liar(foreign, live=[False, True]), 0, 4096)],
        [None], 5, None, "xy", [()], [(memory,)], [(memory, 0, 4096, 1)], [], iter([]),
        [Piece(None, 0, 1)], [Piece(pair.host, 0, 1)],  # type: ignore[arg-type]
    ]  # fmt: skip
    bad += [[Piece(memory, value, 4096)] for value in NONSENSE]
    bad += [[Piece(memory, 0, value)] for value in NONSENSE]
    for pieces in bad:
        try:
            dmam.load(pieces, BOTH)
        except DmaError:
            pass
        else:
            assert not pair.host.dma_check()
            assert all(g.page in pages_of(memory) for g in pair.host.iommu())
            dmam.unload()
        assert pair.state() == before, pieces


def pages_of(memory: Any) -> set[int]:
    return {page for start, size in memory.place.runs for page in range(start, start + size, 4096)}


@pytest.mark.parametrize("direction", [0, 1, 3, None, "BOTH", Direction.NONE, 4, object()])
def test_directions_of_nonsense(pair: Pair, direction: Any) -> None:
    claim = pair.claims[0]
    memory, dmam = claim.dma_alloc(MemorySpec(8192)), claim.dma_map(mapspec())
    before = pair.state()
    with pytest.raises(BadDma):
        dmam.load([Piece(memory, 0, 8192)], direction)
    assert pair.state() == before


def test_one_page_a_hundred_thousand_times_is_no_standstill(pair: Pair) -> None:
    claim = pair.claims[0]
    memory = claim.dma_alloc(MemorySpec(8192))
    dmam = claim.dma_map(mapspec(1 << 30, 65536))
    pieces = [Piece(memory, n % 2, 1) for n in range(60_000)]
    dmam.load(pieces, BOTH)
    assert len(memory.loads) == 1
    dmam.unload()
    assert pair.host.dma_check() == []


def test_a_segment_a_byte_is_refused_before_it_is_made(pair: Pair) -> None:
    claim = pair.claims[0]
    memory = claim.dma_alloc(MemorySpec(2 << 20))
    dmam = claim.dma_map(mapspec(4 << 20, 10, 1))
    before = pair.state()
    for _ in range(50):
        with pytest.raises(TooManySegments, match=str(2 << 20)):
            dmam.load([Piece(memory, 0, 2 << 20)], BOTH)
    with pytest.raises(BadDma):
        claim.dma_map(mapspec(4 << 20, 1 << 30, 1))
    assert pair.state() == before


def test_everything_after_release(pair: Pair) -> None:
    claim, other = pair.claims
    memory, dmam = claim.dma_alloc(MemorySpec(8192)), claim.dma_map(mapspec())
    theirs = other.dma_alloc(MemorySpec(8192))
    memoryview(theirs.view)[:4] = b"mine"
    dmam.load([Piece(memory, 0, 8192)], BOTH)
    view = memoryview(memory.view)
    claim.release()
    before = pair.state()
    view[:] = b"!" * len(view)
    for call in (
        memory.free, dmam.unload, dmam.destroy, lambda: dmam.load([Piece(memory, 0, 1)], BOTH),
        lambda: claim.dma_alloc(MemorySpec(4096)), lambda: claim.dma_map(mapspec()),
    ):  # fmt: skip
        with pytest.raises(DeadDma):
            call()
    assert pair.state() == before
    again = pair.host.claim(pair.places[0], "next")
    taken = [again.dma_alloc(MemorySpec(4096)) for _ in range(8)]
    assert all(not any(memoryview(m.view)) for m in taken)
    with pytest.raises(DmaError):
        again.dma_map(mapspec()).load([Piece(memory, 0, 4096)], BOTH)


# ---- quotas ------------------------------------------------------------------------------


def fill(claim: GuardClaim, size: int) -> list[Any]:
    made: list[Any] = []
    with contextlib.suppress(DmaError):
        while True:
            made.append(claim.dma_alloc(MemorySpec(size)))
    return made


@pytest.mark.parametrize("scatter", [None, 5])
@pytest.mark.parametrize("size", [4096, 5 * 4096, 1 << 18])
def test_one_at_its_quota_leaves_the_other_its_share(size: int, scatter: int | None) -> None:
    pair = Pair(scatter=scatter)
    with contextlib.closing(pair.host):
        before = pair.state()
        one = fill(pair.claims[0], size)
        assert len(one) == pair.host.mirror.quota.bytes // size
        two = fill(pair.claims[1], size)
        assert len(two) * size > pair.pool.size // 4 - 8 * size - (64 << 10)
        assert pair.host.dma_check() == []
        for memory in [*one, *two]:
            memory.free()
        assert pair.state() == before


def test_objects_are_counted(pair: Pair) -> None:
    pair.host.mirror.quota = type(pair.host.mirror.quota)(1 << 20, 10)
    claim, before = pair.claims[0], pair.state()
    held: list[Any] = [claim.dma_alloc(MemorySpec(1)) for _ in range(5)]
    maps = [claim.dma_map(mapspec()) for _ in range(5)]
    for call in (lambda: claim.dma_alloc(MemorySpec(1)), lambda: claim.dma_map(mapspec())):
        with pytest.raises(DmaQuota):
            call()
    pair.claims[1].dma_map(mapspec()).destroy()
    for memory in held:
        memory.free()
    for dmam in maps:
        dmam.destroy()
    assert pair.state() == before


def test_tables_cannot_take_the_memory_of_others(pair: Pair) -> None:
    """A page here and a page there: each load needs tables, which stay."""
    claim = pair.claims[0]
    dmam = claim.dma_map(mapspec())
    free = pair.pool.free
    with contextlib.suppress(DmaError):
        for n in range(1, 511):
            for part in range(8):
                low = n << 30 | part << 21
                memory = claim.dma_alloc(MemorySpec(4096, low=low, high=low + (2 << 20)))
                try:
                    dmam.load([Piece(memory, 0, 4096)], BOTH)
                    dmam.unload()
                finally:
                    memory.free()
    assert pair.host.dma_check() == []
    assert pair.pool.free > free * 7 // 8
    pair.claims[0].release()
    assert pair.pool.free >= free


# ---- threads -----------------------------------------------------------------------------


@dataclass
class Worker:
    """What one thread does to a claim, and what it ought never to see."""

    pair: Pair
    number: int
    wrong: list[BaseException]

    def run(self, stop: threading.Event) -> None:
        claim = self.pair.claims[self.number % 2]
        try:
            while not stop.is_set():
                with contextlib.suppress(DmaError):
                    self.once(claim)
        except BaseException as error:
            self.wrong.append(error)

    def once(self, claim: GuardClaim) -> None:
        memory = claim.dma_alloc(MemorySpec(4096 * (1 + self.number % 3), nsegs=3))
        view = memoryview(memory.view)
        assert not any(view)
        view[:] = bytes([self.number + 1]) * len(view)
        dmam = claim.dma_map(mapspec())
        dmam.load([Piece(memory, 0, len(view))], BOTH)
        model = self.pair.models[self.number % 2]
        model.dma.write(1 << 30, b"!")
        claim.dma_faults()
        dmam.unload()
        dmam.destroy()
        assert set(view) in ({self.number + 1}, {0})
        memory.free()
        self.pair.host.dma_check()


def test_eight_threads_and_a_release(pair: Pair) -> None:
    before = pair.pool.free
    for _ in range(4):
        stop, wrong = threading.Event(), list[BaseException]()
        workers = [Worker(pair, n, wrong) for n in range(8)]
        threads = [threading.Thread(target=w.run, args=(stop,), daemon=True) for w in workers]
        for thread in threads:
            thread.start()
        time.sleep(0.08)
        for claim in pair.claims:
            claim.release()
        stop.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a deadlock"
        assert wrong == []
        assert pair.host.dma_check() == []
        assert not pair.host.iommu()
        assert pair.pool.free >= before - PAGE_SIZE
        pair.claims = [pair.host.claim(at, "again") for at in pair.places]


def test_a_hundred_clients_leave_nothing(pair: Pair) -> None:
    def once() -> None:
        for number, at in enumerate(pair.places):
            pair.claims[number].release()
            pair.claims[number] = claim = pair.host.claim(at, "c")
            memory = claim.dma_alloc(MemorySpec(8192))
            claim.dma_map(mapspec()).load([Piece(memory, 0, 8192)], BOTH)

    once()
    free, files = pair.pool.free, len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        once()
    assert (pair.pool.free, len(os.listdir("/proc/self/fd"))) == (free, files)
