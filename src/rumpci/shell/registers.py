"""Registers by name at the prompt: regs.EDU_STATUS, regs.EDU_STATUS.IRQFACT = 1.

A name alone touches nothing.  Each time its value is asked for (shown, compared,
calculated with) there is one access of the register's width.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

from rumpci.errors import BadAccess, BadRange
from rumpci.load import load_classes
from rumpci.regs import RO, Register
from rumpci.shell.access import BarAccess
from rumpci.shell.record import Access

_PACKAGE = "rumpci.drivers"
_METHODS = ("modify", "read", "wait", "write")


class NoSuchName(BadAccess, AttributeError):
    """A register or field that is not declared; Python's tools know it as AttributeError."""


@dataclass(frozen=True)
class Table:
    """The registers that a module declares, and their BAR (None: the device's first)."""

    name: str
    bar: int | None
    registers: tuple[type[Register], ...]


def load_table(text: str) -> Table:
    """The registers of `MODULE` or `MODULE@BAR`: a shipped module, another one, or a file.

    If the module has a tuple whose name ends in REGISTERS, those are all that are in the BAR.
    Raises DriverLoadError (ENOEXEC), BadRange (EINVAL) for a BAR that is no number.
    """
    name, at, number = text.rpartition("@")
    name, bar = (name, number.upper().removeprefix("BAR")) if at else (text, "")
    if at and bar not in set("012345"):
        raise BadRange(f"--regs {text}", f"{number!r} is no BAR", "write 0 to 5 after the @")
    return Table(name, int(bar) if at else None, _in_bar(load_classes(name, Register, _PACKAGE)))


def _in_bar(classes: list[type[Register]]) -> tuple[type[Register], ...]:
    """Without commands and queue entries, where the module says what its registers are."""
    import sys

    for name, value in vars(sys.modules[classes[0].__module__]).items():
        if name.endswith("REGISTERS") and isinstance(value, tuple) and value:
            return value
    return tuple(classes)


class Ref:
    """A register of the device, or of an array of them one: it is read whenever it is asked."""

    __slots__ = ("_bar", "_index", "_register")
    _bar: BarAccess
    _index: int | None
    _register: type[Register]

    def __init__(self, register: type[Register], bar: BarAccess, index: int | None = None) -> None:
        put: Callable[[str, object], None] = super().__setattr__
        put("_register", register)
        put("_bar", bar)
        put("_index", index)

    # ---- the accesses ------------------------------------------------------------------

    def read(self) -> Register:
        """Its value now: one access of its width.  Raises BadAccess if it is write-only."""
        index = self._element()
        value = self._register.read(self._bar.tag, self._bar.handle, index)
        self._note(False, value)
        return value

    def write(self, raw: SupportsIndex = 0, **fields: int) -> None:
        """Write `raw` with the named fields put in: one access of its width.

        Raises BadAccess if it is read-only, ValueTooWide.
        """
        index, number = self._element(), operator.index(raw)
        self._register.write(self._bar.tag, self._bar.handle, number, index, **fields)
        self._note(True, self._register(number, **fields))

    def modify(self, **fields: int) -> None:
        """Read, replace the named fields, write: two accesses.

        Bits that are write-one-to-clear go back as zeros unless they are named.  What
        cannot be written is refused before the read.
        """
        self._register(0, **fields)
        for name in fields:
            if (self._register.fields[name].access or self._register.access) is RO:
                raise BadAccess(
                    f"write field {self._register.__name__}.{name}",
                    "it is read only",
                    f"see {self._register.section or 'the data sheet'}",
                )
        self.write(self.read().modified(**fields))

    def wait(self, limit: int, **fields: int) -> Register:
        """Read until the fields have these values, at most `limit` us.  Raises WaitTimeout."""
        bar, index = self._bar, self._element()
        value = self._register.wait(bar.tag, bar.handle, limit, index=index, **fields)
        self._note(False, value)
        return value

    def _element(self) -> int:
        if self._index is None and self._register.count > 1:
            name = self._register.__name__
            raise BadAccess(
                f"register {name}", f"it is {self._register.count}", f"choose one: {name}[0]"
            )
        return self._index or 0

    def _note(self, write: bool, value: Register) -> None:
        register, index = self._register, self._element()
        name = register.__name__ + (f"[{index}]" if register.count > 1 else "")
        where = self._bar.bar.index
        self._bar.note(
            Access(where, write, register.width, register.at(index), int(value), f"{name} {value}")
        )

    # ---- fields and elements --------------------------------------------------------------

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):  # tools look for their own, such as _repr_html_
            raise AttributeError(name)
        self._known(name)
        return int(getattr(self.read(), name))

    def __setattr__(self, name: str, value: SupportsIndex) -> None:
        self._known(name)
        self.modify(**{name: operator.index(value)})

    def _known(self, name: str) -> None:
        register = self._register
        if name not in register.fields:
            raise _no_name(f"field {register.__name__}.{name}", name, register.fields)

    def __dir__(self) -> list[str]:
        return [*self._register.fields, *_METHODS]

    def __getitem__(self, index: SupportsIndex) -> Ref:
        if isinstance(index, slice):
            raise BadAccess(
                f"register {self._register.__name__}[{index}]",
                "a slice is no register",
                "use one index, or a loop",
            )
        number = operator.index(index)
        self._register.at(number)
        return Ref(self._register, self._bar, number)

    def __setitem__(self, index: SupportsIndex, value: SupportsIndex) -> None:
        self[index].write(value)

    def __len__(self) -> int:
        return self._register.count

    def __iter__(self) -> Iterator[Ref]:
        return (self[index] for index in range(self._register.count))

    # ---- as a number --------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._index is None and self._register.count > 1:
            return f"<{self._register.__name__}[0] to [{self._register.count - 1}]>"
        return repr(self.read())

    def __str__(self) -> str:
        return str(self.read())

    def __format__(self, spec: str) -> str:
        return format(self.read(), spec)

    def __int__(self) -> int:
        return int(self.read())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.read())

    def __eq__(self, other: object) -> bool:
        return int(self) == other

    __hash__ = object.__hash__


