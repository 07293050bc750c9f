"""Enumeration and assignment on made-up trees of bridges: nothing overlaps, all is reachable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import pcireg as pr
from rumpci.errors import HostRefused
from rumpci.host import Address, Bar, Function, Space
from rumpci.machines.model.config import BarSpec, ConfigSpec, ModelConfig
from rumpci.machines.pciconf import Regions, configure

REGIONS = Regions(io=(0x1000, 0x10000), mem=(0xC000_0000, 0xFEC0_0000), pmem=(8 << 30, 256 << 30))
Range = tuple[int, int]


@dataclass
class Device:
    """A function that is no bridge."""

    bars: dict[int, BarSpec] = field(default_factory=dict)


@dataclass
class Bridge:
    """A bridge; `wide` decodes 64 bits of prefetchable memory."""

    wide: bool = True
    below: list[list[Device | Bridge]] = field(default_factory=list)  # slots of functions
    bars: dict[int, BarSpec] = field(default_factory=dict)


class BridgeConfig(ModelConfig):
    """A type 1 header: window registers with their read-only low bits."""

    def __init__(self, bridge: Bridge, header: int) -> None:
        spec = ConfigSpec(0x1234, 2, 0x060400, header=header, bars=bridge.bars)
        super().__init__(spec)
        pmem = 0xFFF0_FFF0
        for reg, mask in ((pr.PCI_BRIDGE_BUS_REG, 0x00FF_FFFF), (pr.PCI_BRIDGE_STATIO_REG, 0xF0F0),
                          (pr.PCI_BRIDGE_MEMORY_REG, 0xFFF0_FFF0),
                          (pr.PCI_BRIDGE_PREFETCHMEM_REG, pmem)):  # fmt: skip
            self._writable[reg : reg + 4] = mask.to_bytes(4, "little")
        if bridge.wide:
            self._value[pr.PCI_BRIDGE_PREFETCHMEM_REG] = 1
            self._value[pr.PCI_BRIDGE_PREFETCHMEM_REG + 2] = 1
            self._writable[pr.PCI_BRIDGE_PREFETCHBASEUP32_REG : 0x30] = b"\xff" * 8


class Fake:
    """Configuration space of a tree, routed by the bridges' bus numbers as hardware does."""

    def __init__(self, slots: list[list[Device | Bridge]]) -> None:
        self.root = self._bus(slots)
        self._routes: dict[int, dict[tuple[int, int], Node]] = {}

    def _bus(self, slots: list[list[Device | Bridge]]) -> dict[tuple[int, int], Node]:
        return {
            (device, function): Node(item, 0x80 if len(slot) > 1 else 0, self)
            for device, slot in enumerate(slots)
            for function, item in enumerate(slot)
        }

    def find(self, address: Address) -> Node | None:
        if address.bus not in self._routes:
            self._routes[address.bus] = self._route(address.bus)
        return self._routes[address.bus].get((address.device, address.function))

    def _route(self, number: int) -> dict[tuple[int, int], Node]:
        """The functions of a bus, found as a configuration cycle finds them."""
        bus, here = self.root, 0
        while here != number:
            through = [n for n in bus.values() if n.secondary <= number <= n.subordinate]
            if not through:
                return {}
            assert len(through) == 1, "two bridges claim a bus"
            bus, here = through[0].below, through[0].secondary
        return bus

    def conf_read(self, address: Address, reg: int) -> int:
        assert address.bus <= 255
        node = self.find(address)
        return node.config.read(reg) if node else 0xFFFF_FFFF

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        assert 0 <= value <= 0xFFFF_FFFF
        if node := self.find(address):
            node.config.write(reg, value)
            if reg == pr.PCI_BRIDGE_BUS_REG:
                self._routes.clear()


class Node:
    """A function in the tree."""

    def __init__(self, item: Device | Bridge, multi: int, fake: Fake) -> None:
        self.item = item
        self.below: dict[tuple[int, int], Node] = {}
        if isinstance(item, Bridge):
            self.config: ModelConfig = BridgeConfig(item, 1 | multi)
            self.below = fake._bus(item.below)
        else:
            self.config = ModelConfig(ConfigSpec(0x1234, 1, 0xFF0000, header=multi, bars=item.bars))

    @property
    def secondary(self) -> int:
        numbers = self.config.read(pr.PCI_BRIDGE_BUS_REG) >> 8 & 0xFF
        return numbers if isinstance(self.item, Bridge) and numbers else 0x1000

    @property
    def subordinate(self) -> int:
        return self.config.read(pr.PCI_BRIDGE_BUS_REG) >> 16 & 0xFF

    def range(self, bar: Bar) -> Range:
        """What the BAR's registers decode, which must be what was reported."""
        reg = pr.PCI_BAR0 + 4 * bar.index
        base = self.config.read(reg) & (~3 if bar.space is Space.IO else ~0xF)
        base |= self.config.read(reg + 4) << 32 if bar.width64 else 0
        assert base == bar.base
        return base, base + bar.size

    def windows(self) -> dict[str, Range | None]:
        """A bridge's windows, from its registers; None is closed."""
        read = self.config.read
        io, mem, pmem = (read(r) for r in (0x1C, 0x20, 0x24))
        high = (read(0x28) << 32, read(0x2C) << 32)
        return {
            "io": opened((io & 0xF0) << 8, io & 0xF000, 0xFFF),
            "mem": opened((mem & 0xFFF0) << 16, mem & 0xFFF0_0000, 0xF_FFFF),
            "pmem": opened((pmem & 0xFFF0) << 16 | high[0], pmem & 0xFFF0_0000 | high[1], 0xF_FFFF),
        }


