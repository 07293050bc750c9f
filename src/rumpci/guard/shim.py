"""The shim's verifier and interpreter (rule 6); docs/shim.md is the specification.

`verify` runs once, when an interrupt is established; `Verified.run` runs while
the line is masked.  What was verified cannot reach outside the ranges it was
verified against and takes at most 32 steps, whatever the device answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from rumpci.errors import BadShim
from rumpci.guard.admit import Range
from rumpci.host import Bar, Space
from rumpci.shim import MAX_STEPS, STATUS_WORDS, Op, Shim, Step

Read = Callable[[int, int, int], int]
"""`read(bar, offset, width)`: one access; offset from the BAR's start, width in bytes."""
Write = Callable[[int, int, int, int], None]
"""`write(bar, offset, width, value)`: one access."""


@dataclass(frozen=True)
class BarLimits:
    """What a shim may touch of one BAR: its space, and ranges [low, high) in bytes.

    An access must lie in one of the ranges.
    """

    space: Space
    ranges: tuple[Range, ...]

    @classmethod
    def of(cls, bar: Bar, closed: Iterable[Range] = ()) -> Self:
        """All of `bar` but the closed ranges (the MSI-X table's pages)."""
        low, ranges = 0, []
        for start, end in sorted(closed):
            ranges.append((low, min(start, bar.size)))
            low = max(low, end)
        ranges.append((low, bar.size))
        return cls(bar.space, tuple(r for r in ranges if r[0] < r[1]))


class Outcome(NamedTuple):
    """What a run found: whether the interrupt is this device's, and four status words.

    The words are of 64 bits, and zero unless stored; if it is not ours, all are zero.
    """

    ours: bool
    status: tuple[int, ...]


NOT_OURS = Outcome(False, (0,) * STATUS_WORDS)


@dataclass(frozen=True)
class Verified:
    """A program that passed `verify`, which alone makes one; ready to run."""

    program: bytes
    steps: tuple[Step, ...]
    _code: tuple[tuple[_Act, Step], ...] = field(repr=False)

    @property
    def bars(self) -> set[int]:
        """The indices of the BARs that it accesses."""
        return {step.bar for step in self.steps if step.op in _ACCESSES}

    def run(self, read: Read, write: Write) -> Outcome:
        """Run it once: at most one access per step, in order.

        Raises nothing but what `read` and `write` raise.
        """
        state = _State(read, write)
        code, at = self._code, 0
        while at < len(code):  # every act goes on by one step at least
            act, step = code[at]
            at += act(state, step)
        return Outcome(True, tuple(state.status)) if state.ours else NOT_OURS


def verify(program: bytes, windows: Mapping[int, BarLimits]) -> Verified:
    """Check `program` against the rules of docs/shim.md.  Raises BadShim (EINVAL).

    `windows` has, by BAR index, what the program may touch.
    """
    steps = tuple(Shim.decode(program).steps)
    has_read = False
    for number, step in enumerate(steps):
        has_read = has_read or step.op is Op.READ
        if step.op in _NEEDS_A and not has_read:
            raise BadShim.at(number, f"{step.op.name} uses A, and nothing was read", "read first")
        if step.op is Op.SKIPZ and number + 1 + step.arg >= len(steps):
            raise BadShim.at(
                number, f"it skips {step.arg} steps of {len(steps) - number - 1}",
                "skip to a step of the program",
            )  # fmt: skip
        if step.op in _ACCESSES:
            _check_access(number, step, windows)
    if steps[-1].op not in (Op.DELIVER, Op.NOTOURS):
        raise BadShim.at(
            len(steps) - 1, f"the last step is {steps[-1].op.name}", "end in DELIVER or NOTOURS"
        )
    return Verified(bytes(program), steps, tuple((_ACTS[step.op], step) for step in steps))


# Up to the first step that skips, a program is a straight line, and that step
# uses A itself: so if a READ stands above a step, every path to it has read.
_NEEDS_A = {Op.AND, Op.SKIPZ, Op.NOTZ, Op.WRITEA, Op.STORE, Op.LOAD}
_ACCESSES = {Op.READ, Op.WRITEK, Op.WRITEA}


def _check_access(number: int, step: Step, windows: Mapping[int, BarLimits]) -> None:
    limits, offset, width = windows.get(step.bar), step.offset, step.width
    if limits is None:
        have = ", ".join(f"BAR{bar}" for bar in sorted(windows)) or "none"
        raise BadShim.at(number, f"BAR{step.bar} is not mapped", f"the windows are in: {have}")
    if width == 8 and limits.space is Space.IO:
        raise BadShim.at(number, "8 bytes in i/o space", "use 1, 2 or 4 bytes")
    if offset % width:
        raise BadShim.at(
            number, f"offset {offset:#x} is misaligned for {width} bytes", "align the access"
        )
    if not any(low <= offset and offset + width <= high for low, high in limits.ranges):
        have = ", ".join(f"[{low:#x}, {high:#x})" for low, high in limits.ranges) or "none"
        raise BadShim.at(
            number, f"{width} bytes at {offset:#x} of BAR{step.bar} are outside every window",
            f"the windows are: {have}",
        )  # fmt: skip


# ---- the acts: each does its step and returns how many steps to go on by -----


class _State:
    """A run's accumulator, status words, verdict, and way to the device."""

    __slots__ = ("a", "ours", "read", "status", "write")

    def __init__(self, read: Read, write: Write) -> None:
        self.read, self.write = read, write
        self.a, self.ours, self.status = 0, False, [0] * STATUS_WORDS


_Act = Callable[[_State, Step], int]
_END = MAX_STEPS
_MASK = {width: (1 << 8 * width) - 1 for width in (1, 2, 4, 8)}


def _read(state: _State, step: Step) -> int:
    state.a = state.read(step.bar, step.offset, step.width) & _MASK[step.width]
    return 1


def _and(state: _State, step: Step) -> int:
    state.a &= step.k
    return 1


def _skipz(state: _State, step: Step) -> int:
    return 1 if state.a else 1 + step.arg


def _notz(state: _State, step: Step) -> int:
    del step
    return 1 if state.a else _END


def _write_k(state: _State, step: Step) -> int:
    state.write(step.bar, step.offset, step.width, step.k)
    return 1


def _write_a(state: _State, step: Step) -> int:
    state.write(step.bar, step.offset, step.width, state.a & _MASK[step.width])
    return 1


def _store(state: _State, step: Step) -> int:
    state.status[step.arg] = state.a
    return 1


def _load(state: _State, step: Step) -> int:
    state.a = state.status[step.arg]
    return 1


def _deliver(state: _State, step: Step) -> int:
    del step
    state.ours = True
    return _END


def _notours(state: _State, step: Step) -> int:
    del state, step
    return _END


_ACTS: dict[Op, _Act] = {
    Op.READ: _read,
    Op.AND: _and,
    Op.SKIPZ: _skipz,
    Op.NOTZ: _notz,
    Op.WRITEK: _write_k,
    Op.WRITEA: _write_a,
    Op.STORE: _store,
    Op.LOAD: _load,
    Op.DELIVER: _deliver,
    Op.NOTOURS: _notours,
}
