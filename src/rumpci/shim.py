"""The interrupt-acknowledge shim: a small program, data and not code (docs/shim.md).

    shim = (
        Shim()
        .read(EDU_INTR_STATUS)      # A <- the register
        .notz()                     # zero: some other device's interrupt
        .store(0)                   # event.status[0] <- A
        .write_a(EDU_INTR_ACK)      # the device lowers its line
        .deliver()
    )
    shim.encode()                   # the bytes that a guard, or a kernel, verifies and runs

This file has the encoding and the assembler, and checks what one step shows by
itself.  `guard/shim.py` checks the rest, and runs it.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol, Self

from rumpci.errors import BadShim

MAGIC, VERSION = b"SHIM", 1
MAX_STEPS = 32
STATUS_WORDS = 4
BAR0, BAR1, BAR2, BAR3, BAR4, BAR5 = range(6)
HEADER = struct.Struct("<4sBBH")
"""Magic, version, number of steps, zero."""
STEP = struct.Struct("<BBBBIQ")
"""Op, width, bar, arg, offset, k."""
MAX_SIZE = HEADER.size + MAX_STEPS * STEP.size
"""Bytes of the longest program."""


class Op(enum.IntEnum):
    """What a step does.  A is the accumulator, 64 bits."""

    READ = 1  # A <- BAR[offset]
    AND = 2  # A <- A & k
    SKIPZ = 3  # A == 0: leave out the next `arg` steps
    NOTZ = 4  # A == 0: end, not ours
    WRITEK = 5  # BAR[offset] <- k
    WRITEA = 6  # BAR[offset] <- A, its low bytes
    STORE = 7  # event.status[arg] <- A
    LOAD = 8  # A <- event.status[arg], zero if nothing was stored
    DELIVER = 9  # end, ours
    NOTOURS = 10  # end, not ours


class Step(NamedTuple):
    """One step, in the order of its bytes; what an op does not use is zero.

    `width` is in bytes, `bar` an index (0-5), `offset` in bytes from the BAR's
    start; `arg` is a status word (0-3) or the number of steps to skip.
    """

    op: Op
    width: int = 0
    bar: int = 0
    arg: int = 0
    offset: int = 0
    k: int = 0


_ACCESS = ("width", "bar", "offset")
_USES: dict[Op, tuple[str, ...]] = {
    Op.READ: _ACCESS,
    Op.AND: ("k",),
    Op.SKIPZ: ("arg",),
    Op.NOTZ: (),
    Op.WRITEK: (*_ACCESS, "k"),
    Op.WRITEA: _ACCESS,
    Op.STORE: ("arg",),
    Op.LOAD: ("arg",),
    Op.DELIVER: (),
    Op.NOTOURS: (),
}
_TEXT = {
    Op.READ: "read.{width} bar{bar}[{offset:#x}]",
    Op.AND: "and {k:#x}",
    Op.SKIPZ: "skipz {arg} -> {target}",
    Op.NOTZ: "notz",
    Op.WRITEK: "write.{width} bar{bar}[{offset:#x}] = {k:#x}",
    Op.WRITEA: "write.{width} bar{bar}[{offset:#x}] = A",
    Op.STORE: "store {arg}",
    Op.LOAD: "load {arg}",
    Op.DELIVER: "deliver",
    Op.NOTOURS: "notours",
}


class RegisterClass(Protocol):
    """What the assembler needs of a class made with `regs.Register`."""

    @property
    def width(self) -> int:
        """Bytes of one access."""

    @property
    def access(self) -> enum.Enum:
        """A `regs.Access`: RO, WO, RW or W1C."""

    def at(self, index: int = 0) -> int:
        """The offset of element `index`, in bytes."""


Place = int | RegisterClass
"""Where an access goes: a width in bytes (1, 2, 4, 8), or a register class."""


class Shim:
    """A program under assembly; every method adds one step and returns the shim.

    An access is `(width, bar, offset)`, or `(register class, bar, offset)`: then
    `offset` is where the register's block begins, `index` picks an element of an
    array, and a write to what is read only, or the reverse, is refused.  Every
    method raises BadShim (EINVAL).
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.steps: list[Step] = []
        self._skips: dict[str, list[int]] = {}
        self._placed: set[str] = set()
        for step in steps:
            self._add(step)

    def read(self, what: Place, bar: int = BAR0, offset: int = 0, *, index: int = 0) -> Self:
        """A <- the register: one access; the bytes above its width are zero."""
        return self._access(Op.READ, what, bar, offset, index)

    def and_(self, k: int) -> Self:
        """A <- A & k (64 bits)."""
        return self._add(Step(Op.AND, k=int(k)))

    def skipz(self, to: str | int) -> Self:
        """If A is zero, go on at the label `to`, or leave out the next `to` steps."""
        if isinstance(to, int):
            return self._add(Step(Op.SKIPZ, arg=to))
        if to in self._placed:
            raise self._refuse(f"label {to!r} is behind", "skip forward only")
        self._skips.setdefault(to, []).append(len(self.steps))
        return self._add(Step(Op.SKIPZ, arg=1))  # `label` puts the number in

    def label(self, name: str) -> Self:
        """Name the place of the next step, for the skips above; adds no step."""
        here = len(self.steps)
        if name in self._placed or name not in self._skips:
            why = "placed twice" if name in self._placed else "not what a skip above names"
            raise self._refuse(f"label {name!r} is {why}", "skip forward, to one place")
        self._placed.add(name)
        for at in self._skips.pop(name):
            step = self.steps[at]._replace(arg=here - at - 1)
            check_form(at, step)
            self.steps[at] = step
        return self

    def notz(self) -> Self:
        """If A is zero, end: not this device's interrupt."""
        return self._add(Step(Op.NOTZ))

    def write_k(
        self, what: Place, bar: int = BAR0, offset: int = 0, *, k: int, index: int = 0
    ) -> Self:
        """Write the constant `k`: one access."""
        return self._access(Op.WRITEK, what, bar, offset, index, int(k))

    def write_a(self, what: Place, bar: int = BAR0, offset: int = 0, *, index: int = 0) -> Self:
        """Write the low bytes of A: one access."""
        return self._access(Op.WRITEA, what, bar, offset, index)

    def store(self, word: int) -> Self:
        """Status word `word` (0-3) of the event <- A."""
        return self._add(Step(Op.STORE, arg=word))

    def load(self, word: int) -> Self:
        """A <- status word `word` (0-3): what was stored there, else zero."""
        return self._add(Step(Op.LOAD, arg=word))

    def deliver(self) -> Self:
        """End: this device's interrupt; the event becomes readable."""
        return self._add(Step(Op.DELIVER))

    def notours(self) -> Self:
        """End: not this device's interrupt."""
        return self._add(Step(Op.NOTOURS))

    def encode(self) -> bytes:
        """The program's bytes."""
        for name, skips in self._skips.items():
            raise BadShim.at(skips[0], f"label {name!r} is not placed", f"add .label({name!r})")
        _check_count(len(self.steps))
        header = HEADER.pack(MAGIC, VERSION, len(self.steps), 0)
        return header + b"".join(STEP.pack(*step) for step in self.steps)

    @classmethod
    def decode(cls, program: bytes) -> Self:
        """The steps of `program`, if every byte is as `encode` would write it."""
        _check_header(program)
        return cls(
            _step(number, fields)
            for number, fields in enumerate(STEP.iter_unpack(program[HEADER.size :]))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shim) and self.steps == other.steps

    __hash__ = None  # type: ignore[assignment]  # it changes while it is assembled

    def __repr__(self) -> str:
        return f"<Shim: {'; '.join(map(text, range(len(self.steps)), self.steps))}>"

    def _refuse(self, why: str, remedy: str) -> BadShim:
        return BadShim.at(len(self.steps), why, remedy)

    def _add(self, step: Step) -> Self:
        _check_count(len(self.steps) + 1)
        check_form(len(self.steps), step)
        self.steps.append(step)
        return self

    def _access(self, op: Op, what: Place, bar: int, offset: int, index: int, k: int = 0) -> Self:
        if isinstance(what, int):
            width = what
        else:
            if what.access.name == ("WO" if op is Op.READ else "RO"):
                raise self._refuse(f"the register is {what.access.value}", "see its data sheet")
            width, offset = what.width, offset + what.at(index)
        return self._add(Step(op, width, bar, 0, offset, k))


