"""The flight recorder's entries as lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rumpci.guard.recorder import Kind, Note
from rumpci.host import Address
from rumpci.host_dma import Direction
from rumpci.supervisor.registers import Row, name_of


class Names:
    """Who has which function, and what its driver calls its registers."""

    def __init__(self) -> None:
        self.owners: dict[Address, str] = {}
        self.registers: dict[str, list[Row]] = {}

    def register(self, device: Address, offset: int, width: int, way: str) -> str:
        """The name of a register, "" if the driver declared none there."""
        driver = re.sub(r"\d+$", "", self.owners.get(device, ""))
        return name_of(self.registers.get(driver, ()), offset, width, way)

    def note_owners(self, claimed: Mapping[Address, str]) -> None:
        """Remember who has what; what was released is still its last owner's."""
        self.owners |= claimed


def lines(notes: Sequence[Note], names: Names, end: int) -> list[str]:
    """A line for each entry: how long before `end` (ns), who, what."""
    return [
        f"{(note.when - end) / 1e6:+12.3f} ms  {_owner(note, names)}  {_text(note, names)}"
        for note in notes
    ]


def _owner(note: Note, names: Names) -> str:
    return f"{names.owners.get(note.device, ''):<8} {note.device}"


def _text(note: Note, names: Names) -> str:
    kind, where = note.kind, note.where
    if kind in (Kind.READ, Kind.WRITE):
        value = f"{note.value:#0{2 + 2 * note.size}x}"
        return f"{kind.name.lower():<9}  {_register(note, names)} = {value}"
    if kind in (Kind.READ_MANY, Kind.WRITE_MANY):
        step = f", {note.value} apart" if note.value else ", all at one place"
        return f"{kind.name[:-5].lower():<9}  BAR{note.unit}+{where:#x}, {note.size} bytes{step}"
    if kind in (Kind.CONF_WRITE, Kind.GUARD_WRITE):
        who = " by the guard" if kind is Kind.GUARD_WRITE else ""
        return f"conf write {where:#x} = {note.value:#010x}{who}"
    if kind is Kind.INTERRUPT:
        return f"interrupt  {note.unit}" + (f", {note.value} times" if note.value > 1 else "")
    if kind is Kind.FAULT:
        return f"FAULT      {'write' if note.value else 'read'} of bus address {where:#x}"
    direction = Direction(note.value & 3).name or ""
    more = f", {note.unit} segments" if note.unit > 1 else ""
    way = f" {direction.lower()}" if kind is Kind.LOAD else ""
    return f"{kind.name.lower():<9}  {note.size} bytes at {where:#x}{more}{way}"


def _register(note: Note, names: Names) -> str:
    place = f"BAR{note.unit}+{note.where:#x}"
    way = "r" if note.kind is Kind.READ else "w"
    name = names.register(note.device, note.where, note.size, way)
    return f"{place} {name}" if name else place
