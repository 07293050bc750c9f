"""A card for tests: the same registers by handlers, as memory and as ports; it keeps a log."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rumpci import bus_space as bs
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.errors import RumpciError
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.host import Address, Space
from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine

SIZE = 64
TRAPPED, MAPPED, PORTS = 0, 1, 2
AT = Address(0, 0, 1, 0)
WIDTHS = (1, 2, 4, 8)


class Access(NamedTuple):
    """One access that the device saw."""

    verb: str
    bar: int
    offset: int
    width: int
    value: int


class Card(Model):
    config = ConfigSpec(
        vendor=0x1234,
        product=0x0001,
        class_=0x088000,
        bars={
            TRAPPED: BarSpec(SIZE),
            MAPPED: BarSpec(SIZE, ram=True),
            PORTS: BarSpec(SIZE, Space.IO),
        },
    )

    def __init__(self) -> None:
        self.memory = {bar: bytearray(SIZE) for bar in self.config.bars}
        self.log: list[Access] = []

    def read(self, bar: int, offset: int, width: int) -> int:
        value = int.from_bytes(self.memory[bar][offset : offset + width], "little")
        self.log.append(Access("read", bar, offset, width, value))
        return value

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        self.log.append(Access("write", bar, offset, width, value))
        self.memory[bar][offset : offset + width] = value.to_bytes(width, "little")


class Attached:
    """A card behind a guard, claimed; `map` gives handles of it."""

    def __init__(self, card: Model) -> None:
        self.card = card
        self.machine = ModelMachine([card])
        self.host = Guard(self.machine)
        self.claim: GuardClaim = self.host.claim(AT, "test")
        self.tags = {space: BusSpaceTag(space, "test0") for space in Space}
        for tag in self.tags.values():
            tag.claim = self.claim

    def map(
        self, bar: int, offset: int = 0, size: int | None = None, flags: int = 0
    ) -> tuple[BusSpaceTag, BusSpaceHandle]:
        found = self.claim.function.bar(bar)
        assert found is not None
        tag = self.tags[found.space]
        size = found.size - offset if size is None else size
        return tag, bs.bus_space_map(tag, found.base + offset, size, flags)

    def contents(self, bar: int) -> bytes:
        """What the registers hold, read behind the guard's back and off the log."""
        if bar == MAPPED:
            access = self.machine.bar(AT, bar)
            return bytes(access.read(i, 1) for i in range(SIZE))
        assert isinstance(self.card, Card)
        return bytes(self.card.memory[bar])


@contextlib.contextmanager
def attached(card: Model | None = None) -> Iterator[Attached]:
    made = Attached(card or Card())
    try:
        yield made
    finally:
        made.host.close()


def has_three_parts(error: RumpciError) -> bool:
    """Whether the message says what was tried, why it failed, and what to do about it."""
    parts = (error.tried, error.why, error.remedy)
    return all(part.strip() for part in parts) and all(part in str(error) for part in parts)


def function(name: str) -> Callable[..., object]:
    """A function of bus_space(9) by its name without `bus_space_`."""
    found: Callable[..., object] = getattr(bs, f"bus_space_{name}")
    return found


Call = Callable[[BusSpaceTag, BusSpaceHandle, int, int], object]

READS: dict[str, Call] = {
    "read": lambda t, h, o, w: function(f"read_{w}")(t, h, o),
    "peek": lambda t, h, o, w: function(f"peek_{w}")(t, h, o),
    "read_multi": lambda t, h, o, w: function(f"read_multi_{w}")(t, h, o, bytearray(2 * w), 2),
    "read_region": lambda t, h, o, w: function(f"read_region_{w}")(t, h, o, bytearray(2 * w), 2),
    "read_stream": lambda t, h, o, w: function(f"read_stream_{w}")(t, h, o),
    "read_multi_stream": lambda t, h, o, w: function(f"read_multi_stream_{w}")(
        t, h, o, bytearray(w), 1
    ),
    "read_region_stream": lambda t, h, o, w: function(f"read_region_stream_{w}")(
        t, h, o, bytearray(w), 1
    ),
}
WRITES: dict[str, Call] = {
    "write": lambda t, h, o, w: function(f"write_{w}")(t, h, o, 1),
    "poke": lambda t, h, o, w: function(f"poke_{w}")(t, h, o, 1),
    "write_multi": lambda t, h, o, w: function(f"write_multi_{w}")(t, h, o, bytes(2 * w), 2),
    "write_region": lambda t, h, o, w: function(f"write_region_{w}")(t, h, o, bytes(2 * w), 2),
    "set_multi": lambda t, h, o, w: function(f"set_multi_{w}")(t, h, o, 1, 2),
    "set_region": lambda t, h, o, w: function(f"set_region_{w}")(t, h, o, 1, 2),
    "copy_region": lambda t, h, o, w: function(f"copy_region_{w}")(t, h, 0, h, o, 2),
    "write_stream": lambda t, h, o, w: function(f"write_stream_{w}")(t, h, o, 1),
    "write_multi_stream": lambda t, h, o, w: function(f"write_multi_stream_{w}")(
        t, h, o, bytes(w), 1
    ),
    "write_region_stream": lambda t, h, o, w: function(f"write_region_stream_{w}")(
        t, h, o, bytes(w), 1
    ),
}
CALLS = READS | WRITES
