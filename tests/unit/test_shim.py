"""The shim: its encoding, what the verifier refuses, and that the accepted stays inside."""

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.errors import BadShim
from rumpci.guard.shim import NOT_OURS, BarLimits, verify
from rumpci.host import Bar, Space
from rumpci.regs import RO, WO, Register
from rumpci.shim import BAR0, HEADER, MAX_STEPS, STEP, Op, Shim, Step, disassemble

from .shim_fakes import EXAMPLES, WINDOWS, Recorder, reference

# ---- programs ----------------------------------------------------------------

words = st.integers(0, 3)
ks = st.one_of(st.just(0), st.integers(0, 0xFF), st.integers(0, 2**64 - 1))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """A canonical step; its access may be anywhere."""
    op, width = draw(st.sampled_from(Op)), draw(st.sampled_from((1, 2, 4, 8)))
    bar, offset = draw(st.integers(0, 5)), draw(st.integers(0, 2**32 - 1))
    access = Step(op, width, bar, 0, offset)
    return {
        Op.READ: access,
        Op.WRITEA: access,
        Op.WRITEK: access._replace(k=draw(ks) & (1 << 8 * width) - 1),
        Op.AND: Step(op, k=draw(ks)),
        Op.SKIPZ: Step(op, arg=draw(st.integers(1, MAX_STEPS))),
        Op.STORE: Step(op, arg=draw(words)),
        Op.LOAD: Step(op, arg=draw(words)),
    }.get(op, Step(op))


def inside(rng: random.Random, op: Op) -> Step:
    """An access inside WINDOWS."""
    bar = rng.choice(tuple(WINDOWS))
    width = rng.choice((1, 2, 4, 8) if WINDOWS[bar].space is Space.MEM else (1, 2, 4))
    low, high = rng.choice(WINDOWS[bar].ranges)
    k = rng.getrandbits(8 * width) if op is Op.WRITEK else 0
    return Step(op, width, bar, 0, rng.randrange(low, high, width), k)


def good_step(rng: random.Random, left: int) -> Step:
    """A step that may stand after a READ, with `left` steps after it."""
    op = rng.choice(tuple(Op) + (Op.READ, Op.AND, Op.SKIPZ, Op.WRITEA, Op.STORE) * 2)
    match op:
        case Op.READ | Op.WRITEK | Op.WRITEA:
            return inside(rng, op)
        case Op.SKIPZ if left >= 2:
            return Step(op, arg=rng.randrange(1, left))
        case Op.AND | Op.SKIPZ:
            return Step(Op.AND, k=rng.choice((0, 1, 0xFF, rng.getrandbits(64))))
        case Op.STORE | Op.LOAD:
            return Step(op, arg=rng.randrange(4))
    return Step(op)


def good_program(rng: random.Random) -> bytes:
    """A program that the verifier must accept."""
    count = rng.randrange(2, MAX_STEPS + 1)
    body = [good_step(rng, count - 1 - at) for at in range(1, count - 1)]
    last = Step(rng.choice((Op.DELIVER, Op.DELIVER, Op.NOTOURS)))
    return Shim([inside(rng, Op.READ), *body, last]).encode()


def mutated(rng: random.Random, program: bytes) -> bytes:
    """`program` with a few bytes, bits or steps changed."""
    data = bytearray(program)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        step = 8 + (at - 8) // 16 * 16 if at >= 8 else 8
        match rng.randrange(6):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:  # a field that matters more often
                data[min(step + rng.randrange(6), len(data) - 1)] = rng.randrange(34)
            case 3 if len(data) > 24:  # a step goes
                del data[step : step + 16]
                data[5] = (data[5] - 1) & 0xFF
            case 4:  # a step comes twice
                data[step:step] = data[step : step + 16]
                data[5] = (data[5] + 1) & 0xFF
            case _:  # an end, anywhere
                data[step : step + 16] = STEP.pack(rng.choice((3, 4, 9, 10)), 0, 0, 0, 0, 0)
    return bytes(data)


