"""Enumerate PCI buses and assign their resources, as a kernel does at boot.

    number   buses are found depth first through bridges and numbered
    size     every BAR is sized with its function's decoding off
    plan     what each bus needs, from the leaves up; a bridge needs one window a kind
    place    addresses from the root down; larger alignments first, so nothing overlaps

Works on anything with conf_read and conf_write.  Source: PCI Local Bus
Specification 3.0, 6.2.5; PCI-PCI Bridge Architecture 1.2, 3.2.5; NetBSD
pci_configure_bus(9).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from rumpci import pcireg as pr
from rumpci.errors import HostRefused
from rumpci.host import Address, Bar, Function, Space


class Config(Protocol):
    """The part of a machine that enumeration needs."""

    def conf_read(self, address: Address, reg: int) -> int:
        """Read 32 bits."""

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """Write 32 bits."""


class Kind(enum.Enum):
    """The three kinds of window a bridge has."""

    IO = "I/O"
    MEM = "memory"
    PMEM = "prefetchable memory"


GRANULE = {Kind.IO: 0x1000, Kind.MEM: 0x10_0000, Kind.PMEM: 0x10_0000}
_CLOSED = 0x0000_FFF0  # base above limit
_LAST_BUS = 255
_DEPTH_MAX = 64  # of bridges behind each other: far more than there are, less than Python's stack


@dataclass
class Regions:
    """Where the root bus may place things: [start, end) for each kind."""

    io: tuple[int, int]
    mem: tuple[int, int]
    pmem: tuple[int, int]

    def of(self, kind: Kind) -> tuple[int, int]:
        """The range for a kind."""
        return {Kind.IO: self.io, Kind.MEM: self.mem, Kind.PMEM: self.pmem}[kind]


@dataclass
class Request:
    """Something that needs `size` bytes at a multiple of `align`; `place` tells it where."""

    size: int
    align: int
    place: Callable[[int], None]


Plan = dict[Kind, list[Request]]


@dataclass
class _Sized:
    """A BAR that was sized and waits for its address."""

    index: int
    space: Space
    size: int
    width64: bool
    prefetchable: bool
    base: int = 0


@dataclass
class _Node:
    """A function that was found."""

    address: Address
    id: int
    class_: int
    header: int
    bars: list[_Sized] = field(default_factory=list)
    secondary: int | None = None
    children: list[_Node] = field(default_factory=list)


def configure(config: Config, regions: Regions) -> list[Function]:
    """Number, size and assign everything below bus 0, and switch decoding on.

    Returns the functions in bus order.  Raises HostRefused (EINVAL) if the
    devices need more address space than `regions` has.
    """
    enumeration = _Enumeration(config)
    roots = enumeration.number(0)
    plan = enumeration.plan(roots)
    for kind, requests in plan.items():
        start, end = regions.of(kind)
        if _pack(requests, start) > end:
            raise HostRefused(
                f"assigning {kind.value} to the devices",
                f"they need more than {end - start:#x} bytes",
                "use fewer devices, or smaller BARs",
            )
        _place(requests, start)
    nodes = sorted(_walk(roots), key=lambda node: node.address)
    for node in nodes:
        enumeration.enable(node)
    return [_function(node) for node in nodes]


def _walk(nodes: list[_Node]) -> Iterator[_Node]:
    for node in nodes:
        yield node
        yield from _walk(node.children)


def _function(node: _Node) -> Function:
    bars = tuple(
        Bar(bar.index, bar.space, bar.base, bar.size, bar.width64, bar.prefetchable)
        for bar in node.bars
    )
    return Function(node.address, node.id, node.class_, node.header, bars, node.secondary)


def _align(value: int, align: int) -> int:
    return (value + align - 1) & -align


def _order(requests: list[Request]) -> list[Request]:
    return sorted(requests, key=lambda request: -request.align)


def _pack(requests: list[Request], start: int) -> int:
    """Where the last of `requests` would end if they were placed from `start` on."""
    for request in _order(requests):
        start = _align(start, request.align) + request.size
    return start


def _place(requests: list[Request], start: int) -> None:
    for request in _order(requests):
        start = _align(start, request.align)
        request.place(start)
        start += request.size


class _Enumeration:
    """One run over the buses; `next_bus` is the next free bus number."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.next_bus = 1

    def number(self, bus: int, depth: int = 0) -> list[_Node]:
        """Find every function on `bus`, which is below `depth` bridges, and below its own."""
        return [
            self._discover(Address(0, bus, device, function), depth)
            for device in range(32)
            for function in self._present(bus, device)
        ]

    def _present(self, bus: int, device: int) -> Iterator[int]:
        first = Address(0, bus, device, 0)
        if self.config.conf_read(first, pr.PCI_ID_REG) & 0xFFFF == pr.PCI_VENDOR_INVALID:
            return
        yield 0
        if not pr.PCI_HDRTYPE_MULTIFN(self.config.conf_read(first, pr.PCI_BHLC_REG)):
            return
        for function in range(1, 8):
            identity = self.config.conf_read(first._replace(function=function), pr.PCI_ID_REG)
            if identity & 0xFFFF != pr.PCI_VENDOR_INVALID:
                yield function

    def _discover(self, address: Address, depth: int) -> _Node:
        read = self.config.conf_read
        header = pr.PCI_HDRTYPE_TYPE(read(address, pr.PCI_BHLC_REG))
        identity, class_ = read(address, pr.PCI_ID_REG), read(address, pr.PCI_CLASS_REG)
        node = _Node(address, identity, class_, header)
        self._decode_off(address)
        node.bars = list(self._size_bars(address, {0: 6, 1: 2}.get(header, 0)))
        if header == 1:
            self._descend(node, depth + 1)
        return node

    def _descend(self, bridge: _Node, depth: int) -> None:
        if self.next_bus > _LAST_BUS or depth > _DEPTH_MAX:
            raise HostRefused(
                f"numbering the bus behind bridge {bridge.address}",
                f"it is bus {self.next_bus}, behind {depth} bridges",
                f"use fewer bridges: {_LAST_BUS} in all, {_DEPTH_MAX} behind each other",
            )
        bus = bridge.secondary = self.next_bus
        self.next_bus += 1
        numbers = bridge.address.bus | bus << 8
        self.config.conf_write(bridge.address, pr.PCI_BRIDGE_BUS_REG, numbers | 0xFF << 16)
        bridge.children = self.number(bus, depth)
        last = self.next_bus - 1
        self.config.conf_write(bridge.address, pr.PCI_BRIDGE_BUS_REG, numbers | last << 16)

    def _decode_off(self, address: Address) -> None:
        command = self.config.conf_read(address, pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        command &= ~(pr.PCI_COMMAND_IO_ENABLE | pr.PCI_COMMAND_MEM_ENABLE)
        self.config.conf_write(address, pr.PCI_COMMAND_STATUS_REG, command)

    def _probe(self, address: Address, reg: int) -> int:
        before = self.config.conf_read(address, reg)
        self.config.conf_write(address, reg, 0xFFFF_FFFF)
        ones = self.config.conf_read(address, reg)
        self.config.conf_write(address, reg, before)
        return ones

    def _size_bars(self, address: Address, count: int) -> Iterator[_Sized]:
        index = 0
        while index < count:
            reg = pr.PCI_BAR0 + 4 * index
            bar, index = self._size_bar(address, reg, index)
            if bar:
                yield bar

    def _size_bar(self, address: Address, reg: int, index: int) -> tuple[_Sized | None, int]:
        """Size one BAR; returns it (None if it is not implemented) and the next index."""
        ones = self._probe(address, reg)
        if ones & pr.PCI_MAPREG_TYPE_IO:
            mask = (ones | 0xFFFF_0000) & ~3  # 16-bit decoders leave the high half zero
            return _Sized(index, Space.IO, -mask & 0xFFFF_FFFF, False, False), index + 1
        width64 = ones & pr.PCI_MAPREG_MEM_TYPE_MASK == pr.PCI_MAPREG_MEM_TYPE_64BIT
        mask = ones & ~0xF
        mask |= self._probe(address, reg + 4) << 32 if width64 else 0xFFFF_FFFF << 32
        after = index + 2 if width64 else index + 1
        if not ones & ~0xF and not (width64 and mask):
            return None, after
        prefetchable = bool(ones & pr.PCI_MAPREG_MEM_PREFETCHABLE_MASK)
        size = -mask & (1 << 64) - 1
        return _Sized(index, Space.MEM, size, width64, prefetchable), after

    # ---- planning --------------------------------------------------------

    def plan(self, nodes: list[_Node]) -> Plan:
        """What the functions of one bus need from it, bridges included."""
        plan: Plan = {kind: [] for kind in Kind}
        for node in nodes:
            for bar in node.bars:
                request = Request(bar.size, bar.size, self._setter(node, bar))
                plan[self._kind(bar)].append(request)
            if node.header == 1:
                self._plan_bridge(plan, node)
        return plan

    @staticmethod
    def _kind(bar: _Sized) -> Kind:
        if bar.space is Space.IO:
            return Kind.IO
        return Kind.PMEM if bar.width64 and bar.prefetchable else Kind.MEM

    def _setter(self, node: _Node, bar: _Sized) -> Callable[[int], None]:
        def place(base: int) -> None:
            bar.base = base
            reg = pr.PCI_BAR0 + 4 * bar.index
            self.config.conf_write(node.address, reg, base & 0xFFFF_FFFF)
            if bar.width64:
                self.config.conf_write(node.address, reg + 4, base >> 32)

        return place

    def _plan_bridge(self, plan: Plan, node: _Node) -> None:
        inner = self.plan(node.children)
        wide = self.config.conf_read(node.address, pr.PCI_BRIDGE_PREFETCHMEM_REG) & 1
        if not wide:
            inner[Kind.MEM] += inner.pop(Kind.PMEM)
            inner[Kind.PMEM] = []
        for kind, requests in inner.items():
            window = self._window(node, kind, requests)
            if requests:
                plan[kind].append(window)
            else:
                self._open(node, kind, None, 0)

    def _window(self, node: _Node, kind: Kind, requests: list[Request]) -> Request:
        align = max([GRANULE[kind], *(request.align for request in requests)])
        size = _align(_pack(requests, 0), GRANULE[kind])

        def place(base: int) -> None:
            self._open(node, kind, base, base + size - 1)
            _place(requests, base)

        return Request(size, align, place)

    def _open(self, node: _Node, kind: Kind, base: int | None, limit: int) -> None:
        """Set one of a bridge's windows; `base` None closes it."""
        write, at = self.config.conf_write, node.address
        if kind is Kind.IO:
            low = 0xF0 if base is None else (base >> 8 & 0xF0) | (limit & 0xF000)
            write(at, pr.PCI_BRIDGE_STATIO_REG, low)  # zeros leave the status bits alone
            high = 0 if base is None else base >> 16 | limit >> 16 << 16
            write(at, pr.PCI_BRIDGE_IOHIGH_REG, high)
            return
        low = _CLOSED if base is None else (base >> 16 & 0xFFF0) | (limit & 0xFFF0_0000)
        if kind is Kind.MEM:
            write(at, pr.PCI_BRIDGE_MEMORY_REG, low)
            return
        write(at, pr.PCI_BRIDGE_PREFETCHMEM_REG, low)
        write(at, pr.PCI_BRIDGE_PREFETCHBASEUP32_REG, (base or 0) >> 32)
        write(at, pr.PCI_BRIDGE_PREFETCHLIMITUP32_REG, limit >> 32)

    def enable(self, node: _Node) -> None:
        """Switch decoding on; a bridge also forwards what its devices master."""
        command = 0
        if node.header == 1:
            command = pr.PCI_COMMAND_IO_ENABLE | pr.PCI_COMMAND_MEM_ENABLE
            command |= pr.PCI_COMMAND_MASTER_ENABLE
        for bar in node.bars:
            io = bar.space is Space.IO
            command |= pr.PCI_COMMAND_IO_ENABLE if io else pr.PCI_COMMAND_MEM_ENABLE
        before = self.config.conf_read(node.address, pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        self.config.conf_write(node.address, pr.PCI_COMMAND_STATUS_REG, before | command)
