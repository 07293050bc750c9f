"""One call, one access: QEMU's own trace of its device models is the judge.

`?trace=FILE` makes QEMU log every access that reaches a device model.  A
model that takes only some widths has the others split or widened by QEMU,
so each place below is one whose model takes these widths as they come:

    ports   1 2 4   rtl8139, multicast filter: 8 bytes of plain storage
    memory  1 2 4   rtl8139's second BAR, which reaches the same registers;
                    the trace gives the addresses that they have as ports
    memory  4       edu, DMA address registers
    memory  8       edu from 0x80 on: the only model of QEMU 7.2 that takes 8 bytes unsplit

There are no 64-bit ports.  Nothing in the trace is passed over but accesses
to configuration space, which peek and poke make to see whether the function answers.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from rumpci import bus_space as bs
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.errors import BadAccess, RumpciError, WaitTimeout
from rumpci.host import Host, Space
from rumpci.hosts import open_host
from rumpci.regs import Field, Register

RELAY = " cpu 0 "  # the machine's processor makes accesses of its own; the wire is cpu -1
LINE = re.compile(
    r"memory_region_ops_(read|write) cpu -1 .*addr (0x\w+) value (0x\w+) size (\d+) name '(.*)'"
)
CONFIG = "pcie-mmcfg-mmio"


class Access(NamedTuple):
    verb: str
    offset: int
    width: int
    value: int


@dataclass(frozen=True)
class Place:
    """Registers of a device that take some widths unsplit, and hold what is written to them."""

    device: str
    bar: int
    offset: int
    size: int
    traced_bar: int | None = None


PORTS = Place("rtl8139", 0, 0x08, 8)
MEMORY = Place("rtl8139", 1, 0x08, 8, traced_bar=0)
EDU = Place("edu", 0, 0x80, 24)
WHERE = [
    *(pytest.param(PORTS, width, id=f"ports-{width}") for width in (1, 2, 4)),
    *(pytest.param(MEMORY, width, id=f"memory-{width}") for width in (1, 2, 4)),
    pytest.param(EDU, 8, id="memory-8"),
]
EVERYWHERE = pytest.mark.parametrize(("place", "width"), WHERE)


class Bench:
    """A machine with one device, its registers mapped, and what QEMU saw of them."""

    def __init__(self, host: Host, place: Place, trace: Path) -> None:
        function = next(f for f in host.functions() if not f.is_bridge)
        bar = function.bar(place.bar)
        traced = bar if place.traced_bar is None else function.bar(place.traced_bar)
        assert bar is not None
        assert traced is not None
        self.base = traced.base
        self.tag = BusSpaceTag(bar.space, "test0")
        self.tag.claim = host.claim(function.address, "test")
        self.handle = bs.bus_space_map(self.tag, bar.base, bar.size)
        self._trace, self._from = trace, 0
        self.seen()

    def seen(self) -> list[Access]:
        """The accesses since the last call, as QEMU's device saw them, but to config space."""
        bs.bus_space_barrier(self.tag, self.handle, 0, 0)
        text = self._trace.read_text()
        fresh, self._from = text[self._from :], len(text)
        found = [LINE.search(line) for line in fresh.splitlines() if RELAY not in line]
        assert all(found), "every line of the trace is understood"
        return [self._access(m.groups()) for m in found if m and m[5] != CONFIG]

    def _access(self, groups: tuple[str, ...]) -> Access:
        verb, address, value, size, _ = groups
        width = int(size)
        mask = (1 << 8 * width) - 1  # what QEMU logs of a narrow read may have more bits
        return Access(verb, int(address, 16) - self.base, width, int(value, 16) & mask)

    def call(self, name: str, *arguments: object) -> object:
        function: Callable[..., object] = getattr(bs, f"bus_space_{name}")
        return function(self.tag, self.handle, *arguments)


@contextlib.contextmanager
def bench_at(place: Place, path: Path) -> Iterator[Bench]:
    trace = path / "trace"
    with contextlib.closing(open_host(f"qemu:{place.device}?trace={trace}")) as host:
        yield Bench(host, place, trace)


