"""The keys that URLs of several schemes have: `memory`, `iommu`, `banks` and `scatter`."""

from __future__ import annotations

import re

from rumpci.errors import BadURL

_SIZE_END = 1 << 63  # of what a file can have
BANKS_MAX = 32
"""What the key `banks` can be: a QEMU has a slot for each."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str, what: str) -> int:
    """Bytes in `64M` and the like.  Raises BadURL (EINVAL)."""
    found = re.fullmatch(r"([1-9][0-9]*)([KMG]?)", text.upper())
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < size < _SIZE_END:
        raise BadURL(f"{what}={text}", "no size", "write a number, with K, M or G")
    return size


def memory_size(text: str, least: int, most: int) -> int:
    """The key `memory`: the machine's RAM in bytes.  Raises BadURL (EINVAL)."""
    size = parse_size(text, "memory")
    if size > most:
        raise BadURL(f"memory={text}", "too much", f"use at most {most >> 20}M")
    if size < least:
        raise BadURL(f"memory={text}", "too little", f"use at least {least >> 10}K")
    return size


def has_iommu(text: str) -> bool:
    """The key `iommu`: whether the machine has one.  Raises BadURL for what is not on or off."""
    if text not in ("on", "off"):
        raise BadURL(f"iommu={text}", "neither on nor off", "write iommu=on or iommu=off")
    return text == "on"


def bank_count(text: str) -> int:
    """The key `banks`: how many banks of memory there are to hand out.  Raises BadURL (EINVAL)."""
    if not re.fullmatch(r"[0-9]{1,2}", text, re.ASCII) or int(text) > BANKS_MAX:
        raise BadURL(f"banks={text}", "no such number", f"write a number, 0 to {BANKS_MAX}")
    return int(text)


def scatter_seed(text: str | None) -> int | None:
    """The key `scatter`: the seed by which DMA memory comes in many segments; None: it does not.

    Raises BadURL (EINVAL).
    """
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise BadURL(f"scatter={text}", "no seed", "write a number, 0 or more")
    return int(text)
