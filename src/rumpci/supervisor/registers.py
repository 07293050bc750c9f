"""Names for registers in reports: what a driver's own declarations say (regs.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rumpci.autoconf import Driver
from rumpci.regs import RO, WO, Register

_MOST = 256


class Row(NamedTuple):
    """A declared register, or an array of `number`: `ways` is "r", "w" or "rw"."""

    name: str
    offset: int
    width: int
    number: int
    stride: int
    ways: str


def declared(driver: type[Driver]) -> list[Row]:
    """The registers that a driver's modules declare: its own, and those beside it."""
    return [_row(register) for register in _registers(_modules(driver))][:_MOST]


def rows_of(told: Any) -> list[Row]:
    """Rows as a child told them; what makes no sense is left out."""
    return [row for row in map(_checked, told if isinstance(told, list) else []) if row]


def name_of(rows: Iterable[Row], offset: int, width: int, way: str) -> str:
    """The name of what was accessed; several that share the place are joined by |."""
    found = dict.fromkeys(
        f"{row.name}[{(offset - row.offset) // row.stride}]" if row.number > 1 else row.name
        for row in rows
        if row.width == width and way in row.ways and _hits(row, offset)
    )
    return "|".join(list(found)[:3])


def _hits(row: Row, offset: int) -> bool:
    at = offset - row.offset
    return at % row.stride == 0 and 0 <= at // row.stride < row.number


def _row(register: type[Register]) -> Row:
    ways = {RO: "r", WO: "w"}.get(register.access, "rw")
    return Row(
        register.__name__, register.offset, register.width, register.count, register.stride, ways
    )


def _checked(told: Any) -> Row | None:
    kinds = (str, int, int, int, int, str)
    if not isinstance(told, list) or len(told) != len(kinds):
        return None
    if not all(type(value) is kind for value, kind in zip(told, kinds, strict=True)):
        return None
    row = Row(*told)
    return row if row.stride > 0 and row.name.isidentifier() else None


def _modules(driver: type[Driver]) -> Iterator[ModuleType]:
    """The driver's module, its bases', and what those use from the same directories."""
    names = [c.__module__ for c in driver.__mro__ if issubclass(c, Driver) and c is not Driver]
    places = {_place(sys.modules[name]) for name in names}
    seen = set[str]()
    while names:
        name = names.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or _place(module) not in places:
            continue
        seen.add(name)
        yield module
        names += {str(getattr(value, "__module__", "")) for value in vars(module).values()}


def _place(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def _registers(modules: Iterable[ModuleType]) -> list[type[Register]]:
    """Those used there, without the entries of rings, which are declared alike but in no BAR."""
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Register) and value is not Register
    ]
    return list(dict.fromkeys(found))
