"""How a structure of the protocol is declared, once, for Python and for C.

    class ConfRead(Message, op=Op.CONF_READ):
        '''Read 32 bits of configuration space.'''

        FIELDS = (F("address", "u32"), F("reg", "u32"), F("value", "u32"), F("pad", "u32"))

Little-endian, every field at a multiple of its size, no hidden padding, no
pointer, at most 4 KiB: the same bytes are an ioctl(2) argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Self

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


class Message:
    """A structure, declared by subclassing; an instance has a value for every field.

    A field that is not given is zero.  An array may be given shorter than it is.
    Raises ValueError for a value that does not fit its field.
    """

    FIELDS: ClassVar[tuple[F, ...]] = ()
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<")
    OFFSETS: ClassVar[dict[str, int]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        at, cls.OFFSETS = 0, {}
        for field in cls.FIELDS:
            if at % _CODES[field.type][1]:
                raise TypeError(f"{cls.__name__}.{field.name} at {at} is not aligned")
            cls.OFFSETS[field.name] = at
            at += field.size
        cls.LAYOUT = struct.Struct("<" + "".join(field.code for field in cls.FIELDS))
        if at % 8 or not 0 < at <= LIMIT:
            raise TypeError(f"{cls.__name__} has {at} bytes: not a multiple of 8 up to {LIMIT}")

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.OFFSETS.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for field in self.FIELDS:
            empty: object = "" if field.type == "char" else (() if field.count > 1 else 0)
            setattr(self, field.name, values.get(field.name, empty))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def pack(self) -> bytes:
        """Its bytes.  Raises ValueError for what does not fit."""
        parts: list[Any] = []
        for field in self.FIELDS:
            parts += _flat(field, getattr(self, field.name))
        try:
            return self.LAYOUT.pack(*parts)
        except struct.error as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """What `pack` packed.  Raises ValueError for another length, or text that is none."""
        if len(data) != cls.LAYOUT.size:
            raise ValueError(f"{cls.__name__} has {cls.LAYOUT.size} bytes, not {len(data)}")
        found, made, at = cls.LAYOUT.unpack(data), cls(), 0
        for field in cls.FIELDS:
            if field.type == "char":
                setattr(made, field.name, found[at].rstrip(b"\0").decode())
                at += 1
            elif field.count > 1:
                setattr(made, field.name, found[at : at + field.count])
                at += field.count
            else:
                setattr(made, field.name, found[at])
                at += 1
        return made


def _flat(field: F, value: Any) -> list[Any]:
    """A field's value as what struct packs."""
    if field.type == "char":
        data = str(value).encode()
        if len(data) > field.count:
            raise ValueError(f"{field.name} has {len(data)} bytes, more than {field.count}")
        return [data]
    if field.count == 1:
        return [value]
    if len(value) > field.count:
        raise ValueError(f"{field.name} has {len(value)} elements, more than {field.count}")
    return [*value, *(0,) * (field.count - len(value))]
