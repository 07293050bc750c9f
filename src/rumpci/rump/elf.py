"""The dynamic symbols of an ELF library: what it defines, what it wants (System V ABI, 64 bits)."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from rumpci.errors import HostUnavailable

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNSYM = 11
_GLOBAL, _WEAK = 1, 2
_ELF64_LITTLE = b"\x7fELF\x02\x01"


@dataclass(frozen=True)
class Symbols:
    """Names: `defined`, and `wanted` (a weak reference is not wanted)."""

    defined: frozenset[str]
    wanted: frozenset[str]


def symbols_of(path: Path) -> Symbols:
    """Raises HostUnavailable (ENOENT) for what is no library of this kind of machine."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return _read(data)
    except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
        raise HostUnavailable(
            f"the rump library {path}", f"it cannot be read: {error}", "install it again"
        ) from error


def _read(data: mmap.mmap) -> Symbols:
    fields = _HEADER.unpack_from(data)
    if data[:6] != _ELF64_LITTLE:
        raise ValueError("no 64-bit little-endian ELF file")
    at, size, count = fields[6], fields[11], fields[12]
    sections = [_SECTION.unpack_from(data, at + i * size) for i in range(count)]
    defined, wanted = set[str](), set[str]()
    for section in sections:
        if section[1] == _DYNSYM:
            strings = sections[section[6]]
            names = data[strings[4] : strings[4] + strings[5]]
            table = data[section[4] : section[4] + section[5] // _SYMBOL.size * _SYMBOL.size]
            for name, info, _, where, _, _ in _SYMBOL.iter_unpack(table):
                if info >> 4 in (_GLOBAL, _WEAK) and (where or info >> 4 == _GLOBAL):
                    text = names[name : names.index(b"\0", name)].decode()
                    (defined if where else wanted).add(text)
    return Symbols(frozenset(defined), frozenset(wanted))