def opened(base: int, limit: int, low: int) -> Range | None:
    return (base, (limit | low) + 1) if base <= limit else None


# ---- strategies ---------------------------------------------------------------------


def bar_specs(io: bool, biggest: int = 24) -> st.SearchStrategy[BarSpec]:
    memory = st.builds(
        lambda bits, wide, pre: BarSpec(1 << bits, Space.MEM, wide, pre),
        st.integers(4, biggest), st.booleans(), st.booleans(),
    )  # fmt: skip
    ports = st.builds(lambda bits: BarSpec(1 << bits, Space.IO), st.integers(2, 8))
    return memory | ports if io else memory


def laid_out(bars: list[BarSpec], count: int) -> dict[int, BarSpec]:
    """As many of `bars` as there are registers for."""
    out, index = {}, 0
    for bar in bars:
        if index + 1 + bar.width64 <= count:
            out[index] = bar
            index += 1 + bar.width64
    return out


def devices(io: bool = True) -> st.SearchStrategy[Device]:
    return st.builds(lambda bars: Device(laid_out(bars, 6)), st.lists(bar_specs(io), max_size=4))


def slots_of(
    items: st.SearchStrategy[Device | Bridge],
) -> st.SearchStrategy[list[list[Device | Bridge]]]:
    return st.lists(st.lists(items, min_size=1, max_size=2), max_size=3)


def bridges(below: st.SearchStrategy[Device | Bridge]) -> st.SearchStrategy[Device | Bridge]:
    return below | st.builds(
        lambda wide, slots, bars: Bridge(wide, slots, laid_out(bars, 2)),
        st.booleans(), slots_of(below), st.lists(bar_specs(io=False, biggest=16), max_size=2),
    )  # fmt: skip


trees = slots_of(st.recursive(devices(), bridges, max_leaves=8))


# ---- properties ---------------------------------------------------------------------


@dataclass
class Placed:
    """The outcome: the functions and, for each, its node and the bridges on its path."""

    fake: Fake
    functions: dict[Address, Function]

    def walk(
        self, bus: dict[tuple[int, int], Node], number: int = 0, path: tuple[Node, ...] = ()
    ) -> Iterator[tuple[Function, Node, tuple[Node, ...]]]:
        for (device, function), node in bus.items():
            yield self.functions[Address(0, number, device, function)], node, path
            if isinstance(node.item, Bridge):
                yield from self.walk(node.below, node.secondary, (*path, node))

    def __iter__(self) -> Iterator[tuple[Function, Node, tuple[Node, ...]]]:
        return self.walk(self.fake.root)


def place(slots: list[list[Device | Bridge]], regions: Regions = REGIONS) -> Placed | None:
    """Configure a tree; None if it does not fit."""
    fake = Fake(slots)
    try:
        found = configure(fake, regions)
    except HostRefused:
        return None
    assert [f.address for f in found] == sorted(f.address for f in found)
    return Placed(fake, {f.address: f for f in found})


def forwarding(bridge: Node, bar: Bar) -> set[str]:
    """The windows of a bridge that forward a BAR; only what may be prefetched can be, there."""
    windows = bridge.windows()
    fit = {"io"} if bar.space is Space.IO else {"mem", "pmem"} if bar.prefetchable else {"mem"}
    return {kind for kind in fit if inside(windows[kind], (bar.base, bar.base + bar.size))}


def inside(window: Range | None, place: Range) -> bool:
    return window is not None and window[0] <= place[0] and place[1] <= window[1]


def overlap(ranges: list[Range]) -> bool:
    ranges = sorted(ranges)
    return any(one[1] > two[0] for one, two in itertools.pairwise(ranges))


