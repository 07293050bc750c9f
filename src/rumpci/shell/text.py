"""What the prompt shows as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rumpci.errors import BadRange

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ROW = 16


class Text(str):
    """Text that the prompt shows as lines, not in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def dump(data: Buffer, start: int = 0, length: int = 256) -> Text:
    """`length` bytes from `start` on, sixteen a line: offset, hexadecimal, ASCII.

    Raises BadRange (EINVAL) outside.
    """
    view = memoryview(data).cast("B")
    if not 0 <= start <= len(view) or length < 0:
        raise BadRange(
            f"hexdump of {length} bytes from {start:#x} on",
            f"there are {len(view):#x}",
            "stay inside",
        )
    end = min(start + length, len(view))
    return Text("\n".join(_row(bytes(view[at : min(at + _ROW, end)]), at)
                          for at in range(start, end, _ROW)))  # fmt: skip


def _row(data: bytes, at: int) -> str:
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{at:08x}  {data.hex(' '):<{3 * _ROW - 1}}  |{shown}|"
