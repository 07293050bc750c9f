"""Registers declared once: what follows from a declaration, and what it refuses."""

import copy
import pickle
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.errors import BadAccess, DeadWindow, RumpciError, ValueTooWide, WaitTimeout
from rumpci.regs import RO, W1C, WO, Field, Register

from .cards import MAPPED, TRAPPED, Attached, Card, attached, has_three_parts


class CTRL(Register, offset=0x08, section="3.1"):
    """Control."""

    GO = Field(0)
    MODE = Field(3, 1, values={1: "fast"})
    LEN = Field(31, 16)


class STATUS(Register, offset=0x0C, width=2, section="3.2"):
    """Status: flags that a one clears, beside a plain field."""

    DONE = Field(0, access=W1C)
    ERROR = Field(1, access=W1C)
    LEVEL = Field(7, 4)


class EVENTS(Register, offset=0x10, access=W1C, section="3.3"):
    """Only two of its bits are declared."""

    A = Field(0)
    B = Field(1)
    ENABLE = Field(8, access=RO)


class ID(Register, offset=0x00, access=RO, section="3.4"):
    """Identification."""


class DOORBELL(Register, offset=0x14, width=1, access=WO, section="3.5"):
    """Doorbell."""


class RING(Register, offset=0x20, width=8, count=3, stride=16):
    """An array."""

    BASE = Field(63, 12)


class OVERLAP(Register, offset=0x18):
    """A field and a part of it."""

    ALL = Field(3, 0)
    ONE = Field(1)


@pytest.fixture
def card() -> Iterator[Attached]:
    with attached() as made:
        yield made


@pytest.fixture
def regs(card: Attached) -> tuple[BusSpaceTag, BusSpaceHandle]:
    return card.map(TRAPPED)


def log_of(card: Attached) -> list[tuple[str, int, int, int]]:
    assert isinstance(card.card, Card)
    found = [(a.verb, a.offset, a.width, a.value) for a in card.card.log]
    card.card.log.clear()
    return found


def poke(card: Attached, offset: int, value: int, width: int = 4) -> None:
    assert isinstance(card.card, Card)
    card.card.memory[TRAPPED][offset : offset + width] = value.to_bytes(width, "little")


def assert_refused(error: RumpciError, *words: str) -> None:
    assert has_three_parts(error)
    for word in words:
        assert word in str(error)


# ---- values ----------------------------------------------------------------------


@given(st.integers(0, 1), st.integers(0, 7), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF))
def test_fields_are_independent(go: int, mode: int, length: int, raw: int) -> None:
    value = CTRL(raw, GO=go, MODE=mode, LEN=length)
    assert value.decode() == {"GO": go, "MODE": mode, "LEN": length}
    assert (go, mode, length) == (value.GO, value.MODE, value.LEN)
    assert value & 0xFFF0 == raw & 0xFFF0
    assert value.replace(MODE=0).MODE == 0
    assert value.replace(MODE=mode) == value


@pytest.mark.parametrize("fields", [{"MODE": 8}, {"GO": 2}, {"LEN": -1}, {"LEN": 1 << 70}])
def test_value_too_wide_for_its_field(fields: dict[str, int]) -> None:
    with pytest.raises(ValueTooWide) as caught:
        CTRL(0, **fields)
    assert_refused(caught.value, f"CTRL.{next(iter(fields))}", "ERANGE")


@pytest.mark.parametrize("raw", [1 << 16, -1, 1 << 64])
def test_value_too_wide_for_its_register(raw: int) -> None:
    with pytest.raises(ValueTooWide) as caught:
        STATUS(raw)
    assert_refused(caught.value, "STATUS", "2 bytes")


