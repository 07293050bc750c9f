"""What is checked of every request, and texts that fit their fields."""

from __future__ import annotations

import enum
from typing import TypeVar

from rumpci.errors import BadRequest

E = TypeVar("E", bound=enum.Enum)


def shown(field: str, text: str, *, empty: bool = True) -> str:
    """A text that others will read on their terminals.  Raises BadRequest for what is none."""
    if not text.isprintable() or not (text or empty):
        raise BadRequest(f"{field} {text!r}", "not a text that can be shown", "use printable text")
    return text


def choice(field: str, kinds: type[E], number: int, first: int = 0) -> E:
    """Member number `number` of an enumeration.  Raises BadRequest (EINVAL)."""
    members = list(kinds)
    if not first <= number < first + len(members):
        names = ", ".join(f"{first + n} {member.name}" for n, member in enumerate(members))
        raise BadRequest(f"{field} {number}", "there is none", f"there are: {names}")
    return members[number - first]


def count(field: str, number: int, most: int) -> int:
    """A number of elements in a message.  Raises BadRequest (EINVAL)."""
    if number > most:
        raise BadRequest(f"{field} {number}", f"a message has at most {most}", "send several")
    return number


def clip(text: str, most: int) -> str:
    """As much of a text as fits `most` bytes of UTF-8."""
    data = text.encode(errors="replace").replace(b"\0", b"?")
    return text if len(data) <= most and "\0" not in text else data[:most].decode(errors="ignore")
