"""Second-level tables against a dictionary of pages: what is walked is what was granted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.errors import NoDmaMemory
from rumpci.machines.vtd.tables import SecondLevel, leaves

PAGE, MIB2, GIB = 1 << 12, 1 << 21, 1 << 30
READ, WRITE = 1, 2
Model = dict[int, int]
"""Page address -> entry."""


class Pages:
    """Pages of a memory of this many, given out in order and taken back as they were left."""

    def __init__(self, count: int) -> None:
        self.memory = bytearray(count * PAGE)
        self.words = memoryview(self.memory).cast("Q")
        self.free = [n * PAGE for n in range(count - 1, 0, -1)]
        self.used: set[int] = set()

    def take(self) -> int:
        if not self.free:
            raise NoDmaMemory("a page", "none is left", "free some")
        page = self.free.pop()
        self.used.add(page)
        self.memory[page : page + PAGE] = bytes(PAGE)
        return page

    def give(self, page: int) -> None:
        self.used.remove(page)
        self.free.append(page)


def tables(pages: Pages, large: frozenset[int] = frozenset({2, 3}), levels: int = 3) -> SecondLevel:
    return SecondLevel(pages.words, pages, levels, large)


def walk(made: SecondLevel, pages: Pages, levels: int = 3) -> list[tuple[int, int, int]]:
    return list(leaves(pages.words, made.root, levels))


def expand(found: list[tuple[int, int, int]]) -> Model:
    """Every leaf as pages of 4 KiB, without the bit of large pages."""
    return {
        addr + off: (entry & ~0x80) + off for addr, size, entry in found
        for off in range(0, size, PAGE)
    }  # fmt: skip


def granted(model: Model, addr: int, page: int, size: int, bits: int) -> None:
    for off in range(0, size, PAGE):
        model[addr + off] = page + off | bits


def revoked(model: Model, addr: int, size: int) -> None:
    for off in range(0, size, PAGE):
        model.pop(addr + off, None)


def near(base: int) -> st.SearchStrategy[int]:
    """Page numbers round multiples of 2 MiB from `base` on, below 6 MiB."""
    return st.builds(
        lambda big, off: max(0, base + 512 * big + off),
        st.integers(0, 2), st.sampled_from([-3, -1, 0, 0, 0, 1, 2, 200]),
    )  # fmt: skip


OPERATION = st.tuples(
    st.sampled_from(["grant", "grant", "revoke"]),
    near(2),
    near(4096),
    st.sampled_from([1, 1, 2, 3, 511, 512, 513, 1024]),
    st.sampled_from([READ, WRITE, READ | WRITE]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATION, max_size=12), st.sampled_from([(), (2,), (2, 3)]), st.integers(3, 40))
def test_the_walk_is_what_was_granted(
    operations: list[tuple[str, int, int, int, int]], large: tuple[int, ...], room: int
) -> None:
    """With too few pages, too: a grant fails as a whole, a revocation never lets more through."""
    pages = Pages(room)
    made, model = tables(pages, frozenset(large)), Model()
    for verb, first, frame, count, bits in operations:
        addr, page, size = first << 12, frame << 12, count << 12
        before = dict(model)
        if verb == "revoke":
            stale = made.clear(addr, size)
            revoked(model, addr, size)
        else:
            try:
                stale = made.grant(addr, page, size, bits)
                granted(model, addr, page, size, bits)
            except NoDmaMemory:
                stale = (0, 1 << 39)
                if size > PAGE:  # else it is as before
                    lost(model, expand(walk(made, pages)), addr, size)
        now = expand(walk(made, pages))
        if len(pages.free):
            assert now == model
        else:
            assert now.items() <= model.items()
            model = now
        changed = [at for at in before if now.get(at) != before[at]]
        assert all(stale and stale[0] <= at < stale[1] for at in changed)
        made.give_dropped()
    made.free()
    assert not pages.used


def lost(model: dict[int, int], now: dict[int, int], addr: int, size: int) -> None:
    """What a failed grant may take away, and it did."""
    gone = [at for at in model if addr <= at < addr + size and at not in now]
    for at in gone:
        del model[at]


def test_large_pages_are_used_where_they_fit() -> None:
    pages = Pages(20)
    made = tables(pages)
    made.grant(GIB - MIB2 - PAGE, 4 * GIB - MIB2 - PAGE, GIB + MIB2 + 2 * PAGE, READ)
    sizes = [size for _, size, _ in walk(made, pages)]
    assert sizes == [PAGE, MIB2, GIB, PAGE]


def test_what_is_not_aligned_alike_is_in_small_pages() -> None:
    pages = Pages(20)
    made = tables(pages)
    made.grant(MIB2, MIB2 + PAGE, MIB2, READ)
    assert {size for _, size, _ in walk(made, pages)} == {PAGE}


def test_a_hole_in_a_large_page_splits_it_twice() -> None:
    pages = Pages(20)
    made = tables(pages)
    made.grant(0, 0, GIB, READ | WRITE)
    assert made.clear(5 * MIB2 + PAGE, PAGE) == (0, GIB), "all of the large page was cached"
    found = walk(made, pages)
    assert sum(size for _, size, _ in found) == GIB - PAGE
    assert all(addr == entry & ~0xFFF for addr, _, entry in found)
    assert len(found) == 511 + 511


def test_a_large_page_over_small_ones_drops_their_table() -> None:
    pages = Pages(20)
    made = tables(pages)
    made.grant(0, MIB2, PAGE, READ)
    before = set(pages.used)
    assert made.grant(0, MIB2, MIB2, READ) == (0, MIB2)
    assert pages.used == before, "not before the unit has forgotten it"
    made.give_dropped()
    assert len(pages.used) == len(before) - 1
    made.grant(0, 0, PAGE, WRITE)
    assert len(walk(made, pages)) == 512


def test_without_a_page_to_split_with_all_of_the_large_page_goes() -> None:
    pages = Pages(3)  # page 0 is nobody's
    made = tables(pages)
    made.grant(0, 0, MIB2, READ)
    assert made.clear(PAGE, PAGE) == (0, MIB2)
    assert walk(made, pages) == []


def test_a_grant_that_fails_grants_nothing() -> None:
    pages = Pages(4)
    made = tables(pages)
    with pytest.raises(NoDmaMemory):
        made.grant(MIB2 - PAGE, PAGE, 2 * PAGE, READ)
    assert walk(made, pages) == []


def test_four_levels_reach_as_far_as_they_should() -> None:
    pages = Pages(20)
    made = tables(pages, levels=4)
    last = (1 << 48) - MIB2
    made.grant(last, MIB2, MIB2, READ)
    made.grant(GIB, GIB, GIB, WRITE)
    made.clear(last + PAGE, MIB2 - PAGE)
    assert walk(made, pages, 4) == [(GIB, GIB, GIB | WRITE | 0x80), (last, PAGE, MIB2 | READ)]
    made.free()
    assert not pages.used
