"""The guard's claims and windows on models: one client, its BARs, nothing after release."""

import errno
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import pcireg as pr
from rumpci.errors import (
    BadAccess,
    BadRange,
    DeadWindow,
    DeviceBusy,
    MachineDied,
    NoSuchBar,
    NoSuchDevice,
    OutOfWindow,
    ProtectedRange,
    ReadOnlyWindow,
    RumpciError,
    ValueTooWide,
)
from rumpci.guard.window import GuardWindow
from rumpci.host import Address
from rumpci.machines.model.config import BarSpec, CapSpec, ConfigSpec
from rumpci.machines.model.device import Model

from .cards import AT, MAPPED, SIZE, TRAPPED, Attached, Card, attached, has_three_parts

TABLE, TABLE_END, BAR_SIZE = 0x2000, 0x4000, 0x8000


def msix_at(offset: int, bir: int, entries: int) -> list[CapSpec]:
    body = (entries - 1).to_bytes(2, "little") + (offset | bir).to_bytes(4, "little") + bytes(4)
    return [CapSpec(pr.PCI_CAP_MSIX, body)]


class Logged(Model):
    """A card with a table of two pages, by handlers (BAR 0) or as memory (BAR 2)."""

    config = ConfigSpec(0x1234, 3, 0x020000, bars={0: BarSpec(BAR_SIZE), 2: BarSpec(BAR_SIZE)})

    def __init__(self) -> None:
        self.touched: list[tuple[int, int]] = []

    def read(self, bar: int, offset: int, width: int) -> int:
        del bar
        self.touched.append((offset, width))
        return 0

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        del bar, value
        self.touched.append((offset, width))


class MsixByHandlers(Logged):
    config = ConfigSpec(
        0x1234, 4, 0x020000, bars={0: BarSpec(BAR_SIZE)}, capabilities=msix_at(0x2800, 0, 256)
    )


class MsixInMemory(Logged):
    config = ConfigSpec(
        0x1234, 5, 0x020000, bars={0: BarSpec(BAR_SIZE, ram=True)},
        capabilities=msix_at(0x2800, 0, 256),
    )  # fmt: skip


class MsixInSmallBar(Logged):
    config = ConfigSpec(
        0x1234, 6, 0x020000, bars={0: BarSpec(SIZE), 1: BarSpec(SIZE)},
        capabilities=msix_at(0, 1, 2),
    )  # fmt: skip


def check(kind: type[RumpciError], number: int, do: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        do()
    assert type(caught.value) is kind
    assert caught.value.errno == number
    assert has_three_parts(caught.value), str(caught.value)


@pytest.fixture
def card() -> Iterator[Attached]:
    with attached() as made:
        yield made


# ---- claims ----------------------------------------------------------------------


def test_what_cannot_be_claimed(card: Attached) -> None:
    for address, kind, number in (
        (Address(0, 0, 0, 0), DeviceBusy, errno.EBUSY),
        (AT, DeviceBusy, errno.EBUSY),
        (Address(0, 0, 2, 0), NoSuchDevice, errno.ENXIO),
        (Address(1, 0, 1, 0), NoSuchDevice, errno.ENXIO),
        (Address(0, 256, 0, 0), NoSuchDevice, errno.ENXIO),
    ):
        check(kind, number, partial(card.host.claim, address, "other"))
    assert [f.claimed_by for f in card.host.functions()] == [None, "test"]


def test_release_gives_it_back(card: Attached) -> None:
    card.claim.release()
    card.claim.release()
    assert [f.claimed_by for f in card.host.functions()] == [None, None]
    again = card.host.claim(AT, "other")
    card.claim.release()
    assert [f.claimed_by for f in card.host.functions()] == [None, "other"]
    assert again.window(TRAPPED, 0, 4).read(0, 4) == 0


def test_close_releases_everything() -> None:
    with attached() as made:
        window = made.claim.window(MAPPED, 0, SIZE)
        made.host.close()
        made.host.close()
        check(DeadWindow, errno.ENXIO, lambda: window.read(0, 4))


def test_release_when_the_machine_died(card: Attached, monkeypatch: pytest.MonkeyPatch) -> None:
    def died(*args: object) -> int:
        raise MachineDied("config access", "it ended", "open it again")

    windows = [card.claim.window(bar, 0, SIZE) for bar in (TRAPPED, MAPPED)]
    monkeypatch.setattr(card.machine, "conf_write", died)
    monkeypatch.setattr(card.machine, "conf_read", died)
    card.claim.release()
    for window in windows:
        check(DeadWindow, errno.ENXIO, partial(window.read, 0, 4))
    assert card.host.functions()[1].claimed_by is None
    check(MachineDied, errno.EIO, lambda: card.host.claim(AT, "other"))


# ---- windows -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bar", "offset", "size", "kind"),
    [
        (3, 0, 4, NoSuchBar),
        (-1, 0, 4, NoSuchBar),
        (6, 0, 4, NoSuchBar),
        (0, -1, 4, BadRange),
        (0, 0, 0, BadRange),
        (0, 0, -1, BadRange),
        (0, 1, SIZE, BadRange),
        (0, 8, -4, BadRange),
        (0, 1 << 70, 4, BadRange),
        (0, 4, (1 << 64) - 4, BadRange),
    ],
)
def test_windows_that_cannot_be(
    card: Attached, bar: int, offset: int, size: int, kind: type[RumpciError]
) -> None:
    check(kind, kind.errno, lambda: card.claim.window(bar, offset, size))
    assert not card.claim._windows


