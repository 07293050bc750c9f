"""The protocol as a C header, generated from abi.py: `python -m rumpci.pci4.cheader`.

What C and Python disagree about does not compile: size and every field's offset
are asserted.  The header needs nothing but integers of fixed width, so a kernel
can include it, too.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
from collections.abc import Iterator

from rumpci.pci4 import abi
from rumpci.pci4.wire import F, Message

_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t",
          "i32": "int32_t", "char": "char"}  # fmt: skip
_NAMES = {"errno": "error"}
"""Fields with another name in C: errno is a macro there."""
_HEAD = """\
/*
 * pci(4): the operations and structures between a driver process and a guard.
 * Generated from src/rumpci/pci4/abi.py by `python -m rumpci.pci4.cheader`: do not edit.
 *
 * All fields are little-endian and at multiples of their size; there is no padding that is
 * not named, and no pointer.  docs/pci4-protocol.md has what each operation does.
 */

#ifndef _PCI4_ABI_H_
#define _PCI4_ABI_H_

#ifdef _KERNEL
#include <sys/types.h>
#else
#include <stdint.h>
#endif
#ifdef __NetBSD__
#include <sys/ioccom.h>
#endif
"""
_ENUMS: tuple[type[enum.IntEnum | enum.IntFlag], ...] = (abi.Op, abi.Control, abi.Holding)
_TAIL = "#endif /* !_PCI4_ABI_H_ */\n"


def header() -> str:
    """The text of the header."""
    parts = [_HEAD, "\n".join(_limits()) + "\n"]
    parts += ["\n".join(_enum(kind)) + "\n" for kind in _ENUMS]
    parts += ["\n".join(_structure(kind)) + "\n" for kind in structures()]
    return "\n".join([*parts, "\n".join(_ioctls()) + "\n", _TAIL])


def structures() -> list[type[Message]]:
    """Every structure of the protocol, in the order in which they are declared."""
    found = (value for value in vars(abi).values() if isinstance(value, type))
    return [kind for kind in found if issubclass(kind, Message) and kind is not Message]


def limits() -> dict[str, tuple[int, str]]:
    """Every number that abi.py names, and the text below it."""
    body = ast.parse(inspect.getsource(abi)).body
    texts = dict[str, str]()
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.Assign) and isinstance(name := node.targets[0], ast.Name):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            texts[name.id] = str(after.value.value) if told else ""  # type: ignore[attr-defined]
    return {
        name: (value, texts.get(name, ""))
        for name, value in vars(abi).items()
        if name.isupper() and isinstance(value, int)
    }


def c_name(kind: type[object]) -> str:
    """What a class is called in C: WindowMap is pci4_window_map."""
    return "pci4_" + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def field_name(name: str) -> str:
    """What a field is called in C."""
    return _NAMES.get(name, name)


def _limits() -> Iterator[str]:
    for name, (value, text) in limits().items():
        number = f"{value:#x}" if value > 0xFFFF else str(value)
        yield f"#define PCI4_{name:<12} {number:<12}/* {_line(text)} */"


def _enum(kind: type[enum.IntEnum | enum.IntFlag]) -> Iterator[str]:
    yield from _comment(kind)
    yield f"enum {c_name(kind)} {{"
    for member in kind:
        yield f"\t{c_name(kind).upper()}_{member.name} = {member.value},"
    yield "};"


def _structure(kind: type[Message]) -> Iterator[str]:
    name = f"struct {c_name(kind)}"
    yield from _comment(kind)
    yield f"{name} {{"
    for field in kind.FIELDS:
        yield f"\t{_TYPES[field.type]:<8} {_declared(field)};"
    yield "};"
    size = kind.LAYOUT.size
    yield f'_Static_assert(sizeof({name}) == {size}, "size of {name}");'
    for key, at in kind.OFFSETS.items():
        called = field_name(key)
        yield f"_Static_assert(__builtin_offsetof({name}, {called}) == {at},"
        yield f'    "offset of {called} in {name}");'


def _declared(field: F) -> str:
    name = field_name(field.name)
    return f"{name}[{field.count}]" if field.count > 1 else name


def _ioctls() -> Iterator[str]:
    yield "#ifdef __NetBSD__"
    for op, kind in sorted(abi.STRUCTURES.items()):
        yield f"#define PCI4_IOC_{op.name:<16} _IOWR('p', {op.value}, struct {c_name(kind)})"
    yield "#endif"


def _comment(kind: type[object]) -> Iterator[str]:
    text = inspect.cleandoc(kind.__doc__ or "").replace("*/", "* /")
    yield "/*"
    yield from (f" * {line}".rstrip() for line in text.splitlines())
    yield " */"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /")


if __name__ == "__main__":
    sys.stdout.write(header())
