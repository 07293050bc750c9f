"""The programs of tests/vectors/shim.json, and what the device answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from rumpci.shim import HEADER, MAGIC, STEP, Op, Shim
from tests.unit.shim_fakes import EXAMPLES

ANY = (1 << 64) - 1
WINDOWS: dict[str, Any] = {
    "0": {"space": "mem", "ranges": [[0x100, 0x180], [0x200, 0x208]]},
    "1": {"space": "mem", "ranges": [[0, 0x1000]]},
    "2": {"space": "i/o", "ranges": [[0, 0x20]]},
    "3": {"space": "mem", "ranges": []},
    "5": {"space": "mem", "ranges": [[0, 0x100000000]]},
}
"""What the shims of shim.json may touch: not BAR 4, and of BAR 3 nothing."""
Shims = Iterator[tuple[str, bytes, list[int]]]


def shims() -> Shims:
    """(name, program, what the device answers)."""
    for name, example in EXAMPLES.items():
        for reads in ([0], [1, 2], [3, 3, 3, 3], [ANY] * 4, [0x80, 0x40, 0]):
            yield f"{name} of docs/shim.md, {reads}", example.program, reads
    yield from _headers()
    yield from _steps()
    yield from _flows()
    yield from _by_chance()


def _program(*steps: tuple[int, ...], count: int | None = None) -> bytes:
    """Steps of (op, width, bar, arg, offset, k), whatever they are."""
    head = HEADER.pack(MAGIC, 1, len(steps) if count is None else count, 0)
    return head + b"".join(STEP.pack(*step) for step in steps)


READ = (1, 4, 1, 0, 0, 0)
DELIVER = (9, 0, 0, 0, 0, 0)
NOTOURS = (10, 0, 0, 0, 0, 0)


def _headers() -> Shims:
    good = _program(READ, DELIVER)
    yield "nothing", b"", []
    yield "a header alone", good[:8], []
    yield "a step too few", good[:-16], []
    yield "a byte too few", good[:-1], []
    yield "a byte too many", good + b"\0", []
    for at, value in ((0, 0), (3, 0x6D), (4, 0), (4, 2), (5, 0), (5, 1), (5, 3), (6, 1), (7, 1)):
        yield f"header byte {at} is {value}", good[:at] + bytes([value]) + good[at + 1 :], []
    yield "32 steps", _program(*[READ] * 31, DELIVER), [1] * 31
    yield "33 steps", _program(*[READ] * 32, DELIVER), []
    yield "no steps", _program(count=0), []


def _steps() -> Shims:
    yield from _fields()
    for width in (0, 1, 2, 3, 4, 5, 8, 16, 255):
        for bar in (1, 2):
            yield f"width {width} of BAR {bar}", _program((1, width, bar, 0, 8, 0), DELIVER), [ANY]
    for bar in (3, 4, 5, 6, 255):
        yield f"BAR {bar}", _program((1, 4, bar, 0, 0, 0), DELIVER), [5]
    yield from _offsets()
    for word in (0, 3, 4, 255):
        yield f"store {word}", _program(READ, (7, 0, 0, word, 0, 0), DELIVER), [ANY]
        yield f"load {word}", _program(READ, (8, 0, 0, word, 0, 0), DELIVER), [ANY]
    for width, k in ((1, 255), (1, 256), (2, 65535), (2, 65536), (4, 1 << 32), (8, ANY)):
        yield f"write {k:#x} in {width}", _program((5, width, 1, 0, 0, k), DELIVER), []


def _fields() -> Shims:
    """Operations that there are not, and fields that an operation does not use."""
    for op in (0, 11, 255):
        yield f"op {op}", _program(READ, (op, 0, 0, 0, 0, 0), DELIVER), []
    uses = {1: "wbo", 2: "k", 3: "a", 4: "", 5: "wbok", 6: "wbo", 7: "a", 8: "a", 9: "", 10: ""}
    for op, used in uses.items():
        whole = (op, *(4 * ("w" in used), 1 * ("b" in used), int(op == 3), 0, 0))
        for place, letter in enumerate("wbaok", 1):
            if letter not in used:
                step = (*whole[:place], 1, *whole[place + 1 :])
                program = _program(READ, step, DELIVER, DELIVER)
                yield f"op {op} with what it does not use: {letter}", program, []


def _offsets() -> Shims:
    for offset in (0xFC, 0xFE, 0xFF, 0x100, 0x17C, 0x180, 0x1FC, 0x200, 0x204, 0x208, 0xFFFFFFFC):
        yield f"offset {offset:#x}", _program((1, 4, 0, 0, offset, 0), DELIVER), [5]
        yield f"offset {offset:#x}, 8 bytes", _program((1, 8, 0, 0, offset, 0), DELIVER), [5]
        yield f"offset {offset:#x}, a byte", _program((1, 1, 0, 0, offset, 0), DELIVER), [5]
    yield "the last bytes of a BAR of 4 GiB", _program((1, 8, 5, 0, 0xFFFFFFF8, 0), DELIVER), [5]


def _flows() -> Shims:
    for op in (2, 3, 4, 6, 7, 8):
        step = (op, 4, 1, 0, 0, 0) if op == 6 else (op, 0, 0, int(op == 3), 0, 0)
        yield f"op {op} before a read", _program(step, READ, DELIVER), []
    for skip in (0, 1, 2, 3, 4, 32, 33, 255):
        steps = [READ, (3, 0, 0, skip, 0, 0), READ, READ, DELIVER]
        yield f"skip {skip} of 3, zero", _program(*steps), [0, 1, 2]
        yield f"skip {skip} of 3, not zero", _program(*steps), [9, 1, 2]
    yield "the last step reads", _program(READ), []
    yield "the last step asks", _program(READ, (4, 0, 0, 0, 0, 0)), []
    yield "never ours", _program(READ, (7, 0, 0, 0, 0, 0), NOTOURS), [7]
    yield "ours without a look", _program(DELIVER), []
    yield "after the end", _program(DELIVER, READ, DELIVER), [1]
    yield (
        "too wide an answer",
        Shim().read(2, 1, 0).store(1).write_a(1, 1, 4).deliver().encode(),
        [ANY],
    )
    yield (
        "words that were not stored",
        Shim().read(4, 1, 0).load(2).store(0).deliver().encode(),
        [5],
    )


def _by_chance() -> Shims:
    """Mostly good ones, and good ones with one byte that is another."""
    dice = random.Random(1)  # noqa: S311
    for number in range(40):
        steps = [READ, *(_any_step(dice) for _ in range(dice.randrange(1, 12))), DELIVER]
        program = bytearray(_program(*steps))
        if number % 2:
            program[dice.randrange(len(program))] = dice.randrange(256)
        yield (
            f"by chance, {number}",
            bytes(program),
            [dice.choice([0, 0, 1, 6, ANY]) for _ in range(12)],
        )


def _any_step(dice: random.Random) -> tuple[int, ...]:
    op = dice.choice(list(Op)[:8])
    place = (dice.choice([1, 2, 4]), dice.choice([1, 2]), 0, 4 * dice.randrange(6))
    if op is Op.READ or op is Op.WRITEA:
        return (op, *place, 0)
    if op is Op.WRITEK:
        return (op, *place, dice.randrange(256))
    if op is Op.AND:
        return (op, 0, 0, 0, 0, dice.choice([1, 0xFF, ANY]))
    return (op, 0, 0, 0 if op is Op.NOTZ else dice.randrange(1, 4), 0, 0)
