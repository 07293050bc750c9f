"""bus_space(9), mapping: map, unmap, subregion, vaddr, mmap, barrier."""

import errno
import mmap

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import bus_space as bs
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.errors import (
    BadAccess,
    BadRange,
    DeadWindow,
    NoSuchBar,
    NotClaimed,
    NotSupported,
    OutOfWindow,
    RumpciError,
)
from rumpci.host import Space

from .cards import MAPPED, PORTS, SIZE, TRAPPED, Attached, attached, has_three_parts

BARS = pytest.mark.parametrize("bar", [TRAPPED, MAPPED], ids=["trapped", "mapped"])


def assert_error(error: RumpciError, number: int) -> None:
    assert error.errno == number
    assert has_three_parts(error), str(error)


def base_of(card: Attached, bar: int) -> int:
    found = card.claim.function.bar(bar)
    assert found is not None
    return found.base


@BARS
def test_unmap_twice(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        bs.bus_space_unmap(tag, handle, SIZE)
        assert not handle.live
        with pytest.raises(DeadWindow) as caught:
            bs.bus_space_unmap(tag, handle, SIZE)
        assert_error(caught.value, errno.ENXIO)


@BARS
def test_unmap_wants_what_was_mapped(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        sub = bs.bus_space_subregion(tag, handle, 0, SIZE // 2)
        for wrong, size in ((handle, SIZE - 1), (handle, 0), (handle, -1), (sub, SIZE // 2)):
            with pytest.raises(BadRange) as caught:
                bs.bus_space_unmap(tag, wrong, size)
            assert_error(caught.value, errno.EINVAL)
        with pytest.raises(BadAccess):
            bs.bus_space_unmap(card.tags[Space.IO], handle, SIZE)
        assert bs.bus_space_read_4(tag, handle, 0) == 0


@BARS
def test_unmap_after_release(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        card.claim.release()
        with pytest.raises(DeadWindow) as caught:
            bs.bus_space_unmap(tag, handle, SIZE)
        assert_error(caught.value, errno.ENXIO)


@pytest.mark.parametrize(
    ("start", "size", "error"),
    [
        (-4, 4, NoSuchBar),
        (SIZE, 4, NoSuchBar),
        (0, SIZE + 1, NoSuchBar),
        (1 << 70, 4, NoSuchBar),
        (0, 1 << 70, NoSuchBar),
        (0, 0, BadRange),
        (0, -4, BadRange),
    ],
)
def test_map_outside(start: int, size: int, error: type[RumpciError]) -> None:
    with attached() as card:
        tag, base = card.tags[Space.IO], base_of(card, PORTS)
        with pytest.raises(error) as caught:
            bs.bus_space_map(tag, base + start, size)
        assert_error(caught.value, error.errno)


def test_map_needs_the_right_space_and_a_claim() -> None:
    with attached() as card:
        with pytest.raises(NoSuchBar):
            bs.bus_space_map(card.tags[Space.MEM], base_of(card, PORTS), 4)
        with pytest.raises(NotClaimed) as caught:
            bs.bus_space_map(BusSpaceTag(Space.IO, "free"), base_of(card, PORTS), 4)
        assert_error(caught.value, errno.EPERM)
        card.claim.release()
        with pytest.raises(DeadWindow):
            bs.bus_space_map(card.tags[Space.IO], base_of(card, PORTS), 4)


def test_linear_only_where_mapped() -> None:
    with attached() as card:
        assert card.map(MAPPED, flags=bs.BUS_SPACE_MAP_LINEAR)[1].mapped
        with pytest.raises(NotSupported) as caught:
            card.map(TRAPPED, flags=bs.BUS_SPACE_MAP_LINEAR)
        assert_error(caught.value, errno.EOPNOTSUPP)


@BARS
@pytest.mark.parametrize(
    ("offset", "size"),
    [(-1, 4), (0, SIZE + 1), (SIZE, 1), (1, SIZE), (1 << 70, 4), (0, 1 << 70), (-(1 << 70), 1)],
)
def test_subregion_out_of_range(bar: int, offset: int, size: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        with pytest.raises(OutOfWindow) as caught:
            bs.bus_space_subregion(tag, handle, offset, size)
        assert_error(caught.value, errno.EFAULT)


@BARS
@pytest.mark.parametrize("size", [0, -1, -(1 << 70)])
def test_subregion_of_nothing(bar: int, size: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        with pytest.raises(BadRange) as caught:
            bs.bus_space_subregion(tag, handle, 8, size)
        assert_error(caught.value, errno.EINVAL)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_subregions_nest_and_stay_inside(data: st.DataObject) -> None:
    with attached() as card:
        for bar in (TRAPPED, MAPPED):
            tag, handle = card.map(bar)
            bs.bus_space_write_region_1(tag, handle, 0, bytes(range(SIZE)), SIZE)
            start, size = 0, SIZE
            for _ in range(3):
                offset = data.draw(st.integers(0, size - 1))
                size = data.draw(st.integers(1, size - offset))
                handle = bs.bus_space_subregion(tag, handle, offset, size)
                start += offset
            assert bs.bus_space_read_1(tag, handle, size - 1) == start + size - 1
            for outside in (-1, size):
                with pytest.raises(OutOfWindow):
                    bs.bus_space_read_1(tag, handle, outside)


def test_equality_of_tags_and_handles() -> None:
    with attached() as card:
        tag, one = card.map(MAPPED)
        two = card.map(MAPPED)[1]
        same = bs.bus_space_subregion(tag, one, 0, 4)
        assert bs.bus_space_is_equal(tag, tag)
        assert not bs.bus_space_is_equal(tag, card.tags[Space.IO])
        assert bs.bus_space_handle_is_equal(tag, one, same)
        assert not bs.bus_space_handle_is_equal(tag, one, two)
        assert not bs.bus_space_handle_is_equal(card.tags[Space.IO], one, one)


def mapped_at(fd: int, offset: int, size: int) -> bytes:
    skip = offset % mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(fd, skip + size, prot=mmap.PROT_READ, offset=offset - skip) as whole:
        return bytes(whole[skip:])


def test_vaddr_and_mmap_are_the_registers() -> None:
    with attached() as card:
        tag, handle = card.map(MAPPED, 8)
        sub = bs.bus_space_subregion(tag, handle, 8, 16)
        bs.bus_space_write_4(tag, sub, 4, 0x1234_5678)
        view = bs.bus_space_vaddr(tag, sub)
        assert (len(view), bytes(view[4:8])) == (16, b"\x78\x56\x34\x12")
        view[8] = 0x5A
        assert bs.bus_space_read_1(tag, handle, 16) == 0x5A
        fd, offset = bs.bus_space_mmap(tag, sub, 4)
        assert mapped_at(fd, offset, 4) == b"\x78\x56\x34\x12"


def test_vaddr_of_a_read_only_window_cannot_be_written() -> None:
    with attached() as card:
        tag, handle = card.map(MAPPED, flags=bs.BUS_SPACE_MAP_READONLY)
        view = bs.bus_space_vaddr(tag, handle)
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1


@pytest.mark.parametrize("bar", [TRAPPED, PORTS])
def test_vaddr_and_mmap_need_memory(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        for call in (
            lambda: bs.bus_space_vaddr(tag, handle),
            lambda: bs.bus_space_mmap(tag, handle, 0),
        ):
            with pytest.raises(NotSupported) as caught:
                call()
            assert_error(caught.value, errno.EOPNOTSUPP)


@pytest.mark.parametrize("offset", [-1, SIZE, 1 << 70])
def test_mmap_outside(offset: int) -> None:
    with attached() as card:
        tag, handle = card.map(MAPPED)
        with pytest.raises(OutOfWindow) as caught:
            bs.bus_space_mmap(tag, handle, offset)
        assert_error(caught.value, errno.EFAULT)


def uses(tag: BusSpaceTag, handle: BusSpaceHandle) -> dict[str, object]:
    return {
        "vaddr": lambda: bs.bus_space_vaddr(tag, handle),
        "mmap": lambda: bs.bus_space_mmap(tag, handle, 0),
        "barrier": lambda: bs.bus_space_barrier(tag, handle, 0, 4),
    }


@BARS
@pytest.mark.parametrize("end", ["unmap", "release"])
@pytest.mark.parametrize("use", ["vaddr", "mmap", "barrier"])
def test_dead_handles(bar: int, end: str, use: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        if end == "unmap":
            bs.bus_space_unmap(tag, handle, SIZE)
        else:
            card.claim.release()
        do = uses(tag, handle)[use]
        assert callable(do)
        with pytest.raises(DeadWindow) as caught:
            do()
        assert_error(caught.value, errno.ENXIO)


@BARS
@pytest.mark.parametrize(
    ("offset", "length"),
    [(-1, 4), (0, SIZE + 1), (SIZE, 1), (0, -1), (SIZE + 8, -8), (0, 1 << 70), (1 << 70, 0)],
)
def test_barrier_out_of_range(bar: int, offset: int, length: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        with pytest.raises(OutOfWindow) as caught:
            bs.bus_space_barrier(tag, handle, offset, length)
        assert_error(caught.value, errno.EFAULT)


@BARS
def test_barrier_inside(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        bs.bus_space_barrier(tag, handle, 0, SIZE)
        bs.bus_space_barrier(tag, handle, SIZE - 1, 1, bs.BUS_SPACE_BARRIER_READ)
        with pytest.raises(BadAccess):
            bs.bus_space_barrier(card.tags[Space.IO], handle, 0, 4)