def test_unknown_field_names_those_there_are(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    for do in (
        lambda: CTRL(0, SPEED=1),
        lambda: CTRL.write(*regs, SPEED=1),
        lambda: CTRL.modify(*regs, SPEED=1),
        lambda: CTRL.wait(*regs, 0, SPEED=1),
    ):
        with pytest.raises(BadAccess) as caught:
            do()
        assert_refused(caught.value, "CTRL.SPEED", "GO, MODE, LEN", "EINVAL")
    assert log_of(card) == []


def test_declarations_that_cannot_be() -> None:
    for hi, lo in ((1, 2), (-1, None), (3, -1)):
        with pytest.raises(ValueError, match="high, low"):
            Field(hi, lo)
    for offset, width in ((0, 3), (0, 0), (-4, 4)):
        with pytest.raises(ValueError, match="offset"):
            type("R", (Register,), {}, offset=offset, width=width)
    with pytest.raises(ValueError, match=r"R\.F ends outside"):
        type("R", (Register,), {"F": Field(8)}, offset=0, width=1)


@pytest.mark.parametrize("name", ["offset", "width", "access", "count", "stride", "fields", "wait"])
def test_a_field_may_not_hide_what_a_register_has(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        type("R", (Register,), {name: Field(0)}, offset=0)


def test_a_value_is_a_number_that_shows_its_fields() -> None:
    value = CTRL(0, GO=1, MODE=1, LEN=0x10)
    assert str(value) == "0x00100003<GO,MODE=fast,LEN=0x10>"
    assert repr(value) == "CTRL(0x00100003<GO,MODE=fast,LEN=0x10>)"
    assert str(ID(5)) == "0x00000005"
    assert value == 0x100003
    for again in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301
        assert (again, type(again)) == (value, CTRL)


# ---- accesses ----------------------------------------------------------------------


def test_one_access_each(regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached) -> None:
    poke(card, 0x08, 0x0007_0000)
    value = CTRL.read(*regs)
    assert (type(value), value.LEN) == (CTRL, 7)
    assert log_of(card) == [("read", 0x08, 4, 0x0007_0000)]
    CTRL.write(*regs, 0x8000, GO=1)
    assert log_of(card) == [("write", 0x08, 4, 0x8001)]
    DOORBELL.write(*regs, 0x5A)
    assert log_of(card) == [("write", 0x14, 1, 0x5A)]
    CTRL.modify(*regs, MODE=2)
    assert log_of(card) == [("read", 0x08, 4, 0x8001), ("write", 0x08, 4, 0x8005)]


def test_array(regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached) -> None:
    assert [RING.at(i) for i in range(3)] == [0x20, 0x30, 0x40]
    RING.write(*regs, index=1, BASE=1)
    assert log_of(card) == [("write", 0x30, 8, 0x1000)]
    for index in (-1, 3):
        for do in (RING.read, RING.modify):
            with pytest.raises(BadAccess) as caught:
                do(*regs, index)
            assert_refused(caught.value, f"RING[{index}]", "there are 3")
    assert log_of(card) == []


def test_read_only_and_write_only(regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached) -> None:
    for do, words in (
        (lambda: ID.write(*regs, 1), ("ID", "read only", "3.4")),
        (lambda: ID.modify(*regs), ("ID", "read only", "3.4")),
        (lambda: DOORBELL.read(*regs), ("DOORBELL", "write only", "3.5")),
        (lambda: DOORBELL.modify(*regs), ("DOORBELL", "write only", "3.5")),
        (lambda: DOORBELL.wait(*regs, 0), ("DOORBELL", "write only", "3.5")),
    ):
        with pytest.raises(BadAccess) as caught:
            do()
        assert_refused(caught.value, *words)
    assert log_of(card) == []


def test_a_modify_that_is_refused_reads_nothing(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    with pytest.raises(ValueTooWide):
        CTRL.modify(*regs, MODE=8)
    assert log_of(card) == []


def test_modify_clears_only_what_is_named(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    poke(card, 0x0C, 0x8033, 2)
    STATUS.modify(*regs, LEVEL=5)
    STATUS.modify(*regs, DONE=1)
    writes = [access for access in log_of(card) if access[0] == "write"]
    assert writes == [("write", 0x0C, 2, 0x8050), ("write", 0x0C, 2, 0x8051)]


@given(st.integers(0, 0xFFFF_FFFF), st.booleans())
def test_undeclared_bits_of_a_w1c_register_are_not_cleared(raw: int, named: bool) -> None:
    with attached() as made:
        tag, handle = made.map(TRAPPED)
        poke(made, 0x10, raw)
        EVENTS.modify(tag, handle, **({"A": 1} if named else {}))
        assert log_of(made)[1] == ("write", 0x10, 4, raw & 0x100 | named)


# ---- waiting -------------------------------------------------------------------------


def test_wait_returns_what_it_waited_for(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    poke(card, 0x08, 0x0007_0003)
    value = CTRL.wait(*regs, 0, GO=1, MODE=1)
    assert (type(value), value.LEN) == (CTRL, 7)
    assert len(log_of(card)) == 1


class Reads:
    """A deadline that passes after so many questions, however slow the machine is."""

    def __init__(self, count: int) -> None:
        self.count = count

    def passed(self) -> bool:
        self.count -= 1
        return self.count < 0


def test_wait_says_what_it_waited_for(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    poke(card, 0x08, 0x0007_0002)
    clock = SimpleNamespace(deadline=lambda limit: Reads(3), delay=lambda every: None)
    monkeypatch.setattr("rumpci.regs.kern", clock)
    with pytest.raises(WaitTimeout) as caught:
        CTRL.wait(*regs, 300, every=50, GO=1, MODE=1)
    assert_refused(caught.value, "CTRL at 0x8", "mask 0xf", "wanted 0x3", "300 us", "ETIMEDOUT")
    assert "last value 0x00070002<MODE=fast,LEN=0x7>" in str(caught.value)
    assert re.search(r"0000:00:01\.0 BAR0", str(caught.value))
    assert len(log_of(card)) == 4  # once more after the limit


def test_wait_reads_once_more_after_its_limit(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    with pytest.raises(WaitTimeout):
        CTRL.wait(*regs, 0, GO=1)
    assert len(log_of(card)) == 1


def test_wait_for_a_field_and_a_part_of_it(
    regs: tuple[BusSpaceTag, BusSpaceHandle], card: Attached
) -> None:
    poke(card, 0x18, 0x1F)
    with pytest.raises(WaitTimeout) as caught:
        OVERLAP.wait(*regs, 0, ALL=2, ONE=1)
    assert "mask 0xf, wanted 0x2" in str(caught.value)
    poke(card, 0x18, 0x12)
    assert OVERLAP.wait(*regs, 0, ALL=2, ONE=1) == 0x12


def test_wait_on_a_window_that_died(card: Attached) -> None:
    for bar in (TRAPPED, MAPPED):
        with attached() as made:
            tag, handle = made.map(bar)
            made.claim.release()
            with pytest.raises(DeadWindow):
                CTRL.wait(tag, handle, 1_000_000, GO=1)
