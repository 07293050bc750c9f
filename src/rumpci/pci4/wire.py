"""How a structure of the protocol is declared, once, for Python and for C.

    class ConfRead(Message):
        '''Read 32 bits of configuration space.'''

        FIELDS = (F("address", "u32"), F("reg", "u32"), F("value", "u32"), F("pad", "u32"))

Little-endian, every field at a multiple of its size, no hidden padding, no
pointer, at most 4 KiB: the same bytes are an ioctl(2) argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

LIMIT = 4096
"""Bytes that a structure may have: what an ioctl(2) of NetBSD copies at most."""
_CODES = {"u8": ("B", 1), "u16": ("H", 2), "u32": ("I", 4), "u64": ("Q", 8), "i32": ("i", 4),
          "char": ("s", 1)}  # fmt: skip


@dataclass(frozen=True)
class F:
    """A field: its name, its type (u8, u16, u32, u64, i32, char), how many of them.

    `char` is UTF-8, ended by zeros where it is shorter.
    """

    name: str
    type: str
    count: int = 1

    @property
    def size(self) -> int:
        """Its bytes."""
        return _CODES[self.type][1] * self.count

    @property
    def code(self) -> str:
        """What struct calls it."""
        return f"{self.count}{_CODES[self.type][0]}"

    @property
    def part(self) -> str:
        """The same, an array as bytes: few of its elements are used as a rule."""
        return self.code if self.count == 1 else f"{self.size}s"


class Message:
    """A structure, declared by subclassing; an instance has a value for every field.

    A field that is not given is zero.  An array may be given shorter than it is.
    Raises ValueError for a value that does not fit its field.
    """

    FIELDS: ClassVar[tuple[F, ...]] = ()
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<")
    OFFSETS: ClassVar[dict[str, int]] = {}
    _PARTS: ClassVar[struct.Struct] = struct.Struct("<")  # as LAYOUT, an array as its bytes

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        at, cls.OFFSETS = 0, {}
        for field in cls.FIELDS:
            if at % _CODES[field.type][1]:
                raise TypeError(f"{cls.__name__}.{field.name} at {at} is not aligned")
            cls.OFFSETS[field.name] = at
            at += field.size
        cls.LAYOUT = struct.Struct("<" + "".join(field.code for field in cls.FIELDS))
        cls._PARTS = struct.Struct("<" + "".join(field.part for field in cls.FIELDS))
        if at % 8 or not 0 < at <= LIMIT:
            raise TypeError(f"{cls.__name__} has {at} bytes: not a multiple of 8 up to {LIMIT}")

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.OFFSETS.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for field in self.FIELDS:
            empty: object = "" if field.type == "char" else (() if field.count > 1 else 0)
            setattr(self, field.name, values.get(field.name, empty))

    if TYPE_CHECKING:  # a field's type is in FIELDS, where no checker sees it

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def pack(self) -> bytes:
        """Its bytes.  Raises ValueError for what does not fit."""
        try:
            parts = [_part(field, getattr(self, field.name)) for field in self.FIELDS]
            return self._PARTS.pack(*parts)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """What `pack` packed.  Raises ValueError for another length, or text that is none."""
        if len(data) != cls.LAYOUT.size:
            raise ValueError(f"{cls.__name__} has {cls.LAYOUT.size} bytes, not {len(data)}")
        made = cls()
        for field, value in zip(cls.FIELDS, cls._PARTS.unpack(data), strict=True):
            if field.type == "char":
                setattr(made, field.name, value.rstrip(b"\0").decode())
            elif field.count > 1 and field.type != "u8":
                setattr(made, field.name, struct.unpack(f"<{field.code}", value))
            else:
                setattr(made, field.name, value)
        return made


def _part(field: F, value: Any) -> Any:
    """A field's value as `_PARTS` packs it; struct adds the zeros."""
    if field.type == "char":
        value = str(value).encode()
    elif field.count == 1:
        return value
    if len(value) > field.count:
        what = "bytes" if field.type == "char" else "elements"
        raise ValueError(f"{field.name} has {len(value)} {what}, more than {field.count}")
    if field.type in ("char", "u8"):
        return bytes(value)
    return struct.pack(f"<{len(value)}{_CODES[field.type][0]}", *value)
