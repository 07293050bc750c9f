"""What the simulated machine has, and how requests to it are packed (harness/child.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rumpci.guard.shim import BarLimits
from rumpci.host import Bar, Function, Space
from rumpci.pci4 import abi

CONF = 4096


@dataclass(frozen=True)
class Space4k:
    """Configuration space: its bytes, those that can be written, those that ones clear."""

    value: bytes
    writable: bytes = bytes(CONF)
    clear: bytes = bytes(CONF)

    @classmethod
    def of(cls, value: Mapping[int, int], writable: Mapping[int, int] | None = None,
           clear: Mapping[int, int] | None = None) -> Space4k:  # fmt: skip
        """From dwords by register; what is not named is zero."""
        return cls(_dwords(value), _dwords(writable or {}), _dwords(clear or {}))


def _dwords(values: Mapping[int, int]) -> bytes:
    found = bytearray(CONF)
    for reg, value in values.items():
        struct.pack_into("<I", found, reg, value)
    return bytes(found)


@dataclass(frozen=True)
class Limits:
    """What a user may have; see struct pcu_limits."""

    clients: int = 64
    claims: int = 32
    objects: int = 32768
    interrupts: int = 256
    bytes: int = 1 << 40
    claim_bytes: int = 1 << 30
    claim_objects: int = 50_000


@dataclass(frozen=True)
class Who:
    """A client: its user, and what it may; `allowed` has a bit for each function."""

    uid: int = 0
    pid: int = 1
    inspect: bool = True
    allowed: int = 0xFFFF_FFFF
    limits: Limits = field(default_factory=Limits)

    def pack(self) -> bytes:
        li = self.limits
        return struct.pack(
            "<IiII4IQQI", self.uid, self.pid, self.inspect, self.allowed, li.clients, li.claims,
            li.objects, li.interrupts, li.bytes, li.claim_bytes, li.claim_objects,
        )  # fmt: skip


class Access(NamedTuple):
    """An access to a register of a function."""

    func: int
    bar: int
    offset: int
    width: int
    write: bool
    value: int


class Stats(NamedTuple):
    """What the core has of its port: allocations, memory, functions, interrupts."""

    live: int
    live_bytes: int
    live_mems: int
    allocs: int
    opens: int
    intrs: int
    logs: int
    refused: int
    prepared: int


class Place(NamedTuple):
    """What an offset of a client's mmap(2) is."""

    errno: int
    memory: bool
    bar: int
    func: int
    offset: int
    left: int
    writable: bool


def pack_function(function: Function, space: Space4k) -> bytes:
    """A function, for the simulated machine to have."""
    secondary = -1 if function.secondary is None else function.secondary
    head = struct.pack(
        "<IIIBi", abi.pack_address(function.address), function.id, function.class_,
        function.header, secondary,
    )  # fmt: skip
    bars = b"".join(_pack_bar(function.bar(index)) for index in range(6))
    return head + bars + space.value + space.writable + space.clear


def _pack_bar(bar: Bar | None) -> bytes:
    if bar is None:
        return bytes(20)
    kind = 1, bar.space is Space.IO, bar.width64, bar.prefetchable
    return struct.pack("<4BQQ", *kind, bar.base, bar.size)


def pack_reach(limits: Mapping[int, BarLimits]) -> bytes:
    """What a shim may touch, for all six BARs."""
    found = bytearray()
    for index in range(6):
        its = limits.get(index)
        ranges = its.ranges if its else ()
        found += bytes([its is not None, bool(its and its.space is Space.IO), len(ranges)])
        found += b"".join(struct.pack("<QQ", *span) for span in ranges)
    return bytes(found)


def unpack_rows(layout: str, data: bytes) -> list[tuple[int, ...]]:
    """Rows of one layout."""
    return list(struct.iter_unpack(layout, data))


def pack_segments(segments: Sequence[tuple[int, int]]) -> bytes:
    """Their number, and each."""
    return struct.pack("<I", len(segments)) + b"".join(struct.pack("<QQ", *s) for s in segments)


def pack_numbers(layout: str, numbers: Iterable[int]) -> bytes:
    """Numbers of one layout."""
    return b"".join(struct.pack(layout, number) for number in numbers)
