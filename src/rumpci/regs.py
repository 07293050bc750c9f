"""Declare a register once; read, write, decode and wait follow from that.

    class EDU_STATUS(Register, offset=0x20, access=RW, section="edu.rst, 0x20"):
        '''Status register.'''

        COMPUTING = Field(0, access=RO)
        IRQFACT = Field(7)

    status = EDU_STATUS.read(iot, ioh)          # one 32-bit access
    if status.COMPUTING: ...
    EDU_STATUS.write(iot, ioh, IRQFACT=1)       # one 32-bit access
    EDU_STATUS.wait(iot, ioh, 100_000, COMPUTING=0)

A register's value is an `int` that knows its fields.  The same declaration
decodes configuration space, and names registers in messages.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Self, overload

from rumpci import kern
from rumpci.bus_space import READS, WRITES, BusSpaceHandle, BusSpaceTag
from rumpci.errors import BadAccess, ValueTooWide, WaitTimeout


class Access(enum.Enum):
    """How software may use a register or field, as data sheets abbreviate it."""

    RO = "read only"
    WO = "write only"
    RW = "read and write"
    W1C = "write one to clear"


RO, WO, RW, W1C = Access.RO, Access.WO, Access.RW, Access.W1C


class Field:
    """Bits `hi` down to `lo` of a register (`lo` defaults to `hi`: one bit).

    `values` names the numbers that have names.  On the register class a field
    is itself, with `mask` and `shift`; on a value it is the number in its bits.
    """

    def __init__(
        self,
        hi: int,
        lo: int | None = None,
        *,
        access: Access | None = None,
        values: dict[int, str] | None = None,
    ) -> None:
        self.hi, self.lo = hi, hi if lo is None else lo
        if not 0 <= self.lo <= self.hi:
            raise ValueError(f"field bits ({hi}, {lo}) are not (high, low)")
        self.access = access
        self.values = values or {}
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def shift(self) -> int:
        """The number of its lowest bit."""
        return self.lo

    @property
    def mask(self) -> int:
        """Its bits, in place."""
        return ((1 << (self.hi - self.lo + 1)) - 1) << self.lo

    @overload
    def __get__(self, value: None, owner: type) -> Self: ...
    @overload
    def __get__(self, value: Register, owner: type) -> int: ...
    def __get__(self, value: Register | None, owner: type) -> Self | int:
        return self if value is None else (int(value) & self.mask) >> self.lo

    def put(self, raw: int, number: int, register: str = "") -> int:
        """`raw` with `number` in this field.  Raises ValueTooWide (ERANGE)."""
        if not 0 <= number << self.lo <= self.mask:
            raise ValueTooWide(
                f"field {register}.{self.name}",
                f"value {number:#x} needs more than {self.hi - self.lo + 1} bits",
                "check it against the data sheet",
            )
        return raw & ~self.mask | number << self.lo

    def text(self, raw: int) -> str:
        """The field's number in `raw`, by its name in `values` if it has one."""
        number = (raw & self.mask) >> self.lo
        return self.values.get(number) or f"{number:#x}"