def text(number: int, step: Step) -> str:
    """Step `number` of a program as text, for example `read.4 bar0[0x24]`."""
    return _TEXT[step.op].format(target=number + 1 + step.arg, **step._asdict())


def disassemble(program: bytes) -> list[str]:
    """One line of text per step, with its number.  Raises BadShim (EINVAL)."""
    return [f"{n:2} {text(n, step)}" for n, step in enumerate(Shim.decode(program).steps)]


# ---- the checks of one step by itself ----------------------------------------


def check_form(number: int, step: Step) -> None:
    """Raise BadShim (EINVAL) unless step `number` can be encoded and is canonical."""
    uses = _USES[step.op]
    for name, value in step._asdict().items():
        if name == "op":
            continue
        if name not in uses and value:
            raise BadShim.at(
                number, f"{step.op.name} has {name} {value:#x}, which it does not use",
                "make what is not used zero",
            )  # fmt: skip
    if "width" in uses:
        _check_access(number, step)
    if "arg" in uses:
        _check_arg(number, step)
    if "k" in uses:
        _check_k(number, step)


def _check_access(number: int, step: Step) -> None:
    if step.width not in (1, 2, 4, 8):
        raise BadShim.at(number, f"{step.width} is no width", "use 1, 2, 4 or 8 bytes")
    if not BAR0 <= step.bar <= BAR5:
        raise BadShim.at(number, f"{step.bar} is no BAR's index", "use BAR0 to BAR5 (0 to 5)")
    if not 0 <= step.offset < 1 << 32:
        raise BadShim.at(number, f"offset {step.offset:#x} is not of 32 bits", "stay inside a BAR")


