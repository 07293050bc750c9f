"""The driver of VT-d units against the model of one: what is granted gets through, nothing else.

The model remembers all that the specification lets it.  Pages that the tables give
back are filled with entries that let everything through, so that a table which is
still remembered shows.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from rumpci.errors import DeviceBusy, NoDmaMemory
from rumpci.host import Address
from rumpci.host_dma import Direction
from rumpci.machines.machine import Domain
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.vtd.unit import Unit

PAGE, MIB2, GIB = 1 << 12, 1 << 21, 1 << 30
DEVICES = [Address(0, 0, slot, 0) for slot in (1, 2, 3)]
POISON = (0x7777_7003).to_bytes(8, "little") * 512
DIRECTIONS = [Direction.NONE, Direction.READ, Direction.WRITE, Direction.BOTH]


class Card(Model):
    config = ConfigSpec(vendor=0x1234, product=0x0004, class_=0x088000)


class Pages:
    """A PageSource that spoils what it gets back."""

    def __init__(self, machine: ModelMachine) -> None:
        self._memory = machine.memory
        start, end = machine.memory.usable[0]
        self.free = list(range(start, end, PAGE))
        self.all = len(self.free)

    def take(self) -> int:
        if not self.free:
            raise NoDmaMemory("a page", "none is left", "give one back")
        page = self.free.pop(0)
        assert self._memory.write(page, bytes(PAGE))
        return page

    def give(self, page: int) -> None:
        assert page not in self.free
        assert self._memory.write(page, POISON)
        self.free.append(page)


class Range(NamedTuple):
    start: int
    end: int
    page: int
    direction: Direction


class Function:
    """One function and what it should reach: the last range that has an address counts."""

    def __init__(self, machine: ModelMachine, address: Address) -> None:
        assert machine.iommu is not None
        assert machine.unit is not None
        self.iommu, self.unit, self.address = machine.iommu, machine.unit, address
        self.requester = machine.iommu.requester(address)
        self.domain: Domain | None = None
        self.ranges: list[Range] = []
        self.short = False
        """Whether memory ran out: then a split page may be lost whole."""

    def wanted(self, addr: int, write: bool) -> int | None:
        need = Direction.READ if write else Direction.WRITE
        for r in reversed(self.ranges):
            if r.start <= addr < r.end:
                return r.page + (addr - r.start & -PAGE) if need in r.direction else None
        return None

    def check(self, addresses: list[int]) -> None:
        for addr in addresses:
            for write in (False, True):
                found = self.unit.translate(self.requester, addr, write)
                wanted = self.wanted(addr, write)
                assert found == wanted or (self.short and found is None), f"{addr:#x} {write=}"

    def attach(self) -> None:
        self.domain = self.iommu.attach(self.address)

    def detach(self) -> None:
        assert self.domain is not None
        self.domain.detach()
        self.domain = None
        self.ranges.clear()

    def grant(self, addr: int, page: int, size: int, direction: Direction) -> None:
        assert self.domain is not None
        try:
            self.domain.grant(addr, page, size, direction)
        except NoDmaMemory:  # then nothing more is granted
            assert self.short
            return
        self.ranges.append(Range(addr, addr + size, page, direction))

    def revoke(self, *ranges: tuple[int, int]) -> None:
        assert self.domain is not None
        self.domain.revoke(ranges)
        self.ranges += [Range(a, a + size, 0, Direction.NONE) for a, size in ranges]


@contextlib.contextmanager
def started(memory: int) -> Iterator[ModelMachine]:
    made = ModelMachine([Card(), Card(), Card()], memory=memory)
    assert made.iommu is not None
    assert made.unit is not None
    made.iommu.start(Pages(made))
    yield made
    assert made.unit.misuse == []
    made.close()


@pytest.fixture
def machine() -> Iterator[ModelMachine]:
    with started(32 << 20) as made:
        yield made


def a_range(rng: random.Random) -> tuple[int, int]:
    size = rng.choice([PAGE, 2 * PAGE, 7 * PAGE, MIB2, MIB2 + PAGE, 3 * MIB2, GIB, GIB + MIB2])
    addr = rng.choice([0, PAGE, MIB2, GIB, 3 * GIB]) + rng.choice([0, 0, PAGE, MIB2 - PAGE])
    return addr, size


def edges(ranges: list[Range], rng: random.Random) -> list[int]:
    places = [a + d for r in ranges for a in (r.start, r.end) for d in (-PAGE, 0, PAGE)]
    places += [rng.randrange(r.start, r.end) for r in ranges]
    return [a for a in rng.sample(places, min(24, len(places))) if a >= 0] + [0, MIB2, GIB]


def act(function: Function, rng: random.Random) -> None:
    """One call, with what it touches remembered by the unit before."""
    if function.domain is None:
        function.attach()
        return
    if rng.random() < 0.05:
        function.detach()
        return
    addr, size = a_range(rng)
    function.check([addr, addr + size - PAGE, addr + size])
    if rng.random() < 0.3:
        function.revoke(*[a_range(rng) for _ in range(rng.choice([1, 1, 3, 70]))], (addr, size))
    else:
        page = rng.choice([addr, 0, MIB2, 4 * GIB, PAGE])
        function.grant(addr, page, size, rng.choice(DIRECTIONS))


def run(machine: ModelMachine, seed: int, count: int, *, short: bool = False) -> None:
    rng = random.Random(seed)  # noqa: S311
    functions = [Function(machine, at) for at in DEVICES]
    for function in functions:
        function.short = short
    for _ in range(count):
        with contextlib.suppress(NoDmaMemory):  # of an attach
            act(rng.choice(functions), rng)
        for function in functions:
            function.check(edges(function.ranges, rng))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_granted_and_nothing_else(machine: ModelMachine, seed: int) -> None:
    run(machine, seed, 60)


@pytest.mark.parametrize("seed", range(10))
def test_without_memory_for_tables_it_is_never_more(seed: int) -> None:
    with started((64 << 10) + (40 << 12)) as machine:
        run(machine, seed, 60, short=True)


def test_tables_are_given_back() -> None:
    machine = ModelMachine([Card()], memory=8 << 20)
    assert machine.iommu is not None
    pages = Pages(machine)
    machine.iommu.start(pages)
    function = Function(machine, DEVICES[0])
    function.attach()
    function.detach()
    before = len(pages.free)
    for _ in range(3):
        function.attach()
        for addr in (0, MIB2 - PAGE, GIB, 5 * GIB):
            function.grant(addr, addr, 3 * PAGE, Direction.BOTH)
        function.detach()
    assert len(pages.free) == before
    machine.close()


def test_faults_are_told(machine: ModelMachine) -> None:
    one = Function(machine, DEVICES[0])
    one.attach()
    assert one.iommu.faults() == []
    for i in range(3):
        one.check([i * PAGE])
    faults = one.iommu.faults()
    assert {fault.source for fault in faults} == {one.requester}
    assert [(fault.addr, fault.write) for fault in faults[:2]] == [(0, False), (0, True)]
    assert faults[-1].lost or len(faults) == 6
    assert one.iommu.faults() == []
    one.check([GIB])
    assert len(one.iommu.faults()) == 2


def test_asking_for_faults_costs_nothing(machine: ModelMachine) -> None:
    one = Function(machine, DEVICES[0])
    one.attach()
    assert one.iommu.faults() == []
    unit, reads = machine.unit, list[int]()
    assert unit is not None
    read = unit.read
    unit.read = lambda offset, width: (reads.append(offset), read(offset, width))[1]  # type: ignore
    assert one.iommu.faults() == []
    assert reads == []


def test_one_domain_for_a_function(machine: ModelMachine) -> None:
    one = Function(machine, DEVICES[0])
    one.attach()
    with pytest.raises(DeviceBusy):
        one.attach()


def test_the_tables_are_listed_as_the_unit_has_them(machine: ModelMachine) -> None:
    one = Function(machine, DEVICES[1])
    one.attach()
    one.grant(MIB2, GIB, MIB2 + PAGE, Direction.READ)
    rows = [(g.device, g.addr, g.size, g.page, g.direction) for g in one.iommu.entries()]
    assert rows == [
        (DEVICES[1], MIB2, MIB2, GIB, Direction.READ),
        (DEVICES[1], 2 * MIB2, PAGE, GIB + MIB2, Direction.READ),
    ]


# ---- these tests see mistakes ------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", [1, 2])
def test_a_forgotten_invalidation_is_seen(
    machine: ModelMachine, forgotten: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: context entries, 2: translations."""
    invalidate = Unit.invalidate

    def some(self: Unit, *descriptors: tuple[int, int]) -> None:
        invalidate(self, *[d for d in descriptors if d[0] & 0xF != forgotten])

    monkeypatch.setattr(Unit, "invalidate", some)
    with pytest.raises(AssertionError):
        run(machine, 1, 200)
