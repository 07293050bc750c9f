"""Banks: DMA memory whose descriptor can be given away, and tells nobody else's data."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

import pytest

from rumpci.errors import BadURL, DmaQuota, NoDmaMemory
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.guard.dma.memory import GuardMemory
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.machines.bank import BANK_SIZE, BANKS_START
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.model.memory import ModelMemory

from .cards import has_three_parts
from .test_dma_hostile import Probe

PAGE = 4096


class Bench:
    """Three functions that nobody has, and `banks` banks."""

    def __init__(self, banks: int = 3, *, iommu: bool = True, scatter: int | None = None) -> None:
        self.models = [Probe(), Probe(), Probe()]
        machine = ModelMachine(self.models, memory=4 << 20, iommu=iommu, banks=banks)
        self.host = Guard(machine, scatter)
        self.places = [f.address for f in self.host.functions() if not f.is_bridge]

    def claim(self, number: int, owner: str | None) -> GuardClaim:
        claim = self.host.claim(self.places[number], f"c{number}", private=owner)
        claim.conf_write(4, 0x6)
        return claim


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with contextlib.closing(made.host):
        yield made


@pytest.fixture
def bare() -> Iterator[Bench]:
    """Without an IOMMU; the functions cannot be reset."""
    made = Bench(iommu=False)
    with contextlib.closing(made.host):
        yield made


def file_of(memory: GuardMemory) -> int:
    """Which file an allocation is in."""
    return os.fstat(memory.view.fd).st_ino


def whole(memory: GuardMemory) -> bytes:
    """All that its descriptor tells."""
    return os.pread(memory.view.fd, os.fstat(memory.view.fd).st_size, 0)


def bank_of(claim: GuardClaim) -> int:
    memory = claim.dma_alloc(MemorySpec(PAGE))
    memory.free()
    return file_of(memory)


def pages_of(memory: GuardMemory) -> set[int]:
    """Its pages by their physical addresses."""
    return {page for at, size in memory.place.runs for page in range(at, at + size, PAGE)}


def load(claim: GuardClaim, memory: GuardMemory) -> int:
    """Load all of it, for both directions; its first bus address."""
    spec = MapSpec(memory.size, 64, memory.size)
    return claim.dma_map(spec).load([Piece(memory, 0, memory.size)], Direction.BOTH)[0].ds_addr


def test_two_claims_never_share_a_file(bench: Bench) -> None:
    """Not even of the same owner; and what is in no bank is in none of their files."""
    owners = ["uid 1", "uid 2", "uid 2"]
    memories = [bench.claim(i, owner).dma_alloc(MemorySpec(PAGE)) for i, owner in enumerate(owners)]
    marks = [bytes([i + 1]) * PAGE for i in range(3)]
    for memory, mark in zip(memories, marks, strict=True):
        memoryview(memory.view)[:] = mark
    assert len({file_of(memory) for memory in memories}) == 3
    ram = bench.host.machine.memory.fd
    assert os.fstat(ram).st_ino not in {file_of(memory) for memory in memories}
    for memory, mark in zip(memories, marks, strict=True):
        data = whole(memory)
        assert data.count(mark[:1]) == PAGE
        assert data.count(0) == len(data) - PAGE


@pytest.mark.parametrize("scatter", [None, 5])
def test_ranges_are_offsets_in_the_file(scatter: int | None) -> None:
    made = Bench(scatter=scatter)
    with contextlib.closing(made.host):
        made.claim(0, "uid 1")
        memory = made.claim(1, "uid 2").dma_alloc(MemorySpec(6 * PAGE, nsegs=4))
        memoryview(memory.view)[:] = bytes(range(1, 7)) * PAGE
        found = b"".join(os.pread(memory.view.fd, size, at) for at, size in memory.view.ranges)
        assert found == bytes(memory.view)
        for (at, size), (page, _) in zip(memory.view.ranges, memory.place.runs, strict=True):
            assert 0 <= at < at + size <= BANK_SIZE
            assert page == BANKS_START + BANK_SIZE + at


def test_the_device_reaches_its_bank_and_no_other(bench: Bench) -> None:
    one, other = bench.claim(0, "uid 1"), bench.claim(1, "uid 2")
    memory, foreign = (claim.dma_alloc(MemorySpec(2 * PAGE)) for claim in (one, other))
    addr = load(one, memory)
    assert bench.models[0].dma.write(addr + PAGE - 2, b"over")
    assert bytes(memory.view)[PAGE - 2 : PAGE + 2] == b"over"
    assert bench.models[0].dma.read(addr + PAGE - 2, 4) == b"over"
    assert not bench.models[1].dma.write(addr, b"x")
    assert not bench.models[0].dma.write(next(iter(pages_of(foreign))), b"x")
    assert not any(bytes(foreign.view))
    assert bench.host.dma_check() == []
    assert {grant.page for grant in bench.host.iommu()} == pages_of(memory)


def test_tables_are_in_no_bank(bench: Bench) -> None:
    before = bench.host.mirror.pool.free
    claim = bench.claim(0, "uid 1")
    memory = claim.dma_alloc(MemorySpec(PAGE))
    load(claim, memory)
    assert bench.host.mirror.pool.free < before
    assert claim.dma.pool.free == BANK_SIZE - PAGE
    assert not any(whole(memory))
    claim.release()
    assert bench.host.mirror.pool.free == before - PAGE  # the bus's context table stays
    assert claim.dma.pool.free == BANK_SIZE


def test_a_bank_is_its_owners_for_good(bench: Bench) -> None:
    first = bench.claim(0, "uid 1")
    bank = bank_of(first)
    first.release()
    other = bench.claim(0, "uid 2")
    assert bank_of(other) != bank
    assert bank_of(bench.claim(1, "uid 1")) == bank


def test_a_bank_is_zeros_when_it_is_taken(bench: Bench) -> None:
    claim = bench.claim(0, "uid 1")
    memory = claim.dma_alloc(MemorySpec(PAGE))
    kept = os.dup(memory.view.fd)
    try:
        claim.release()
        os.pwrite(kept, b"late" * PAGE, 10 * PAGE)
        again = bench.claim(0, "uid 1").dma_alloc(MemorySpec(PAGE))
        assert file_of(again) == os.fstat(kept).st_ino
        assert not any(whole(again))
        os.pwrite(kept, b"later", again.view.ranges[0][0])  # an owner can disturb itself
        assert bytes(again.view)[:5] == b"later"
    finally:
        os.close(kept)


def test_no_bank_is_left(bench: Bench) -> None:
    for number in range(3):
        bench.claim(0, f"uid {number}").release()
    for owner in ("uid 3", ""):
        with pytest.raises(NoDmaMemory, match="banks=") as caught:
            bench.claim(1, owner)
        has_three_parts(caught.value)
        assert caught.value.errno == errno.ENOMEM
    bench.claim(0, "uid 1")
    with pytest.raises(NoDmaMemory):
        bench.claim(1, "uid 1")  # it is taken
    assert (
        file_of(bench.claim(1, None).dma_alloc(MemorySpec(PAGE)))
        == os.fstat(bench.host.machine.memory.fd).st_ino
    )


def test_a_machine_without_banks() -> None:
    made = Bench(0)
    with contextlib.closing(made.host):
        with pytest.raises(NoDmaMemory, match="the machine has no banks"):
            made.claim(0, "uid 1")
        made.claim(0, None).release()


def test_a_claim_that_fails_takes_no_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench(1)
    with contextlib.closing(made.host):

        def fails(*_: object) -> None:
            raise NoDmaMemory("a domain", "none", "wait")

        iommu = made.host.machine.iommu
        with monkeypatch.context() as patch:
            patch.setattr(iommu, "attach", fails)
            with pytest.raises(NoDmaMemory, match="a domain"):
                made.claim(0, "uid 1")
        made.claim(0, "uid 1")


def test_who_has_the_descriptor_cannot_change_the_file(bench: Bench) -> None:
    """Neither make it shorter, which would kill whoever has it mapped, nor longer, nor sealed."""
    fd = bench.claim(0, "uid 1").dma_alloc(MemorySpec(PAGE)).view.fd
    for size in (0, BANK_SIZE - PAGE, BANK_SIZE + PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_the_quota_is_the_bank(bench: Bench) -> None:
    claim = bench.claim(0, "uid 1")
    memory = claim.dma_alloc(MemorySpec(BANK_SIZE))
    (usage,) = bench.host.dma_usage()
    assert (usage.bytes, usage.bytes_max) == (BANK_SIZE, BANK_SIZE)
    with pytest.raises(DmaQuota):
        claim.dma_alloc(MemorySpec(1))
    memory.free()
    claim.dma_alloc(MemorySpec(1))
    assert bench.host.dma_check() == []


# ---- without an IOMMU -------------------------------------------------------------------


def test_without_an_iommu_the_tag_has_to_reach_the_bank(bare: Bench) -> None:
    claim = bare.claim(0, "uid 1")
    with pytest.raises(NoDmaMemory):
        claim.dma_alloc(MemorySpec(PAGE, high=0xFFFF_FFFF))
    memory = claim.dma_alloc(MemorySpec(PAGE))
    addr = load(claim, memory)
    assert addr >= BANKS_START
    assert bare.models[0].dma.write(addr, b"there")
    assert bytes(memory.view)[:5] == b"there"
    assert bare.host.dma_check() == []


def test_without_an_iommu_pages_stay_the_functions(bare: Bench) -> None:
    """It may still write them, so the owner's next claim of another function gets others."""
    one = bare.claim(0, "uid 1")
    old = pages_of(one.dma_alloc(MemorySpec(8 * PAGE)))
    one.release()
    other = bare.claim(1, "uid 1")
    taken = pages_of(other.dma_alloc(MemorySpec(BANK_SIZE // 2)))
    assert not taken & old
    other.release()
    again = bare.claim(0, "uid 1").dma_alloc(MemorySpec(8 * PAGE))
    assert pages_of(again) == old


def test_a_function_goes_back_to_the_bank_that_it_had(bare: Bench) -> None:
    claims = [bare.claim(number, "uid 1") for number in range(3)]
    banks = [bank_of(claim) for claim in claims]
    for claim in claims:
        claim.release()
    for number in (2, 0, 1):
        assert bank_of(bare.claim(number, "uid 1")) == banks[number]


def test_once_quiet_all_that_it_had_is_free(bare: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bare.claim(0, "uid 1")
    one.dma_alloc(MemorySpec(8 * PAGE))
    pool = one.dma.pool
    one.release()
    assert pool.free == BANK_SIZE - 8 * PAGE
    monkeypatch.setattr(GuardClaim, "_quiet", lambda _: True)
    bare.claim(0, None).release()
    assert pool.free == BANK_SIZE


# ---- the machine's side -----------------------------------------------------------------


def test_a_model_reads_and_writes_banks_by_address() -> None:
    memory = ModelMemory(1 << 20, 2)
    with contextlib.closing(memory):
        second = BANKS_START + BANK_SIZE
        assert memory.write(second, b"bank")
        assert os.pread(memory.banks[1].fd, 4, 0) == b"bank"
        assert memory.read(second, 4) == b"bank"
        assert memory.read(second - 4, 4) == bytes(4)
        for addr in (1 << 20, BANKS_START - 1, second - 2, second + BANK_SIZE - 2):
            assert memory.read(addr, 4) is None
            assert not memory.write(addr, b"none")
        assert not any(os.pread(memory.banks[0].fd, BANK_SIZE, 0))
    memory.close()


@pytest.mark.parametrize("text", ["33", "-1", "x", "", "1.0", "100", "²"])
@pytest.mark.parametrize("scheme", ["model", "qemu"])
def test_numbers_of_banks_that_are_none(scheme: str, text: str) -> None:
    with pytest.raises(BadURL, match="banks="):
        open_host(f"{scheme}:edu?banks={text}")