@settings(deadline=None, max_examples=40)
@given(trees)
def test_every_function_and_bar_is_found(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        seen = list(placed)
        assert len(seen) == len(placed.functions)
        for function, node, _ in seen:
            wanted = {(i, b.size, b.space, b.width64) for i, b in node.item.bars.items()}
            assert {(b.index, b.size, b.space, b.width64) for b in function.bars} == wanted


@settings(deadline=None, max_examples=40)
@given(trees)
def test_bars_are_aligned_and_apart(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        ranges: dict[Space, list[Range]] = {Space.IO: [], Space.MEM: []}
        for function, node, _ in placed:
            for bar in function.bars:
                assert bar.base % bar.size == 0
                ranges[bar.space].append(node.range(bar))
        assert not overlap(ranges[Space.IO])
        assert not overlap(ranges[Space.MEM])


@settings(deadline=None, max_examples=40)
@given(trees)
def test_bars_are_inside_every_window_above(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        for function, _, path in placed:
            for bar in function.bars:
                assert all(len(forwarding(bridge, bar)) == 1 for bridge in path)


@settings(deadline=None, max_examples=40)
@given(trees)
def test_bars_of_a_bus_are_outside_the_windows_of_its_bridges(
    slots: list[list[Device | Bridge]],
) -> None:
    if placed := place(slots):
        by_bus: dict[int, tuple[list[Range], list[Range]]] = {}
        for function, node, _ in placed:
            memory, ports = by_bus.setdefault(function.address.bus, ([], []))
            for bar in function.bars:
                (ports if bar.space is Space.IO else memory).append(node.range(bar))
            if isinstance(node.item, Bridge):
                windows = node.windows()
                ports.extend(w for w in [windows["io"]] if w)
                memory.extend(w for w in (windows["mem"], windows["pmem"]) if w)
        assert not any(overlap(ranges) for pair in by_bus.values() for ranges in pair)


@settings(deadline=None, max_examples=40)
@given(trees)
def test_windows_are_open_for_what_is_behind_only(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        behind: dict[int, set[str]] = {}
        for function, node, path in placed:
            if isinstance(node.item, Bridge):
                behind.setdefault(id(node), set())
            for bridge in path:
                for bar in function.bars:
                    behind[id(bridge)] |= forwarding(bridge, bar)
        for _, node, _ in placed:
            if isinstance(node.item, Bridge):
                assert {k for k, w in node.windows().items() if w} == behind[id(node)]


@settings(deadline=None, max_examples=40)
@given(trees)
def test_prefetchable_windows_need_64_bits(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        for function, _, path in placed:
            if not all(isinstance(n.item, Bridge) and n.item.wide for n in path):
                assert all(bar.base < 1 << 32 for bar in function.bars)


@settings(deadline=None, max_examples=40)
@given(trees)
def test_decoding_is_on_for_what_there_is(slots: list[list[Device | Bridge]]) -> None:
    if placed := place(slots):
        for function, node, _ in placed:
            spaces = {bar.space for bar in function.bars}
            if isinstance(node.item, Bridge):
                assert node.config.command & 7 == 7
            else:
                assert node.config.command & 7 == (Space.IO in spaces) | (Space.MEM in spaces) << 1


# ---- too much ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bar",
    [
        BarSpec(1 << 31),
        BarSpec(1 << 16, Space.IO),
        BarSpec(1 << 32, width64=True),
        BarSpec(1 << 40, width64=True, prefetchable=True),
        BarSpec(1 << 63, width64=True, prefetchable=True),
    ],
)
def test_a_bar_that_is_too_big_is_refused(bar: BarSpec) -> None:
    for slots in ([[Device({0: bar})]], [[Bridge(below=[[Device({0: bar})]])]]):
        with pytest.raises(HostRefused, match="use fewer devices"):
            configure(Fake(slots), REGIONS)  # type: ignore[arg-type]


def test_a_16_gib_prefetchable_bar_behind_a_narrow_bridge_is_refused() -> None:
    bar = BarSpec(16 << 30, width64=True, prefetchable=True)
    assert place([[Device({0: bar})]])
    assert place([[Bridge(below=[[Device({0: bar})]])]])
    assert place([[Bridge(wide=False, below=[[Device({0: bar})]])]]) is None


def test_fifteen_bridges_have_io_windows_and_sixteen_do_not() -> None:
    def ports(count: int) -> Placed | None:
        device = Device({0: BarSpec(32, Space.IO)})
        return place([[Bridge(below=[[device]])] for _ in range(count)])

    assert ports(15)
    assert ports(16) is None


def test_255_buses_are_numbered_and_256_refused() -> None:
    def flat(count: int) -> Placed | None:
        slots: list[list[Device | Bridge]] = [[] for _ in range(32)]
        for i in range(count):
            slots[i // 8].append(Bridge())
        return place([slot for slot in slots if slot])

    placed = flat(255)
    assert placed
    assert sorted(f.secondary or 0 for f in placed.functions.values()) == list(range(1, 256))
    assert flat(256) is None


def chain(depth: int) -> list[list[Device | Bridge]]:
    item: Device | Bridge = Device({0: BarSpec(4096)})
    for _ in range(depth):
        item = Bridge(below=[[item]])
    return [[item]]


def test_a_deep_chain_of_bridges() -> None:
    placed = place(chain(30))
    assert placed
    assert max(placed.functions).bus == 30


@pytest.mark.parametrize("depth", [100, 200])
def test_a_chain_that_is_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(HostRefused, match="use fewer bridges"):
        configure(Fake(chain(depth)), REGIONS)


def test_a_bus_without_functions() -> None:
    assert configure(Fake([]), REGIONS) == []