class Register(int):
    """A register, declared by subclassing; an instance is one value of it.

    Class arguments: `offset` in bytes from its window or structure; `width` in
    bytes (1, 2, 4, 8); `access`; `section` of the data sheet; `count` and
    `stride` (bytes) for an array of alike registers.
    """

    offset: ClassVar[int] = 0
    width: ClassVar[int] = 4
    access: ClassVar[Access] = RW
    section: ClassVar[str] = ""
    count: ClassVar[int] = 1
    stride: ClassVar[int] = 0
    fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(
        cls,
        *,
        offset: int,
        width: int = 4,
        access: Access = RW,
        section: str = "",
        count: int = 1,
        stride: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if width not in READS or offset < 0:
            raise ValueError(f"register {cls.__name__}: offset {offset}, width {width}")
        own = {name: f for name, f in vars(cls).items() if isinstance(f, Field)}
        if taken := [name for name in own if hasattr(Register, name)]:
            raise ValueError(f"field {cls.__name__}.{taken[0]}: a register has that name already")
        cls.offset, cls.width, cls.access = offset, width, access
        cls.section, cls.count, cls.stride = section, count, stride or width
        cls.fields = cls.fields | own
        for name, field in cls.fields.items():
            if field.hi >= 8 * width:
                raise ValueError(f"field {cls.__name__}.{name} ends outside {width} bytes")

    def __new__(cls, raw: int = 0, /, **fields: int) -> Self:
        """The value `raw` with the named fields replaced.  Raises ValueTooWide (ERANGE)."""
        for name, number in fields.items():
            raw = cls._field(name).put(raw, number, cls.__name__)
        if not 0 <= raw < 1 << 8 * cls.width:
            raise ValueTooWide(
                f"register {cls.__name__}",
                f"value {raw:#x} does not fit {cls.width} bytes",
                "mask it, or declare the register wider",
            )
        return super().__new__(cls, raw)

    @classmethod
    def _field(cls, name: str) -> Field:
        if name not in cls.fields:
            have = ", ".join(cls.fields) or "none"
            raise BadAccess(f"field {cls.__name__}.{name}", "not declared", f"it has: {have}")
        return cls.fields[name]

    @classmethod
    def at(cls, index: int = 0) -> int:
        """The offset of element `index`, in bytes.  Raises BadAccess (EINVAL)."""
        if not 0 <= index < cls.count:
            raise BadAccess(
                f"register {cls.__name__}[{index}]",
                f"there are {cls.count}",
                "check the index against what the device reports",
            )
        return cls.offset + index * cls.stride

    @classmethod
    def _permit(cls, verb: str, refused: Access) -> None:
        if cls.access is refused:
            raise BadAccess(
                f"{verb} register {cls.__name__}",
                f"it is {cls.access.value}",
                f"see {cls.section or 'the data sheet'}",
            )

    @classmethod
    def read(cls, tag: BusSpaceTag, handle: BusSpaceHandle, index: int = 0) -> Self:
        """Read the register: one access of its width.  Raises BadAccess if it is write-only."""
        cls._permit("read", WO)
        return cls(READS[cls.width](tag, handle, cls.at(index)))

    @classmethod
    def write(
        cls, tag: BusSpaceTag, handle: BusSpaceHandle, raw: int = 0, index: int = 0, **fields: int
    ) -> None:
        """Write `raw` with the named fields put in: one access of its width.

        Raises ValueTooWide, and BadAccess if it is read-only.
        """
        cls._permit("write", RO)
        WRITES[cls.width](tag, handle, cls.at(index), int(cls(raw, **fields)))

    @classmethod
    def modify(
        cls, tag: BusSpaceTag, handle: BusSpaceHandle, index: int = 0, **fields: int
    ) -> None:
        """Read, replace the named fields, write: two accesses.

        Bits that are write-one-to-clear go back as zeros unless they are named.
        What cannot be written is refused before the read, which may have effects.
        """
        cls._permit("write", RO)
        cls(0, **fields)
        cls.write(tag, handle, cls.read(tag, handle, index).modified(**fields), index)

    @classmethod
    def _kept(cls) -> int:
        """The bits that a write of what was read leaves as they are: those not W1C."""
        clear = other = 0
        for field in cls.fields.values():
            if (field.access or cls.access) is W1C:
                clear |= field.mask
            else:
                other |= field.mask
        return other & ~clear if cls.access is W1C else ~clear

    @classmethod
    def wait(
        cls,
        tag: BusSpaceTag,
        handle: BusSpaceHandle,
        limit: int,
        /,
        *,
        every: int = 10,
        index: int = 0,
        **fields: int,
    ) -> Self:
        """Read until all named fields have these values, at most `limit` microseconds.

        Waits `every` microseconds between reads.  Raises WaitTimeout (ETIMEDOUT).
        """
        wanted = int(cls(0, **fields))
        mask = 0
        for name in fields:
            mask |= cls._field(name).mask
        deadline = kern.deadline(limit)
        while True:
            late = deadline.passed()
            value = cls.read(tag, handle, index)
            if value & mask == wanted:
                return value
            if late:
                raise WaitTimeout(
                    f"wait for {cls.__name__} at {cls.at(index):#x} of {handle!r}",
                    f"mask {mask:#x}, wanted {wanted:#x}, last value {value} after {limit} us",
                    "is the device running, and is the limit the data sheet's?",
                )
            kern.delay(every)

    def replace(self, **fields: int) -> Self:
        """This value with the named fields replaced.  Raises ValueTooWide (ERANGE)."""
        return type(self)(int(self), **fields)

    def modified(self, **fields: int) -> Self:
        """What `modify` writes after it read this value.  Raises ValueTooWide (ERANGE)."""
        return type(self)(int(self) & self._kept(), **fields)

    def decode(self) -> dict[str, int]:
        """Every declared field and its number."""
        return {name: (int(self) & f.mask) >> f.lo for name, f in self.fields.items()}

    def __str__(self) -> str:
        shown = []
        for name, field in self.fields.items():
            if field.hi == field.lo:
                shown += [name] if int(self) & field.mask else []
            else:
                shown.append(f"{name}={field.text(int(self))}")
        return f"{int(self):#0{2 + 2 * self.width}x}" + (f"<{','.join(shown)}>" if shown else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"
