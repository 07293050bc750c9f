"""Names of vendors, products and classes, from the data of pci.ids.

The file is searched as text, not parsed: a look-up takes well under a
millisecond and nothing is kept.  Source: https://pci-ids.ucw.cz (format).
"""

from __future__ import annotations

import mmap
from functools import lru_cache
from pathlib import Path

PLACES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/pkg/share/pci.ids")


@lru_cache(maxsize=1)
def _data() -> bytes | mmap.mmap:
    """The file, mapped; nothing if this system has none."""
    for place in PLACES:
        if Path(place).is_file():
            with open(place, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return b""


def available() -> bool:
    """Whether this system has the data."""
    return bool(_data())


def _entry(key: str, start: int, indent: bytes) -> tuple[str, int] | None:
    """The name after `key` at one level of indentation below `start`, and where its line ends."""
    data = _data()
    needle = b"\n" + indent + key.encode() + b"  "
    at = data.find(needle, start)
    if at < 0:
        return None
    end = data.find(b"\n", at + len(needle))
    return data[at + len(needle) : end].decode("utf-8", "replace").strip(), end


def _child(key: str, parent: tuple[str, int] | None) -> str | None:
    """The name of `key` in the block of lines below `parent`."""
    if parent is None:
        return None
    found = _entry(key, parent[1], b"\t")
    if found is None:
        return None
    data, at = _data(), parent[1]
    while at + 1 < len(data) and data[at + 1 : at + 2] in (b"\t", b"#") and at < found[1]:
        at = data.find(b"\n", at + 1)
    return found[0] if at >= found[1] else None


def vendor_name(vendor: int) -> str | None:
    """The name of a vendor id (16 bits), or None."""
    found = _entry(f"{vendor:04x}", 0, b"")
    return found and found[0]


def product_name(vendor: int, product: int) -> str | None:
    """The name of a product id (16 bits) of a vendor, or None."""
    return _child(f"{product:04x}", _entry(f"{vendor:04x}", 0, b""))


def class_name(class_: int, subclass: int) -> str | None:
    """The name of a class and subclass (8 bits each), or of the class alone, or None."""
    found = _entry(f"C {class_:02x}", 0, b"")
    return _child(f"{subclass:02x}", found) or (found and found[0])