def try_out(program: bytes, seed: int) -> bool:
    """Whether it is accepted; if so, run it: only accesses inside WINDOWS, as the reference."""
    try:
        verified = verify(program, WINDOWS)
    except BadShim:
        return False
    ours, expected = Recorder(WINDOWS, seed), Recorder(WINDOWS, seed)
    outcome = verified.run(ours.read, ours.write)
    wanted = reference(program, expected.read, expected.write)
    assert (outcome, ours.log) == ((wanted.ours, wanted.status), expected.log)
    assert len(ours.log) <= wanted.steps <= len(verified.steps) <= MAX_STEPS
    assert len(outcome.status) == 4
    assert all(0 <= word < 1 << 64 for word in outcome.status)
    return True


# ---- the encoding ------------------------------------------------------------


def reassemble(line: str) -> Step:
    """A line of the disassembly, read back."""
    mnemonic, *rest = line.split()[1:]
    name, _, width = mnemonic.partition(".")
    numbers = [int(n, 0) for n in re.findall(r"0x[0-9a-f]+|\d+", " ".join(rest))]
    match name:
        case "read":
            return Step(Op.READ, int(width), numbers[0], 0, numbers[1])
        case "write" if rest[-1] == "A":
            return Step(Op.WRITEA, int(width), numbers[0], 0, numbers[1])
        case "write":
            return Step(Op.WRITEK, int(width), numbers[0], 0, *numbers[1:])
        case "and":
            return Step(Op.AND, k=numbers[0])
    return Step(Op[name.upper()], arg=numbers[0] if numbers else 0)


@given(st.lists(steps(), min_size=1, max_size=MAX_STEPS))
def test_encode_decode_and_disassemble_agree(program: list[Step]) -> None:
    encoded = Shim(program).encode()
    assert len(encoded) == 8 + 16 * len(program)
    assert Shim.decode(encoded) == Shim(program)
    assert Shim.decode(encoded).encode() == encoded
    assert [reassemble(line) for line in disassemble(encoded)] == program


@given(st.binary(max_size=600), st.integers(0, 40))
def test_what_decodes_has_one_encoding(body: bytes, count: int) -> None:
    for program in (body, HEADER.pack(b"SHIM", 1, count, 0) + body[: 16 * count]):
        try:
            shim = Shim.decode(program)
        except BadShim:
            continue
        assert shim.encode() == program


def test_labels_become_numbers() -> None:
    by_label = Shim().read(4, BAR0, 0).skipz("a").and_(1).skipz("a").store(0).label("a").deliver()
    by_number = Shim().read(4, BAR0, 0).skipz(3).and_(1).skipz(1).store(0).deliver()
    assert by_label == by_number
    assert disassemble(by_label.encode())[1] == " 1 skipz 3 -> 5"


class STATUS(Register, offset=0x10, width=2, access=RO, count=4, stride=0x20):
    """An array."""


class COMMAND(Register, offset=0x02, width=2, access=WO):
    """Written."""


def test_a_register_class_is_a_place() -> None:
    shim = Shim().read(STATUS, 2, 0x100, index=3).write_k(COMMAND, k=COMMAND(7)).write_a(COMMAND)
    assert shim.steps == [
        Step(Op.READ, 2, 2, 0, 0x170),
        Step(Op.WRITEK, 2, 0, 0, 2, 7),
        Step(Op.WRITEA, 2, 0, 0, 2),
    ]


ASSEMBLED: list[tuple[Callable[[Shim], object], int | None, str]] = [
    (lambda s: s.read(3, BAR0, 0), 1, "3 is no width"),
    (lambda s: s.read(4, 0x10, 0), 1, "16 is no BAR's index"),
    (lambda s: s.read(4, BAR0, 1 << 32), 1, "not of 32 bits"),
    (lambda s: s.read(4, BAR0, -4), 1, "not of 32 bits"),
    (lambda s: s.read(COMMAND), 1, "the register is write only"),
    (lambda s: s.write_a(STATUS), 1, "the register is read only"),
    (lambda s: s.and_(-1), 1, "does not fit 8 bytes"),
    (lambda s: s.store(4), 1, "4 is no status word"),
    (lambda s: s.skipz(0), 1, "0 steps to skip"),
    (lambda s: s.skipz("x").label("x"), 1, "0 steps to skip"),
    (lambda s: s.label("x"), 1, "not what a skip above names"),
    (lambda s: s.skipz("x").notz().label("x").skipz("x"), 3, "'x' is behind"),
    (lambda s: s.skipz("x").notz().label("x").label("x"), 3, "placed twice"),
    (lambda s: s.skipz("x").notz().encode(), 1, "label 'x' is not placed"),
    (lambda _: Shim().encode(), None, "it has 0 steps"),
    (lambda s: [s.notz() for _ in range(MAX_STEPS)], None, "it has 33 steps"),
]


