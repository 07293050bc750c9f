"""Where things may lie: the allocator of bus addresses and of pages, against a set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rumpci.guard.dma.space import Space

END = 1024


def made(*ranges: tuple[int, int]) -> Space:
    space = Space()
    for start, end in ranges:
        space.add(start, end)
    return space


class Against(RuleBasedStateMachine):
    """The model is the set of free pages."""

    def __init__(self) -> None:
        super().__init__()
        self.space = made((1, 700), (800, END))
        self.free = set(range(1, 700)) | set(range(800, END))
        self.taken: list[tuple[int, int]] = []

    @rule(
        pages=st.integers(1, 200),
        align=st.sampled_from([1, 2, 8, 64, 256]),
        limits=st.tuples(st.integers(0, END), st.integers(0, END)),
    )
    def take(self, pages: int, align: int, limits: tuple[int, int]) -> None:
        low, high = sorted(limits)
        start = self.space.take(pages, align, low, high)
        if start is None:
            return
        got = set(range(start, start + pages))
        assert got <= self.free
        assert start % align == 0
        assert low <= start
        assert start + pages <= high
        self.free -= got
        self.taken.append((start, pages))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        start, pages = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.space.give(start, pages)
        self.free |= set(range(start, start + pages))

    @rule(pages=st.integers(1, 64))
    def a_whole_block_is_found(self, pages: int) -> None:
        """What a free aligned block could hold is never refused."""
        size = 1 << (pages - 1).bit_length()
        blocks = (range(at, at + size) for at in range(0, END, size))
        room = any(self.free.issuperset(block) for block in blocks)
        start = self.space.take(pages)
        assert start is not None or not room
        if start is not None:
            self.space.give(start, pages)

    @invariant()
    def free_pages_are_counted(self) -> None:
        assert self.space.free == len(self.free)

    def teardown(self) -> None:
        for start, pages in self.taken:
            self.space.give(start, pages)
        assert self.space.free == 699 + END - 800


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(st.lists(st.integers(1, 40), max_size=60), st.randoms(use_true_random=False))
def test_everything_given_back_is_one_range_again(sizes: list[int], random: object) -> None:
    space = made((0, 4096))
    taken = [(start, n) for n in sizes if (start := space.take(n)) is not None]
    for start, n in taken:
        space.give(start, n)
    assert space.take(4096) == 0


def test_no_block_crosses_a_boundary_that_it_fits() -> None:
    space = made((1, 1000))
    for pages in (3, 5, 7, 12, 33, 60):
        start = space.take(pages)
        assert start is not None
        boundary = 1 << (pages - 1).bit_length()
        assert start // boundary == (start + pages - 1) // boundary


@pytest.mark.parametrize("pages", [2, 3, 9])
def test_what_is_given_back_rests(pages: int) -> None:
    space = made((0, 4096))
    for _ in range(200):
        start = space.take(pages)
        assert start is not None
        space.give(start, pages)
    recent = []
    for _ in range(60):
        start = space.take(pages)
        assert start is not None
        assert start not in recent
        recent.append(start)
        space.give(start, pages)


def test_ten_thousand_live_ranges_are_apart() -> None:
    space = made((1, 1 << 27))
    taken = [space.take(2) for _ in range(10_000)]
    pages = {page for start in taken if start is not None for page in (start, start + 1)}
    assert len(pages) == 20_000