def _check_arg(number: int, step: Step) -> None:
    low, high = (1, MAX_STEPS) if step.op is Op.SKIPZ else (0, STATUS_WORDS - 1)
    if not low <= step.arg <= high:
        what = "steps to skip" if step.op is Op.SKIPZ else "is no status word"
        raise BadShim.at(number, f"{step.arg} {what}", f"use {low} to {high}")


def _check_k(number: int, step: Step) -> None:
    width = step.width or 8  # AND has no width: A's
    if not 0 <= step.k < 1 << 8 * width:
        raise BadShim.at(number, f"k {step.k:#x} does not fit {width} bytes", "use a smaller k")


def _check_count(steps: int) -> None:
    if not 1 <= steps <= MAX_STEPS:
        raise BadShim.at(None, f"it has {steps} steps", f"use 1 to {MAX_STEPS}")


def _check_header(program: bytes) -> None:
    if len(program) < HEADER.size:
        raise BadShim.at(None, f"{len(program)} bytes are no header", "pass what encode() gives")
    magic, version, steps, reserved = HEADER.unpack_from(program)
    if (magic, version, reserved) != (MAGIC, VERSION, 0):
        raise BadShim.at(
            None, f"its header is {program[: HEADER.size].hex(' ')}",
            f"begin with {MAGIC!r}, version {VERSION}, and zero in the reserved bytes",
        )  # fmt: skip
    _check_count(steps)
    if len(program) != HEADER.size + steps * STEP.size:
        raise BadShim.at(
            None, f"{steps} steps in {len(program)} bytes",
            f"pass {HEADER.size} bytes and {STEP.size} for each step, no more",
        )  # fmt: skip


def _step(number: int, fields: tuple[int, ...]) -> Step:
    try:
        return Step(Op(fields[0]), *fields[1:])
    except ValueError:
        why = f"op {fields[0]} is not known"
        raise BadShim.at(number, why, f"use 1 to {max(Op)}") from None