def _as_number(name: str) -> Callable[[Ref, Any], Any]:
    def calculate(self: Ref, other: Any) -> Any:
        return getattr(int(self), name)(int(other) if isinstance(other, Ref) else other)

    return calculate


for _name in ("and", "or", "xor", "add", "sub", "rshift", "lshift", "lt", "le", "gt", "ge",
              "rand", "ror", "rxor", "radd", "rsub"):  # fmt: skip
    setattr(Ref, f"__{_name}__", _as_number(f"__{_name}__"))


class Registers:
    """Every register that is known by name; an attribute is a Ref, assigning writes."""

    __slots__ = ("_refs",)
    _refs: dict[str, Ref]

    def __init__(self, tables: Iterable[Table], bars: Mapping[int, BarAccess]) -> None:
        refs: dict[str, Ref] = {}
        for table in tables:
            bar = min(bars, default=0) if table.bar is None else table.bar
            if bar not in bars:
                have = ", ".join(f"BAR{index}" for index in sorted(bars)) or "none"
                raise BadRange(
                    f"--regs {table.name}: BAR{bar}",
                    "the device has no such BAR",
                    f"it has: {have}",
                )
            refs |= {each.__name__: Ref(each, bars[bar]) for each in table.registers}
        object.__setattr__(self, "_refs", refs)

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._refs:
            raise _no_name(f"register {name}", name, self._refs)
        return self._refs[name]

    def __setattr__(self, name: str, value: SupportsIndex) -> None:
        getattr(self, name).write(value)

    def __dir__(self) -> list[str]:
        return list(self._refs)

    def __repr__(self) -> str:
        return f"<registers {', '.join(self._refs) or 'none: give --regs'}>"


def _no_name(tried: str, name: str, names: Iterable[str]) -> NoSuchName:
    have = list(names)
    near = difflib.get_close_matches(name, have, 3) or have[:8]
    return NoSuchName(tried, "not declared", f"there are: {', '.join(near) or 'none'}")