def window_misuse(window: GuardWindow) -> list[tuple[type[RumpciError], Callable[[], object]]]:
    return [
        (OutOfWindow, lambda: window.read(-4, 4)),
        (OutOfWindow, lambda: window.read(16, 4)),
        (OutOfWindow, lambda: window.write(1 << 70, 4, 0)),
        (OutOfWindow, lambda: window.read_many(8, 4, 3, 4)),
        (OutOfWindow, lambda: window.write_many(8, 4, 4, bytes(12))),
        (OutOfWindow, lambda: window.write_many(16, 4, 4, b"")),
        (BadAccess, lambda: window.read(2, 4)),
        (BadAccess, lambda: window.read(0, 3)),
        (BadAccess, lambda: window.read(0, 16)),
        (BadAccess, lambda: window.read(0, 0)),
        (BadAccess, lambda: window.read(0, -4)),
        (BadAccess, lambda: window.write_many(0, 0, 0, b"")),
        (BadAccess, lambda: window.write_many(0, 4, 4, bytes(5))),
        (BadAccess, lambda: window.read_many(0, 4, -1, 4)),
        (BadAccess, lambda: window.read_many(0, 4, 1, 8)),
        (BadAccess, lambda: window.read_many(0, 4, 1, -4)),
        (BadAccess, lambda: window.read_many(0, 8, 1 << 61, 0)),
        (BadAccess, lambda: window.read_many(0, 1, 1 << 40, 0)),
        (ValueTooWide, lambda: window.write(0, 4, 1 << 32)),
        (ValueTooWide, lambda: window.write(0, 4, -1)),
    ]


@pytest.mark.parametrize("bar", [TRAPPED, MAPPED])
def test_each_access_is_checked_again(card: Attached, bar: int) -> None:
    window = card.claim.window(bar, 8, 16)
    for kind, do in window_misuse(window):
        check(kind, kind.errno, do)
    assert isinstance(card.card, Card)
    assert card.card.log == []
    readonly = card.claim.window(bar, 8, 16, writable=False)
    check(ReadOnlyWindow, errno.EACCES, lambda: readonly.write(0, 4, 0))
    check(ReadOnlyWindow, errno.EACCES, lambda: readonly.write_many(0, 4, 4, bytes(4)))
    assert card.card.log == []


@pytest.mark.parametrize("bar", [TRAPPED, MAPPED])
@pytest.mark.parametrize("end", ["unmap", "release"])
def test_dead_windows(card: Attached, bar: int, end: str) -> None:
    window = card.claim.window(bar, 0, SIZE)
    mapping = window.mapping
    window.unmap() if end == "unmap" else card.claim.release()
    for do in (
        lambda: window.read(0, 4),
        lambda: window.write(0, 4, 0),
        lambda: window.read_many(0, 4, 1, 4),
        lambda: window.write_many(0, 4, 4, bytes(4)),
        window.barrier,
        window.present,
        window.unmap,
    ):
        check(DeadWindow, errno.ENXIO, do)
    assert mapping is None or mapping.start == mapping.end
    if end == "release":
        check(DeadWindow, errno.ENXIO, lambda: card.claim.window(bar, 0, 4))


# ---- the MSI-X table ------------------------------------------------------------------


def operations(window: GuardWindow, position: int, width: int, count: int) -> list[str]:
    """The names of the errors that each kind of access there gives."""
    found = []
    for do in (
        lambda: window.read(position, width),
        lambda: window.write(position, width, 0),
        lambda: window.read_many(position, width, count, width),
        lambda: window.write_many(position, width, width, bytes(count * width)),
        lambda: window.read_many(position, width, count, 0),
    ):
        try:
            do()
            found.append("")
        except RumpciError as error:
            found.append(type(error).__name__)
    return found


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([MsixByHandlers, MsixInMemory]))
def test_no_access_reaches_the_table(data: st.DataObject, kind: type[Logged]) -> None:
    edges = st.sampled_from([TABLE, TABLE_END]).flatmap(lambda e: st.integers(e - 64, e + 64))
    start = data.draw(st.integers(0, TABLE - 1) | st.integers(TABLE_END, BAR_SIZE - 1) | edges)
    size = data.draw(st.integers(1, BAR_SIZE - start))
    at, width = data.draw(edges), data.draw(st.sampled_from([1, 2, 4, 8]))
    with attached(kind()) as made:
        if start >= TABLE and start + size <= TABLE_END:
            check(ProtectedRange, errno.EPERM, lambda: made.claim.window(0, start, size))
            return
        window = made.claim.window(0, start, size)
        if window.mapping is not None:
            low, high = start + window.mapping.start, start + window.mapping.end
            assert high <= TABLE or low >= TABLE_END
        operations(window, at - start, width, 8)
        assert isinstance(made.card, Logged)
        assert all(o + w <= TABLE or o >= TABLE_END for o, w in made.card.touched)


@pytest.mark.parametrize("kind", [MsixByHandlers, MsixInMemory])
def test_a_window_that_spans_the_table(kind: type[Logged]) -> None:
    with attached(kind()) as made:
        window = made.claim.window(0, 0, BAR_SIZE)
        assert set(operations(window, TABLE, 4, 1)) == {"ProtectedRange"}
        assert set(operations(window, TABLE_END - 8, 8, 1)) == {"ProtectedRange"}
        assert operations(window, TABLE - 4, 4, 2) == ["", "", *["ProtectedRange"] * 2, ""]
        assert operations(window, TABLE_END, 4, 2) == [""] * 5
        check(ProtectedRange, errno.EPERM, lambda: window.read(TABLE + 0x800, 4))


def test_a_table_in_a_bar_smaller_than_a_page() -> None:
    with attached(MsixInSmallBar()) as made:
        check(ProtectedRange, errno.EPERM, lambda: made.claim.window(1, 0, SIZE))
        assert made.claim.window(0, 0, SIZE).read(0, 4) == 0
