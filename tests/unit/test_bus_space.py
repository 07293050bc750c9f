"""bus_space(9) on models: both paths give the same results, and every misuse its error."""

import array
import errno
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import bus_space as bs
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.errors import (
    AccessFault,
    BadAccess,
    DeadWindow,
    OutOfWindow,
    ReadOnlyWindow,
    RumpciError,
    ValueTooWide,
)
from rumpci.host import Space
from rumpci.machines.model.ram import Ram
from rumpci.pcireg import PCI_COMMAND_STATUS_REG

from .cards import (
    CALLS,
    MAPPED,
    PORTS,
    READS,
    SIZE,
    TRAPPED,
    WIDTHS,
    WRITES,
    Attached,
    Card,
    attached,
    function,
    has_three_parts,
)

BARS = pytest.mark.parametrize("bar", [TRAPPED, MAPPED], ids=["trapped", "mapped"])
EVERY_WIDTH = pytest.mark.parametrize("width", WIDTHS)
EVERY_CALL = pytest.mark.parametrize("call", CALLS)


def refused(
    card: Attached, kind: type[RumpciError], number: int, do: Callable[[], object]
) -> RumpciError:
    """Check that `do` raises exactly `kind`, with `number`, and that nothing was accessed."""
    assert isinstance(card.card, Card)
    before = len(card.card.log), [card.contents(bar) for bar in card.card.config.bars]
    with pytest.raises(kind) as caught:
        do()
    assert type(caught.value) is kind
    assert caught.value.errno == number
    assert has_three_parts(caught.value), str(caught.value)
    log = card.card.log
    assert (len(log), [card.contents(bar) for bar in card.card.config.bars]) == before
    return caught.value


# ---- both paths alike --------------------------------------------------------


class Step(NamedTuple):
    name: str
    width: int
    offset: int
    other: int
    value: int
    number: int


NAMES = [*(name for name in CALLS if not name.endswith("stream"))]
offsets = st.integers(0, SIZE) | st.integers(-9, SIZE + 9)
steps = st.builds(
    Step,
    st.sampled_from(NAMES),
    st.sampled_from(WIDTHS),
    offsets,
    offsets,
    st.integers(-1, 1 << 65) | st.integers(0, 255),
    st.integers(-1, 9),
)


def data_of(step: Step) -> bytearray:
    return bytearray((step.value + i) & 0xFF for i in range(step.width * max(step.number, 0)))


def arguments(step: Step, handle: BusSpaceHandle, data: bytearray) -> tuple[object, ...]:
    kind = step.name.split("_")[0]
    if kind in ("read", "peek", "write", "poke") and "_" not in step.name:
        return () if kind in ("read", "peek") else (step.value,)
    if kind == "set":
        return step.value, step.number
    return (handle, step.other, step.number) if kind == "copy" else (data, step.number)


def outcome(step: Step, tag: BusSpaceTag, handle: BusSpaceHandle) -> tuple[object, ...]:
    data = data_of(step)
    call = function(f"{step.name}_{step.width}")
    try:
        value = call(tag, handle, step.offset, *arguments(step, handle, data))
    except RumpciError as error:
        return type(error), error.errno, bytes(data)
    return value, bytes(data)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=12), st.sampled_from([0, 8, 12]))
def test_mapped_and_trapped_agree(todo: list[Step], start: int) -> None:
    with attached() as card:
        mapped, trapped = card.map(MAPPED, start), card.map(TRAPPED, start)
        assert (mapped[1].mapped, trapped[1].mapped) == (True, False)
        for step in todo:
            assert outcome(step, *mapped) == outcome(step, *trapped)
            assert card.contents(MAPPED) == card.contents(TRAPPED)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(WIDTHS), st.integers(0, 7), st.integers(0, 7), st.integers(0, 8))
