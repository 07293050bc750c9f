"""What a client passes, read once and made plain: its objects may say something else each time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from operator import index
from typing import TypeVar

from rumpci.errors import BadDma
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece

SEGMENTS_MAX = 1 << 16
"""Of one map: more would take too long to make while others wait."""
_NUMBER_MAX = 1 << 64
_NAME_MAX = 256
_NUMBERS: dict[type, list[str]] = {
    kind: [field.name for field in fields(kind) if field.name != "name"]
    for kind in (MemorySpec, MapSpec)
}
S = TypeVar("S", MemorySpec, MapSpec)


def plain_spec(kind: type[S], spec: object) -> S:
    """A copy of a spec, of plain numbers and a plain name.  Raises BadDma (EINVAL)."""
    tried = f"asking for DMA by a {kind.__name__}"
    if type(spec) is not kind:
        raise BadDma(tried, f"it is a {type(spec).__name__}", f"pass a {kind.__name__}")
    name = spec.name
    if type(name) is not str or len(name) > _NAME_MAX:
        raise BadDma(tried, f"its name is no text of at most {_NAME_MAX} characters", "shorten it")
    numbers = {key: plain_number(tried, getattr(spec, key), key) for key in _NUMBERS[kind]}
    return kind(**numbers, name=name)


def plain_pieces(tried: str, pieces: Iterable[Piece]) -> list[Piece]:
    """A copy of what is to be loaded.  Raises BadDma (EINVAL) for what are no pieces."""
    try:
        return [
            Piece(memory, plain_number(tried, offset), plain_number(tried, size))
            for memory, offset, size in pieces
        ]
    except (TypeError, ValueError) as error:
        raise BadDma(tried, str(error), "pass Piece(memory, offset, size)") from error


def plain_number(tried: str, value: object, what: str = "offset or size") -> int:
    """An int of at most 64 bits and a sign.  Raises BadDma (EINVAL)."""
    if type(value) is not int:
        try:
            value = int.__int__(index(value))  # type: ignore[arg-type]
        except TypeError as error:
            raise BadDma(tried, f"{what}: {error}", "pass a whole number") from error
    if abs(value) > _NUMBER_MAX:
        raise BadDma(tried, f"{what} has more than 64 bits", "see bus_dma(9)")
    return value


def check_direction(tried: str, direction: object) -> None:
    """Raise BadDma (EINVAL) for what is no direction."""
    if type(direction) is not Direction or not direction:
        raise BadDma(tried, "no direction", "pass READ, WRITE or both")