@pytest.fixture
def bench(place: Place, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(place, tmp_path) as made:
        yield made


def value_of(seed: int, width: int) -> int:
    """A value whose bytes all differ, so that a swap or a cut shows."""
    return int.from_bytes(bytes(seed * 17 + 16 * i & 0xFF for i in range(width)), "little")


def fill(bench: Bench, place: Place, width: int) -> list[int]:
    """Give every register of the place a value of its own; they must hold it."""
    count = place.size // width
    values = [value_of(i + 1, width) for i in range(count)]
    for i, value in enumerate(values):
        bench.call(f"write_{width}", place.offset + i * width, value)
    assert [bench.call(f"read_{width}", place.offset + i * width) for i in range(count)] == values
    bench.seen()
    return values


def successive(verb: str, offset: int, width: int, values: list[int]) -> list[Access]:
    return [Access(verb, offset + i * width, width, value) for i, value in enumerate(values)]


def repeated(verb: str, offset: int, width: int, values: list[int]) -> list[Access]:
    return [Access(verb, offset, width, value) for value in values]


def packed(values: list[int], width: int) -> bytearray:
    return bytearray(b"".join(value.to_bytes(width, "little") for value in values))


@EVERYWHERE
@pytest.mark.parametrize("name", ["read", "read_stream", "peek"])
def test_read(bench: Bench, place: Place, width: int, name: str) -> None:
    values = fill(bench, place, width)
    for i, value in enumerate(values):
        at = place.offset + i * width
        assert bench.call(f"{name}_{width}", at) == value
        assert bench.seen() == [Access("read", at, width, value)]


@EVERYWHERE
@pytest.mark.parametrize("name", ["write", "write_stream", "poke"])
def test_write(bench: Bench, place: Place, width: int, name: str) -> None:
    for i in range(place.size // width):
        at, value = place.offset + i * width, value_of(i + 5, width)
        bench.call(f"{name}_{width}", at, value)
        assert bench.seen() == [Access("write", at, width, value)]


@EVERYWHERE
@pytest.mark.parametrize("kind", ["", "_stream"])
def test_read_multi(bench: Bench, place: Place, width: int, kind: str) -> None:
    value = fill(bench, place, width)[-1]
    at, count = place.offset + place.size - width, 300  # more than one batch on the wire
    data = bytearray(count * width)
    bench.call(f"read_multi{kind}_{width}", at, data, count)
    assert bench.seen() == repeated("read", at, width, [value] * count)
    assert data == packed([value] * count, width)


@EVERYWHERE
@pytest.mark.parametrize("kind", ["", "_stream"])
def test_write_multi(bench: Bench, place: Place, width: int, kind: str) -> None:
    values = [value_of(i, width) for i in range(300)]
    bench.call(f"write_multi{kind}_{width}", place.offset, packed(values, width), 300)
    assert bench.seen() == repeated("write", place.offset, width, values)


@EVERYWHERE
@pytest.mark.parametrize("kind", ["", "_stream"])
def test_read_region(bench: Bench, place: Place, width: int, kind: str) -> None:
    values = fill(bench, place, width)
    data = bytearray(place.size)
    bench.call(f"read_region{kind}_{width}", place.offset, data, len(values))
    assert bench.seen() == successive("read", place.offset, width, values)
    assert data == packed(values, width)


@EVERYWHERE
@pytest.mark.parametrize("kind", ["", "_stream"])
def test_write_region(bench: Bench, place: Place, width: int, kind: str) -> None:
    values = [value_of(i + 3, width) for i in range(place.size // width)]
    bench.call(f"write_region{kind}_{width}", place.offset, packed(values, width), len(values))
    assert bench.seen() == successive("write", place.offset, width, values)


@EVERYWHERE
def test_set_multi(bench: Bench, place: Place, width: int) -> None:
    value = value_of(9, width)
    bench.call(f"set_multi_{width}", place.offset, value, 200)
    assert bench.seen() == repeated("write", place.offset, width, [value] * 200)


@EVERYWHERE
def test_set_region(bench: Bench, place: Place, width: int) -> None:
    value, count = value_of(9, width), place.size // width
    bench.call(f"set_region_{width}", place.offset, value, count)
    assert bench.seen() == successive("write", place.offset, width, [value] * count)


@EVERYWHERE
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_copy_region_that_overlaps(bench: Bench, place: Place, width: int, up: bool) -> None:
    values = fill(bench, place, width)
    count = len(values) - 1
    source, target = (0, width) if up else (width, 0)
    source, target = place.offset + source, place.offset + target
    bench.call(f"copy_region_{width}", source, bench.handle, target, count)
    moved = values[:-1] if up else values[1:]
    expected = []
    for i in reversed(range(count)) if up else range(count):
        expected.append(Access("read", source + i * width, width, moved[i]))
        expected.append(Access("write", target + i * width, width, moved[i]))
    assert bench.seen() == expected


@EVERYWHERE
def test_nothing_of_nothing(bench: Bench, place: Place, width: int) -> None:
    for name in ("read_multi", "write_multi", "read_region", "write_region"):
        bench.call(f"{name}_{width}", place.offset, bytearray(8), 0)
    bench.call(f"set_multi_{width}", place.offset, 1, 0)
    bench.call(f"set_region_{width}", place.offset, 1, 0)
    bench.call(f"copy_region_{width}", place.offset, bench.handle, place.offset, 0)
    assert bench.seen() == []


@EVERYWHERE
def test_what_is_refused_reaches_no_device(bench: Bench, place: Place, width: int) -> None:
    for name, at, arguments in (
        ("read", -width, ()),
        ("read", bench.handle.size, ()),
        ("write", place.offset, (1 << 8 * width,)),
        ("read_region", bench.handle.size - width, (bytearray(2 * width), 2)),
        ("set_region", bench.handle.size - width, (1, 2)),
        ("write_multi", place.offset, (b"", 1)),
    ):
        with pytest.raises(RumpciError):
            bench.call(f"{name}_{width}", at, *arguments)
    assert bench.seen() == []


def test_ports_have_no_64_bit_accesses(tmp_path: Path) -> None:
    with bench_at(PORTS, tmp_path) as bench:
        for name, arguments in (("read", ()), ("write", (1,)), ("set_multi", (1, 2))):
            with pytest.raises(BadAccess):
                bench.call(f"{name}_8", 8, *arguments)
        assert bench.seen() == []


def test_a_region_longer_than_a_batch(tmp_path: Path) -> None:
    with bench_at(EDU, tmp_path) as bench:
        values = [value_of(i, 4) for i in range(300)]
        bench.call("write_region_4", 0x100, packed(values, 4), 300)
        assert bench.seen() == successive("write", 0x100, 4, values)
        data = bytearray(4 * 300)
        bench.call("read_region_4", 0x100, data, 300)
        seen = bench.seen()
        assert [access[:3] for access in seen] == [("read", 0x100 + 4 * i, 4) for i in range(300)]
        assert data == packed([access.value for access in seen], 4)


# ---- registers ------------------------------------------------------------------------


class DMA_SRC(Register, offset=0x80, width=8):  # noqa: N801
    HIGH = Field(63, 32)
    LOW = Field(31, 0)


class LIVENESS(Register, offset=0x04):
    LOW = Field(15, 0)


Handle = tuple[BusSpaceTag, BusSpaceHandle]


def test_registers_make_the_accesses_they_say(tmp_path: Path) -> None:
    with bench_at(EDU, tmp_path) as bench:
        at: Handle = bench.tag, bench.handle
        DMA_SRC.write(*at, LOW=2, HIGH=1)
        assert bench.seen() == [Access("write", 0x80, 8, 0x1_0000_0002)]
        assert DMA_SRC.read(*at).HIGH == 1
        assert bench.seen() == [Access("read", 0x80, 8, 0x1_0000_0002)]
        DMA_SRC.modify(*at, LOW=3)
        assert bench.seen() == [
            Access("read", 0x80, 8, 0x1_0000_0002),
            Access("write", 0x80, 8, 0x1_0000_0003),
        ]
        LIVENESS.write(*at, 0x1234_5678)
        assert bench.seen() == [Access("write", 0x04, 4, 0x1234_5678)]


def test_a_wait_only_reads(tmp_path: Path) -> None:
    with bench_at(EDU, tmp_path) as bench:
        LIVENESS.write(bench.tag, bench.handle, 0xFFFF_FFFE)
        bench.seen()
        LIVENESS.wait(bench.tag, bench.handle, 1000, LOW=1)
        assert bench.seen() == [Access("read", 0x04, 4, 1)]
        with pytest.raises(WaitTimeout):
            LIVENESS.wait(bench.tag, bench.handle, 500, LOW=2)
        assert set(bench.seen()) == {Access("read", 0x04, 4, 1)}


def test_spaces(tmp_path: Path) -> None:
    for place, space in ((PORTS, Space.IO), (MEMORY, Space.MEM)):
        path = tmp_path / space.name
        path.mkdir()
        with bench_at(place, path) as bench:
            assert bench.tag.space is space
