"""A simple model of bus_dma(9): what is where, who may reach it, and what it holds.

It knows nothing of tables, buddies or mirrors.  Memory is bytearrays; a loaded map is
a list of the bytes that the device reaches through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 4096
READ, WRITE = 1, 2  # the device writes memory, the device reads memory


@dataclass(eq=False)
class Memory:
    """One allocation: `segs` are what bus_dmamem_alloc returned, `kvas` its views."""

    segs: list  # type: ignore[type-arg]
    content: bytearray
    kvas: list[memoryview] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    def addresses(self) -> dict[int, int]:
        """The bus address of each page, by offset."""
        return {
            seg.offset + at: seg.ds_addr + at
            for seg in self.segs
            for at in range(0, seg.ds_len, PAGE)
        }


@dataclass(eq=False)
class Buffer:
    """A buffer of the process: the real one, and what it should hold (None: cannot be known)."""

    real: bytearray
    content: list[int | None]


@dataclass(eq=False)
class Part:
    """`size` bytes of a map, in an allocation, or in a buffer by way of a copy."""

    at: int
    size: int
    offset: int
    memory: Memory | None = None
    buffer: Buffer | None = None
    copy: list[int | None] = field(default_factory=list)


@dataclass(eq=False)
class Load:
    """What is loaded in a map."""

    parts: list[Part]
    direction: int
    size: int

    def covers(self, memory: Memory, page: int) -> bool:
        """Whether it has bytes of the page at offset `page` of an allocation."""
        return any(
            part.memory is memory and part.offset & -PAGE <= page < part.offset + part.size
            for part in self.parts
        )

    def part_at(self, at: int) -> Part:
        """The part that byte `at` of the map is in."""
        return next(part for part in self.parts if part.at <= at < part.at + part.size)

    def get(self, at: int) -> int | None:
        """What the device reads there."""
        part = self.part_at(at)
        if part.memory is not None:
            return part.memory.content[part.offset + at - part.at]
        return part.copy[at - part.at]

    def put(self, at: int, value: int) -> None:
        """The device writes there."""
        part = self.part_at(at)
        if part.memory is not None:
            part.memory.content[part.offset + at - part.at] = value
        else:
            part.copy[at - part.at] = value

    def sync(self, start: int, end: int, *, to_device: bool) -> None:
        """Copy what bounces of [start, end)."""
        for part in self.parts:
            for at in range(max(start, part.at), min(end, part.at + part.size)):
                if part.buffer is None:
                    continue
                i, j = at - part.at, part.offset + at - part.at
                if to_device:
                    part.copy[i] = part.buffer.content[j]
                else:
                    part.buffer.content[j] = part.copy[i]


def permission(memory: Memory, page: int) -> int:
    """What the device may do to the page at offset `page`, by all maps together."""
    union = 0
    for load in memory.loads:
        if load.covers(memory, page):
            union |= load.direction
    return union