def test_copy_is_memmove(width: int, source: int, target: int, count: int) -> None:
    with attached() as card:
        for tag, handle in (card.map(MAPPED), card.map(TRAPPED)):
            model = bytearray(range(SIZE))
            bs.bus_space_write_region_1(tag, handle, 0, model, SIZE)
            count = min(count, SIZE // width - max(source, target))
            model[target * width :][: count * width] = b""
            moved = bytes(range(SIZE))[source * width :][: count * width]
            model = bytearray(range(SIZE))
            model[target * width : target * width + len(moved)] = moved
            function(f"copy_region_{width}")(
                tag, handle, source * width, handle, target * width, count
            )
            out = bytearray(SIZE)
            bs.bus_space_read_region_1(tag, handle, 0, out, SIZE)
            assert out == model


def test_ram_model_is_mapped_and_keeps_values() -> None:
    with attached(Ram()) as card:
        tag, handle = card.map(0)
        assert handle.mapped
        bs.bus_space_write_8(tag, handle, 0xFFF8, 0x0123_4567_89AB_CDEF)
        assert bs.bus_space_read_2(tag, handle, 0xFFFC) == 0x4567
        assert bs.bus_space_peek_1(tag, handle, 0xFFFF) == 0x01


@EVERY_WIDTH
def test_elements_may_be_an_array_or_bytes(width: int) -> None:
    kind = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
    with attached() as card:
        for tag, handle in (card.map(MAPPED), card.map(TRAPPED)):
            function(f"write_region_{width}")(tag, handle, 0, array.array(kind, [1, 2, 3]), 3)
            got = array.array(kind, [9, 9, 9, 9])
            function(f"read_region_{width}")(tag, handle, 0, got, 3)
            assert got.tolist() == [1, 2, 3, 9]


# ---- misuse ---------------------------------------------------------------------


@BARS
@EVERY_WIDTH
@EVERY_CALL
def test_outside_the_window(bar: int, width: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar, 8, 32)
        for offset in (-width, -8, 32, 32 + width, 1 << 40, -(1 << 40)):
            do = lambda o=offset: CALLS[call](tag, handle, o, width)  # noqa: E731
            refused(card, OutOfWindow, errno.EFAULT, do)


@BARS
@pytest.mark.parametrize("call", ["read_region", "write_region", "set_region", "copy_region"])
def test_region_that_ends_outside(bar: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar, 8, 32)
        refused(card, OutOfWindow, errno.EFAULT, lambda: CALLS[call](tag, handle, 24, 8))


@BARS
@EVERY_CALL
@pytest.mark.parametrize("offset", [1 << 63, 1 << 64, -(1 << 63) - 1, (1 << 64) - 4])
def test_offset_beyond_any_machine_word(bar: int, call: str, offset: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        refused(card, OutOfWindow, errno.EFAULT, lambda: CALLS[call](tag, handle, offset, 4))


@BARS
@EVERY_WIDTH
@pytest.mark.parametrize("name", ["read_region", "write_region", "read_multi", "write_multi"])
@pytest.mark.parametrize("power", [61, 62, 63, 64])
def test_count_that_overflows(bar: int, width: int, name: str, power: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        call = function(f"{name}_{width}")
        for count in (1 << power, (1 << power) // width):
            do = partial(call, tag, handle, 0, bytearray(8), count)
            refused(card, BadAccess, errno.EINVAL, do)


@BARS
@EVERY_WIDTH
@pytest.mark.parametrize("count", [1 << 61, 1 << 62, 1 << 64, 1 << 70])
def test_set_and_copy_of_too_many(bar: int, width: int, count: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        fill, copy = function(f"set_region_{width}"), function(f"copy_region_{width}")
        refused(card, OutOfWindow, errno.EFAULT, lambda: fill(tag, handle, 0, 1, count))
        refused(card, OutOfWindow, errno.EFAULT, lambda: copy(tag, handle, 0, handle, 8, count))


@BARS
@pytest.mark.parametrize("width", [2, 4, 8])
@EVERY_CALL
def test_misaligned(bar: int, width: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        for offset in range(1, width):
            do = lambda o=offset: CALLS[call](tag, handle, 8 + o, width)  # noqa: E731
            assert str(width) in refused(card, BadAccess, errno.EINVAL, do).why


@BARS
def test_alignment_is_the_bars_not_the_windows(bar: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar, 2, 16)
        refused(card, BadAccess, errno.EINVAL, lambda: bs.bus_space_read_4(tag, handle, 0))
        assert bs.bus_space_read_4(tag, handle, 2) == 0
        sub = bs.bus_space_subregion(tag, handle, 2, 8)
        assert bs.bus_space_read_4(tag, sub, 0) == 0


@EVERY_CALL
def test_ports_have_no_64_bit_accesses(call: str) -> None:
    with attached() as card:
        tag, handle = card.map(PORTS)
        refused(card, BadAccess, errno.EINVAL, lambda: CALLS[call](tag, handle, 0, 8))
        CALLS[call](tag, handle, 0, 4)


@BARS
@EVERY_WIDTH
@pytest.mark.parametrize("call", WRITES)
def test_read_only_window(bar: int, width: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar, flags=bs.BUS_SPACE_MAP_READONLY)
        assert handle.mapped == (bar == MAPPED)
        do = lambda: WRITES[call](tag, handle, 16, width)  # noqa: E731
        refused(card, ReadOnlyWindow, errno.EACCES, do)
        assert bs.bus_space_read_1(tag, handle, 0) == 0


@BARS
@EVERY_CALL
def test_wrong_tag(bar: int, call: str) -> None:
    with attached() as card:
        handle = card.map(bar)[1]
        for tag in (card.tags[Space.IO], BusSpaceTag(Space.MEM, "test0"), None):
            do = lambda t=tag: CALLS[call](t, handle, 0, 4)  # noqa: E731
            refused(card, BadAccess, errno.EINVAL, do)


@BARS
@EVERY_CALL
def test_use_after_unmap(bar: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        sub = bs.bus_space_subregion(tag, handle, 0, 32)
        bs.bus_space_unmap(tag, handle, SIZE)
        for dead in (handle, sub):
            do = lambda h=dead: CALLS[call](tag, h, 0, 4)  # noqa: E731
            refused(card, DeadWindow, errno.ENXIO, do)


@BARS
@EVERY_CALL
def test_use_after_release(bar: int, call: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        sub = bs.bus_space_subregion(tag, handle, 0, 32)
        card.claim.release()
        for dead in (handle, sub):
            do = lambda h=dead: CALLS[call](tag, h, 0, 4)  # noqa: E731
            refused(card, DeadWindow, errno.ENXIO, do)


@BARS
@EVERY_WIDTH
@pytest.mark.parametrize("name", ["write", "poke", "set_multi", "set_region"])
def test_values_that_do_not_fit(bar: int, width: int, name: str) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        call, count = function(f"{name}_{width}"), (2,) if name.startswith("set") else ()
        for value in (1 << 8 * width, 1 << 64, -1, -(1 << 70)):
            do = lambda v=value: call(tag, handle, 0, v, *count)  # noqa: E731
            refused(card, ValueTooWide, errno.ERANGE, do)
        for wrong in (1.0, "1", None, b"\1"):
            with pytest.raises(TypeError, match="int is wanted"):
                call(tag, handle, 0, wrong, *count)
        call(tag, handle, 0, (1 << 8 * width) - 1, *count)
        assert card.contents(bar)[:width] == b"\xff" * width


@BARS
@EVERY_WIDTH
@pytest.mark.parametrize("name", ["read_multi", "read_region", "write_multi", "write_region"])
def test_buffers_that_do_not_fit(bar: int, width: int, name: str) -> None:
    other = array.array("I" if width != 4 else "Q", [0] * 8)
    wrong: list[object] = [bytearray(3 * width - 1), b"", other, "text", None, 7]
    wrong += [memoryview(bytearray(64))[::2], [0, 0, 0]]
    if name.startswith("read"):
        wrong += [bytes(3 * width), memoryview(bytes(64))]
    with attached() as card:
        tag, handle = card.map(bar)
        for data in wrong:
            do = lambda d=data: function(f"{name}_{width}")(tag, handle, 0, d, 3)  # noqa: E731
            refused(card, BadAccess, errno.EINVAL, do)


@BARS
@EVERY_WIDTH
def test_negative_count(bar: int, width: int) -> None:
    with attached() as card:
        tag, handle = card.map(bar)
        for name in ("read_multi", "read_region", "write_multi", "write_region"):
            call = function(f"{name}_{width}")
            do = lambda c=call: c(tag, handle, 0, bytearray(8), -1)  # noqa: E731
            refused(card, BadAccess, errno.EINVAL, do)
        for name in ("set_multi", "set_region"):
            call = function(f"{name}_{width}")
            do = lambda c=call: c(tag, handle, 0, 1, -1)  # noqa: E731
            refused(card, BadAccess, errno.EINVAL, do)
        copy = function(f"copy_region_{width}")
        refused(card, BadAccess, errno.EINVAL, lambda: copy(tag, handle, 0, handle, 8, -1))


@pytest.mark.parametrize("call", READS | WRITES)
def test_the_handle_must_be_one(call: str) -> None:
    with attached() as card:
        tag, _ = card.map(TRAPPED)
        with pytest.raises((TypeError, AttributeError)):
            CALLS[call](tag, None, 0, 4)  # type: ignore[arg-type]


def test_peek_and_poke_where_nothing_answers() -> None:
    with attached() as card:
        tag, handle = card.map(TRAPPED)
        card.claim.conf_write(PCI_COMMAND_STATUS_REG, 0)
        for width in WIDTHS:
            peek, poke = function(f"peek_{width}"), function(f"poke_{width}")
            refused(card, AccessFault, errno.EFAULT, partial(peek, tag, handle, 0))
            refused(card, AccessFault, errno.EFAULT, partial(poke, tag, handle, 0, 1))
            assert function(f"read_{width}")(tag, handle, 0) == (1 << 8 * width) - 1
