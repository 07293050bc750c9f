"""The model's DMA-remapping unit, driven by tables and descriptors that are made by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.vtd import ModelVtd

# Written out again from the specification: a mistake in the model's own declarations shows.
CAP, ECAP, GCMD, GSTS, RTADDR, FSTS, FECTL = 0x08, 0x10, 0x18, 0x1C, 0x20, 0x34, 0x38
FEDATA, FEADDR, IQH, IQT, IQA, ICS, IECTL = 0x3C, 0x40, 0x80, 0x88, 0x90, 0x9C, 0xA0
IEDATA, IEADDR = 0xA4, 0xA8
TE, SRTP, QIE = 1 << 31, 1 << 30, 1 << 26
PFO, PPF, IQE = 1, 2, 16
F, IM, IP = 1 << 63, 1 << 31, 1 << 30
R, W, PS = 1, 2, 1 << 7

ROOT, CONTEXTS, TOP, MIDDLE, LEAVES, QUEUE, STATUS = (0x10000 + 0x1000 * i for i in range(7))
PAGE, OTHER = 0x30000, 0x31000
SOURCE, DID = 0x0008, 7
ADDR = 0x5_4020_1000  # 21, 1, 1 in the three tables
SLOTS = (ADDR >> 30, ADDR >> 21 & 511, ADDR >> 12 & 511)
READ_FAULT, WRITE_FAULT = 6, 5


class Bench:
    def __init__(self) -> None:
        self.memory = ModelMemory(1 << 20)
        self.sent: list[tuple[int, int]] = []
        self.unit = ModelVtd(self.memory, lambda address, data: self.sent.append((address, data)))
        self.tail = self.waits = 0

    def put(self, at: int, *words: int) -> None:
        assert self.memory.write(at, struct.pack(f"<{len(words)}Q", *words))

    def tables(self) -> None:
        """One page at ADDR for SOURCE, for reading and writing."""
        self.put(ROOT, CONTEXTS | 1, 0)
        self.put(CONTEXTS + 16 * (SOURCE & 0xFF), TOP | 1, DID << 8 | 1)
        self.put(TOP + 8 * SLOTS[0], MIDDLE | R | W)
        self.put(MIDDLE + 8 * SLOTS[1], LEAVES | R | W)
        self.leaf(PAGE | R | W)

    def leaf(self, entry: int) -> None:
        self.put(LEAVES + 8 * SLOTS[2], entry)

    def command(self, bit: int) -> None:
        self.unit.write(GCMD, 4, self.unit.read(GSTS, 4) & 0x96FF_FFFF | bit)
        assert self.unit.read(GSTS, 4) & bit

    def start(self) -> None:
        self.unit.write(IQA, 8, QUEUE)
        self.command(QIE)
        self.unit.write(RTADDR, 8, ROOT)
        self.command(SRTP)
        self.command(TE)

    def queue(self, *descriptors: tuple[int, int]) -> None:
        for low, high in descriptors:
            self.put(QUEUE + 16 * self.tail, low, high)
            self.tail = (self.tail + 1) % 256
        self.unit.write(IQT, 8, self.tail << 4)

    def invalidate(self, *descriptors: tuple[int, int]) -> None:
        """The descriptors and a wait, which must be done."""
        self.waits += 1
        self.queue(*descriptors, (5 | 1 << 5 | self.waits << 32, STATUS))
        assert self.memory.read(STATUS, 4) == self.waits.to_bytes(4, "little")

    def to(self, addr: int = ADDR, write: bool = True, source: int = SOURCE) -> int | None:
        return self.unit.translate(source, addr, write)

    def record(self, index: int = 0) -> tuple[int, int]:
        at = (self.unit.read(CAP, 8) >> 24 & 0x3FF) * 16 + 16 * index
        return self.unit.read(at, 8), self.unit.read(at + 8, 8)

    def clear(self, index: int = 0) -> None:
        self.unit.write(0x220 + 16 * index + 12, 4, 1 << 31)

    def blocked(self, reason: int, addr: int = ADDR, write: bool = True) -> None:
        """The access is blocked, for this reason, and the record says so; cleared after."""
        assert self.to(addr, write) is None
        index = self.unit.read(FSTS, 4) >> 8 & 0xFF
        low, high = self.record(index)
        assert (low, high) == (addr & -4096, F | (not write) << 62 | reason << 32 | SOURCE)
        self.clear(index)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.tables()
    made.start()
    yield made
    made.memory.close()


GLOBAL_CONTEXT, GLOBAL_IOTLB = (1 | 1 << 4, 0), (2 | 1 << 4, 0)


def domain(did: int = DID) -> tuple[int, int]:
    return 2 | 2 << 4 | did << 16, 0


def pages(addr: int, mask: int = 0, did: int = DID, hint: int = 0) -> tuple[int, int]:
    return 2 | 3 << 4 | did << 16, addr | hint << 6 | mask


def device(source: int = SOURCE, did: int = DID, mask: int = 0) -> tuple[int, int]:
    return 1 | 3 << 4 | did << 16 | source << 32 | mask << 48, 0


def test_what_it_says_it_can_do(bench: Bench) -> None:
    cap, ecap = bench.unit.read(CAP, 8), bench.unit.read(ECAP, 8)
    assert cap >> 8 & 0x1F == 2  # 39 bits only
    assert cap >> 34 & 0xF == 3  # both superpages
    assert cap >> 16 & 0x3F == 38
    assert not cap & (1 << 7 | 1 << 4)  # no caching mode, no write-buffer flushing
    assert cap & 1 << 39
    assert ecap & 0b1010 == 0b0010  # queue, no interrupt remapping
    assert bench.unit.read(CAP + 4, 4) == cap >> 32


def test_disabled_it_translates_nothing() -> None:
    made = Bench()
    assert made.to(0x1234) == 0x1000
    assert made.to(1 << 50) == 1 << 50
    made.memory.close()


def test_a_walk(bench: Bench) -> None:
    assert bench.to(ADDR + 0x123) == PAGE
    assert bench.to(write=False) == PAGE
    bench.blocked(WRITE_FAULT, ADDR + 0x1000)
    bench.blocked(READ_FAULT, ADDR - 1, write=False)
    assert bench.unit.misuse == []


@pytest.mark.parametrize("at", [TOP + 8 * SLOTS[0], MIDDLE + 8 * SLOTS[1], LEAVES + 8 * SLOTS[2]])
@pytest.mark.parametrize("rights", [0, R, W])
def test_every_level_may_deny(bench: Bench, at: int, rights: int) -> None:
    old = int.from_bytes(bench.memory.read(at, 8) or b"", "little")
    bench.put(at, old & ~3 | rights)
    for write, need, reason in ((True, W, WRITE_FAULT), (False, R, READ_FAULT)):
        if rights & need:
            assert bench.to(write=write) == PAGE
        else:
            bench.blocked(reason, write=write)


@pytest.mark.parametrize(
    ("at", "size"), [(MIDDLE + 8 * SLOTS[1], 2 << 20), (TOP + 8 * SLOTS[0], 1 << 30)]
)
def test_superpages(bench: Bench, at: int, size: int) -> None:
    bench.put(at, 4 * size | PS | R | W)
    inside = 0x3000 + size // 2
    assert bench.to((ADDR & -size) + inside + 5) == 4 * size + inside
    bench.put(at, 4 * size | 0x1000 | PS | R | W)
    bench.invalidate(domain())
    bench.blocked(0xC)


def test_what_is_wrong_with_tables_is_told_apart(bench: Bench) -> None:
    context = CONTEXTS + 16 * SOURCE
    top = MIDDLE | R | W
    wrong = [
        (ROOT, 0, 1), (ROOT, CONTEXTS | 3, 0xA), (ROOT, 1 << 30 | 1, 9),
        (context, 0, 2), (context, TOP | 1 << 2 | 1, 3), (context, TOP | 0x10 | 1, 0xB),
        (context + 8, DID << 8 | 2, 3), (context + 8, 256 << 8 | 1, 3),
        (context + 8, 1 << 24 | 1, 0xB),
        (context, 1 << 30 | 1, 7), (TOP + 8 * SLOTS[0], 1 << 30 | R, 7),
        (TOP + 8 * SLOTS[0], top | 1 << 40, 0xC),
        (LEAVES + 8 * SLOTS[2], PAGE | 1 << 11 | R, 0xC),
    ]  # fmt: skip
    for at, value, reason in wrong:
        old = int.from_bytes(bench.memory.read(at, 8) or b"", "little")
        bench.put(at, value)
        bench.invalidate(GLOBAL_CONTEXT, GLOBAL_IOTLB)
        bench.blocked(reason)
        bench.put(at, old)
    bench.invalidate(GLOBAL_CONTEXT, GLOBAL_IOTLB)
    assert bench.to() == PAGE
    bench.blocked(4, 1 << 39)
    bench.blocked(4, (1 << 64) - 1)


def test_a_root_table_outside_memory(bench: Bench) -> None:
    bench.unit.write(RTADDR, 8, 1 << 30)
    bench.command(SRTP)
    bench.blocked(8)


def test_the_root_table_is_taken_over_on_command(bench: Bench) -> None:
    bench.unit.write(RTADDR, 8, OTHER)
    assert bench.to() == PAGE
    bench.command(SRTP)
    assert bench.to() == PAGE, "the context entry is remembered"
    bench.invalidate(GLOBAL_CONTEXT)
    bench.blocked(1)


# ---- what is remembered --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptor", "forgets"),
    [
        (GLOBAL_IOTLB, True), (domain(), True), (domain(8), False), (GLOBAL_CONTEXT, False),
        (pages(ADDR), True), (pages(ADDR + 0x1000), False), (pages(ADDR, did=8), False),
        (pages(ADDR, hint=1), True), (pages(ADDR & -(1 << 14), 2), True),
        (pages(ADDR + (1 << 14), 2), False), (pages(ADDR & -(1 << 30), 18), True),
        (device(), False),
    ],
)  # fmt: skip
def test_a_translation_is_kept_until_it_is_invalidated(
    bench: Bench, descriptor: tuple[int, int], forgets: bool
) -> None:
    assert bench.to() == PAGE
    bench.leaf(OTHER | R | W)
    assert bench.to() == PAGE
    bench.invalidate(descriptor)
    assert bench.to() == (OTHER if forgets else PAGE)


def test_a_revoked_page_is_reached_until_it_is_invalidated(bench: Bench) -> None:
    assert bench.to() == PAGE
    bench.leaf(0)
    assert bench.to() == PAGE
    bench.invalidate(pages(ADDR))
    bench.blocked(WRITE_FAULT)
    bench.leaf(PAGE | R | W)
    assert bench.to() == PAGE, "what is not present is not remembered"


def test_one_page_of_a_superpage_is_no_more_than_a_page(bench: Bench) -> None:
    bench.put(MIDDLE + 8 * SLOTS[1], PS | R | W)
    both = (ADDR, ADDR + 0x1000)
    assert [bench.to(addr) for addr in both] == [0x1000, 0x2000]
    bench.put(MIDDLE + 8 * SLOTS[1], 0)
    bench.invalidate(pages(ADDR))
    bench.blocked(WRITE_FAULT)
    assert bench.to(both[1]) == 0x2000
    bench.invalidate(pages(ADDR & -(2 << 20), 9))
    bench.blocked(WRITE_FAULT, both[1])


def test_the_hint_keeps_the_tables_on_the_way(bench: Bench) -> None:
    assert bench.to() == PAGE
    bench.put(MIDDLE + 8 * SLOTS[1], 0)
    bench.invalidate(pages(ADDR, hint=1))
    assert bench.to() == PAGE, "the table of leaves is remembered"
    bench.invalidate(pages(ADDR))
    bench.blocked(WRITE_FAULT)


@pytest.mark.parametrize(
    ("descriptor", "forgets"),
    [
        (GLOBAL_CONTEXT, True), ((1 | 2 << 4 | DID << 16, 0), True),
        ((1 | 2 << 4 | 8 << 16, 0), False),
        (device(), True), (device(SOURCE + 1), False), (device(did=8), False),
        (device(SOURCE + 4, mask=1), True), (device(SOURCE + 1, mask=1), False),
        (device(SOURCE + 7, mask=3), True), (device(SOURCE + 8, mask=3), False),
        (GLOBAL_IOTLB, False),
    ],
)  # fmt: skip
def test_a_context_entry_is_kept_until_it_is_invalidated(
    bench: Bench, descriptor: tuple[int, int], forgets: bool
) -> None:
    assert bench.to() == PAGE
    bench.put(CONTEXTS + 16 * SOURCE, 0, 0)
    bench.invalidate(descriptor)
    if forgets:
        bench.blocked(2)
    else:
        assert bench.to() == PAGE


def test_domains_with_one_number_share_what_is_remembered(bench: Bench) -> None:
    """So a number must not be used again before its translations are invalidated."""
    assert bench.to() == PAGE
    bench.put(CONTEXTS + 16 * 0x10, OTHER | 1, DID << 8 | 1)  # its tables are empty
    assert bench.to(source=0x10) == PAGE
    bench.invalidate(domain())
    assert bench.to(source=0x10) is None


# ---- the queue -----------------------------------------------------------------------------


def test_the_queue_wraps(bench: Bench) -> None:
    for _ in range(300):
        bench.invalidate(GLOBAL_IOTLB, pages(ADDR))
    assert bench.unit.read(IQH, 8) == bench.tail << 4 == 900 % 256 << 4
    bench.put(QUEUE + 16 * bench.tail, 0, 0)


def test_a_larger_queue() -> None:
    made = Bench()
    made.unit.write(IQA, 8, 0x20000 | 1)
    made.command(QIE)
    made.unit.write(IQT, 8, 511 << 4)
    assert made.unit.read(IQH, 8) == 0  # zeros are no descriptors
    for i in range(511):
        made.put(0x20000 + 16 * i, *GLOBAL_IOTLB)
    made.unit.write(FSTS, 4, IQE)
    assert made.unit.read(IQH, 8) == 511 << 4
    made.memory.close()


@pytest.mark.parametrize(
    "descriptor",
    [(0, 0), (3, 0), (4 | 1 << 4, 0), (2, 0), (1, 0), (2 | 1 << 4 | 1 << 12, 0), pages(ADDR, 19),
     (2 | 1 << 4, 1 << 7), (5 | 1 << 5, STATUS | 1), (1 | 1 << 4, 1)],
)  # fmt: skip
def test_a_bad_descriptor_stops_the_queue(bench: Bench, descriptor: tuple[int, int]) -> None:
    bench.queue(GLOBAL_IOTLB, descriptor, GLOBAL_IOTLB)
    assert bench.unit.read(FSTS, 4) & IQE
    assert bench.unit.read(IQH, 8) == 1 << 4
    assert len(bench.unit.misuse) == 1
    bench.put(QUEUE + 16, *GLOBAL_IOTLB)
    bench.unit.write(FSTS, 4, IQE)
    assert bench.unit.read(FSTS, 4) == 0
    assert bench.unit.read(IQH, 8) == 3 << 4


def test_a_wait_may_interrupt(bench: Bench) -> None:
    wait = (5 | 1 << 4, 0)
    bench.queue(wait)
    assert bench.unit.read(ICS, 4) == 1
    assert bench.unit.read(IECTL, 4) == IM | IP
    bench.unit.write(IEDATA, 4, 0x55)
    bench.unit.write(IEADDR, 4, 0xFEE0_0000)
    bench.unit.write(IECTL, 4, 0)
    assert bench.sent == [(0xFEE0_0000, 0x55)]
    bench.queue(wait)
    assert len(bench.sent) == 1
    bench.unit.write(ICS, 4, 1)
    bench.queue(wait)
    assert len(bench.sent) == 2


# ---- faults --------------------------------------------------------------------------------


def test_records_fill_and_overflow(bench: Bench) -> None:
    records = (bench.unit.read(CAP, 8) >> 40 & 0xFF) + 1
    for i in range(1, records + 1):
        assert bench.to(ADDR + 0x1000 * i) is None
    assert bench.unit.read(FSTS, 4) == PPF
    assert bench.to(ADDR - 0x1000) is None
    assert bench.unit.read(FSTS, 4) == PPF | PFO
    assert bench.unit.faults.recorded == records + 1
    assert [bench.record(i)[0] for i in range(records)] == [
        ADDR + 0x1000 * i for i in range(1, records + 1)
    ]
    for i in range(records):
        bench.clear(i)
    assert bench.to(ADDR - 0x1000) is None
    assert bench.unit.read(FSTS, 4) == PFO, "nothing is recorded until the overflow is cleared"
    bench.unit.write(FSTS, 4, PFO)
    assert bench.to(ADDR - 0x2000) is None
    assert bench.unit.read(FSTS, 4) == PPF
    assert bench.record()[0] == ADDR - 0x2000


def test_the_first_record_moves_on(bench: Bench) -> None:
    for index in (0, 1, 2, 3, 0):
        assert bench.to(0) is None
        assert bench.unit.read(FSTS, 4) == index << 8 | PPF
        bench.clear(index)
    assert not bench.unit.read(FSTS, 4) & PPF


def test_one_interrupt_until_all_is_read(bench: Bench) -> None:
    bench.to(0)
    assert bench.unit.read(FECTL, 4) == IM | IP
    bench.unit.write(FEDATA, 4, 0x33)
    bench.unit.write(FEADDR, 8, 0xFEE0_0000)
    bench.unit.write(FECTL, 4, 0)
    bench.to(0)
    assert bench.sent == [(0xFEE0_0000, 0x33)]
    bench.clear(0)
    bench.clear(1)
    bench.to(0)
    assert len(bench.sent) == 2


def test_a_context_entry_may_want_no_records(bench: Bench) -> None:
    bench.put(CONTEXTS + 16 * SOURCE, TOP | 3)
    assert bench.to(0) is None
    assert bench.unit.read(FSTS, 4) == 0
    assert bench.unit.faults.recorded == 0


# ---- software that does it wrong -------------------------------------------------------------


def test_misuse_is_noted() -> None:
    made = Bench()
    unit = made.unit
    unit.write(GCMD, 4, TE)
    assert "root table" in unit.misuse[-1]
    unit.write(GCMD, 4, QIE)
    assert "global command" in unit.misuse[-1]
    unit.write(IQA, 4, QUEUE)
    assert "address" in unit.misuse[-1]
    unit.write(0x28, 8, F)
    assert unit.read(0x28, 8) == F, "it never completes"
    assert "by register" in unit.misuse[-1]
    assert unit.read(CAP, 2) == 0xFFFF
    unit.write(GSTS + 2, 4, 0)
    assert "4 bytes at 0x1e" in unit.misuse[-1]
    assert len(unit.misuse) == 6
    made.memory.close()


def test_many_registers_in_one_call(bench: Bench) -> None:
    assert bench.unit.read_many(CAP, 8, 2, 8)[:8] == bench.unit.read(CAP, 8).to_bytes(8, "little")
    bench.unit.write_many(FEDATA, 4, 4, struct.pack("<II", 1, 4))
    assert bench.unit.read(FEADDR, 4) == 4
    bench.unit.barrier()