@pytest.mark.parametrize(("assemble", "step", "why"), ASSEMBLED)
def test_the_assembler_refuses(
    assemble: Callable[[Shim], object], step: int | None, why: str
) -> None:
    with pytest.raises(BadShim, match=re.escape(why)) as refused:
        assemble(Shim().read(4, BAR0, 0))
    assert refused.value.step == step


# ---- the verifier ------------------------------------------------------------

READ = STEP.pack(1, 4, 0, 0, 0, 0)
END = STEP.pack(9, 0, 0, 0, 0, 0)


def raw(*encoded: bytes, **header: int) -> bytes:
    count, version = header.get("count", len(encoded)), header.get("version", 1)
    return HEADER.pack(b"SHIM", version, count, header.get("reserved", 0)) + b"".join(encoded)


def one(*step: int) -> bytes:
    """A program whose step 1 is this."""
    return raw(READ, STEP.pack(*step), END)


REFUSED = {
    "nothing": (b"", None, "0 bytes are no header"),
    "short header": (b"SHIM\1\1\0", None, "7 bytes are no header"),
    "magic": (b"shim" + raw(READ, END)[4:], None, "its header is 73 68 69 6d"),
    "version": (raw(READ, END, version=2), None, "its header is"),
    "reserved": (raw(READ, END, reserved=1), None, "its header is"),
    "no steps": (raw(), None, "it has 0 steps"),
    "too many": (raw(*[READ] * 32, END), None, "it has 33 steps"),
    "too short": (raw(READ, END)[:-1], None, "2 steps in 39 bytes"),
    "too long": (raw(READ, END) + b"\0", None, "2 steps in 41 bytes"),
    "count": (raw(READ, END, count=1), None, "1 steps in 40 bytes"),
    "op 0": (one(0, 0, 0, 0, 0, 0), 1, "op 0 is not known"),
    "op": (one(11, 0, 0, 0, 0, 0), 1, "op 11 is not known"),
    "unused width": (one(2, 4, 0, 0, 0, 1), 1, "AND has width 0x4"),
    "unused bar": (one(4, 0, 1, 0, 0, 0), 1, "NOTZ has bar 0x1"),
    "unused arg": (one(1, 4, 0, 1, 0, 0), 1, "READ has arg 0x1"),
    "unused offset": (one(9, 0, 0, 0, 8, 0), 1, "DELIVER has offset 0x8"),
    "unused k": (one(6, 4, 0, 0, 0, 3), 1, "WRITEA has k 0x3"),
    "no width": (one(1, 0, 0, 0, 0, 0), 1, "0 is no width"),
    "width": (one(5, 3, 0, 0, 0, 0), 1, "3 is no width"),
    "BAR index": (one(1, 4, 6, 0, 0, 0), 1, "6 is no BAR's index"),
    "status word": (one(7, 0, 0, 4, 0, 0), 1, "4 is no status word"),
    "loaded word": (one(8, 0, 0, 4, 0, 0), 1, "4 is no status word"),
    "skips nothing": (one(3, 0, 0, 0, 0, 0), 1, "0 steps to skip"),
    "skip": (one(3, 0, 0, 1, 0, 0), 1, "it skips 1 steps of 1"),
    "wide skip": (one(3, 0, 0, 33, 0, 0), 1, "33 steps to skip"),
    "k": (one(5, 1, 0, 0, 0, 0x100), 1, "k 0x100 does not fit 1 bytes"),
    "BAR": (one(1, 4, 1, 0, 0, 0), 1, "BAR1 is not mapped"),
    "i/o width": (one(1, 8, 2, 0, 0, 0), 1, "8 bytes in i/o space"),
    "alignment": (one(1, 4, 0, 0, 2, 0), 1, "offset 0x2 is misaligned for 4 bytes"),
    "a hole": (one(6, 4, 0, 0, 0x80, 0), 1, "4 bytes at 0x80 of BAR0 are outside"),
    "the end": (one(5, 8, 0, 0, 0x180, 0), 1, "8 bytes at 0x180 of BAR0 are outside"),
    "far": (one(1, 4, 2, 0, 0xFFFF_FFFC, 0), 1, "at 0xfffffffc of BAR2 are outside"),
    "last step": (raw(READ), 0, "the last step is READ"),
    "last notz": (raw(READ, STEP.pack(4, 0, 0, 0, 0, 0)), 1, "the last step is NOTZ"),
} | {
    f"{op.name} before READ": (
        raw(STEP.pack(*step), READ, END), 0, f"{op.name} uses A, and nothing was read",
    )
    for op, step in {
        Op.AND: (2, 0, 0, 0, 0, 1), Op.SKIPZ: (3, 0, 0, 1, 0, 0), Op.NOTZ: (4, 0, 0, 0, 0, 0),
        Op.WRITEA: (6, 4, 0, 0, 0, 0), Op.STORE: (7, 0, 0, 0, 0, 0), Op.LOAD: (8, 0, 0, 0, 0, 0),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("rule", REFUSED)
def test_the_verifier_refuses_with_step_and_reason(rule: str) -> None:
    program, step, why = REFUSED[rule]
    with pytest.raises(BadShim, match=re.escape(why)) as refused:
        verify(program, WINDOWS)
    assert refused.value.step == step
    assert str(refused.value).startswith("shim:" if step is None else f"shim step {step}:")
    assert "\n" not in str(refused.value)


def test_a_straddling_access_is_refused() -> None:
    windows = {0: BarLimits(Space.MEM, ((0, 4), (4, 8)))}
    with pytest.raises(BadShim, match=re.escape("[0x0, 0x4), [0x4, 0x8)")):
        verify(Shim().read(8, BAR0, 0).deliver().encode(), windows)


def test_the_limits_of_a_bar_leave_out_what_is_closed() -> None:
    bar = Bar(0, Space.MEM, 0xFE00_0000, 0x4000)
    assert BarLimits.of(bar) == BarLimits(Space.MEM, ((0, 0x4000),))
    closed = [(0x2000, 0x3000), (0, 0x1000)]
    assert BarLimits.of(bar, closed).ranges == ((0x1000, 0x2000), (0x3000, 0x4000))
    assert BarLimits.of(bar, [(0, 0x4000)]).ranges == ()


def test_status_of_what_is_not_ours_is_dropped() -> None:
    program = Shim().read(4, BAR0, 0).store(0).notours().encode()
    assert verify(program, WINDOWS).run(lambda *_: 5, lambda *_: None) == NOT_OURS


def test_an_access_that_fails_ends_the_run() -> None:
    def gone(bar: int, offset: int, width: int) -> int:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        verify(EXAMPLES["edu"].program, {0: BarLimits(Space.MEM, ((0, 256),))}).run(
            gone, lambda *_: None
        )


# ---- whatever the bytes, whatever the device answers -------------------------


@given(st.binary(max_size=600), st.integers(0, 40))
def test_random_bytes_are_refused_or_harmless(body: bytes, count: int) -> None:
    try_out(body, count)
    try_out(HEADER.pack(b"SHIM", 1, count, 0) + body[: 16 * count], count)


@given(st.lists(steps(), min_size=1, max_size=8))
def test_random_steps_are_refused_or_harmless(program: list[Step]) -> None:
    try_out(Shim(program).encode(), len(program))


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_mutants_are_refused_or_harmless(rng: random.Random) -> None:
    program = good_program(rng)
    assert try_out(program, 1)
    try_out(mutated(rng, program), 2)


@pytest.mark.parametrize("seed", range(4))
def test_fuzz(seed: int) -> None:
    rng, accepted = random.Random(seed), 0  # noqa: S311
    for number in range(5000):
        program = good_program(rng)
        accepted += try_out(mutated(rng, program) if number % 4 else program, number)
    assert 1250 < accepted < 4500, "neither all nor only what is meant to be good"
