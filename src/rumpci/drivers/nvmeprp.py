"""Physical region pages: how a command says where its data is.  NVM Express 1.4, 4.3.

    PRP1        the first page's part, at any offset that is a multiple of four
    PRP2        nothing, or the second page, or a list of all pages from the second on

Every page but the first starts at its beginning, every one but the last goes to its end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from rumpci.errors import BadRange, DriverError

PRP_SIZE = 8
"""Bytes of an entry of a list."""


def prp_entries(segments: Iterable[tuple[int, int]], page: int) -> list[int]:
    """The entries for segments (bus address, bytes) in pages of `page` bytes.

    A segment may span pages.  Raises BadRange (EINVAL), naming the segment, for one that
    the rules above do not allow.
    """
    entries, end = list[int](), 0
    for number, (start, length) in enumerate(segments):
        _check_segment(number, start, length, end, page)
        end = start + length
        entries.append(start)
        entries.extend(range(start - start % page + page, end, page))
    return entries


def _check_segment(number: int, start: int, length: int, end: int, page: int) -> None:
    """Raise BadRange for a segment that cannot follow one that ended at `end`."""
    why = ""
    if length <= 0:
        why = "it is empty"
    elif number and start % page:
        why = f"it does not start at a page of {page} bytes"
    elif number and end % page:
        why = f"the one before it ends at {end:#x}, inside a page of {page} bytes"
    elif start % 4:
        why = "it does not start at a multiple of four"
    if why:
        raise BadRange(
            f"data in segment {number} of {length:#x} bytes at {start:#x}",
            why,
            "use one buffer that is contiguous and starts at a multiple of four",
        )


def prp_pair(entries: list[int], prps: memoryview, address: int) -> tuple[int, int]:
    """PRP1 and PRP2 for entries; a list, if they need one, is put into `prps`.

    `prps` holds 64-bit entries and is at bus address `address`, inside one page.
    Raises DriverError (EIO) if the list has no room.
    """
    if len(entries) <= 2:
        return entries[0], entries[1] if len(entries) == 2 else 0
    count = len(entries) - 1
    if count > len(prps):
        raise DriverError(
            f"a PRP list of {count} entries",
            f"there is room for {len(prps)}",
            "transfer less in one command",
        )
    prps[:count] = memoryview(array("Q", entries[1:]))
    return entries[0], address
