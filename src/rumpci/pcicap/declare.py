"""What a capability of configuration space is: an id, a name, and its registers.

A capability's registers are dwords at offsets, in bytes, from where it starts.
Which of them exist may depend on its contents, so `Capability.layout` looks.
The capabilities themselves are in `pcicap`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass

from rumpci.regs import RO, Field, Register

Read = Callable[[int], int]
"""Reads the dword at an offset, in bytes from the start of the capability."""
Registers = tuple[type[Register], ...]
Choose = Callable[[Read, bool], Registers]
"""Chooses registers by the contents, and by whether the function is a bridge."""


class PCI_CAPLIST(Register, offset=0x00, access=RO, section="PCI 3.0, 6.7"):
    """First dword of a capability: its id, and the offset of the next one in bytes."""

    CAPID = Field(7, 0, access=RO)
    NEXT = Field(15, 8, access=RO)


class PCI_EXTCAPLIST(Register, offset=0x00, access=RO, section="7.6.3"):
    """First dword of an extended capability; the offset of the next one is in bytes."""

    CAPID = Field(15, 0, access=RO)
    VERSION = Field(19, 16, access=RO)
    NEXT = Field(31, 20, access=RO)


@dataclass(frozen=True)
class Capability:
    """A kind of capability, with every register that it may have in `registers`.

    `choose` is None where all instances have the same registers.
    """

    id: int
    name: str
    registers: Registers = ()
    choose: Choose | None = None

    def layout(self, read: Read, bridge: bool = False) -> Registers:
        """The registers that one instance has, by their offsets.

        `read(offset)` reads one of its dwords, at an offset in bytes from its
        start; `bridge` says that the header is a bridge's (type 1).  Any value
        read is accepted; what `read` raises passes through.
        """
        return self.registers if self.choose is None else self.choose(read, bridge)


def placed(
    register: type[Register], *, offset: int | None = None, count: int = 1, name: str = ""
) -> type[Register]:
    """`register` again with `count` elements, at `offset` bytes, called `name`.

    The offset and the name stay where they are not given.  Raises ValueError if
    the offset is negative.
    """
    where = register.offset if offset is None else offset
    same = {key: getattr(register, key) for key in ("width", "access", "section", "stride")}
    options = same | {"offset": where, "count": count}
    copy: type[Register] = types.new_class(name or register.__name__, (register,), options)
    copy.__doc__, copy.__module__ = register.__doc__, register.__module__
    return copy
