"""For the shim's tests: a recording device, the reference interpreter, the documented examples."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rumpci import shim as assembler
from rumpci.guard.shim import BarLimits, Read, Write
from rumpci.host import Space
from rumpci.shim import Shim

PAGE = (Path(__file__).parents[2] / "docs/shim.md").read_text()
WINDOWS = {
    0: BarLimits(Space.MEM, ((0x00, 0x80), (0x100, 0x180))),
    2: BarLimits(Space.IO, ((0x00, 0x20),)),
}


class Recorder:
    """Answers reads with anything, even too wide; keeps every access and checks its place."""

    def __init__(self, windows: Mapping[int, BarLimits], seed: int) -> None:
        self.windows, self.random = windows, random.Random(seed)  # noqa: S311
        self.log: list[tuple[int, ...]] = []

    def _check(self, bar: int, offset: int, width: int) -> None:
        limits = self.windows[bar]
        assert width in ((1, 2, 4, 8) if limits.space is Space.MEM else (1, 2, 4))
        assert offset % width == 0
        assert any(low <= offset and offset + width <= high for low, high in limits.ranges)

    def read(self, bar: int, offset: int, width: int) -> int:
        self._check(bar, offset, width)
        self.log.append((bar, offset, width))
        return self.random.choice((0, 0, 1, -1, self.random.getrandbits(80)))

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        self._check(bar, offset, width)
        assert 0 <= value < 1 << 8 * width
        self.log.append((bar, offset, width, value))


class Reference(NamedTuple):
    """What the reference interpreter found, and the steps it took."""

    ours: bool
    status: tuple[int, ...]
    steps: int


def reference(program: bytes, read: Read, write: Write) -> Reference:  # noqa: C901
    """An interpreter from docs/shim.md alone, over the bytes, as a kernel would have it."""
    a, status, at, taken = 0, [0] * 4, 0, 0
    while True:
        op, width, bar, arg, offset, k = struct.unpack_from("<BBBBIQ", program, 8 + 16 * at)
        at, taken = at + 1, taken + 1
        low = (1 << 8 * width) - 1
        match op:
            case 1:
                a = read(bar, offset, width) & low
            case 2:
                a &= k
            case 3:
                at += 0 if a else arg
            case 4 if not a:
                return Reference(False, (0,) * 4, taken)
            case 5:
                write(bar, offset, width, k)
            case 6:
                write(bar, offset, width, a & low)
            case 7:
                status[arg] = a
            case 8:
                a = status[arg]
            case 9:
                return Reference(True, tuple(status), taken)
            case 10:
                return Reference(False, (0,) * 4, taken)


class Example(NamedTuple):
    """An example of docs/shim.md: assembled, and what the page shows of it."""

    shim: Shim
    listing: list[str]
    program: bytes


def _example(code: str, listing: str, dump: str) -> Example:
    names: dict[str, object] = dict(vars(assembler))
    exec(code, names)  # noqa: S102
    shim = names["shim"]
    assert isinstance(shim, Shim)
    return Example(shim, listing.rstrip("\n").split("\n"), bytes.fromhex(dump))


def _examples() -> dict[str, Example]:
    block = r"```{}\n(.*?)```\n\s*"
    pattern = r"^### (\w+)$.*?" + "".join(map(block.format, ("python", "text", "hex")))
    return {
        name: _example(code, listing, dump)
        for name, code, listing, dump in re.findall(pattern, PAGE, re.S | re.M)
    }


EXAMPLES = _examples()
