"""The client of pci(4) and servers that die, are silent, or send what is no answer."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rumpci.errors import (
    BadShim,
    MachineDied,
    NoVectors,
    RumpciError,
)
from rumpci.host import IntrType
from rumpci.host_dma import MemorySpec
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client import Pci4Host
from tests.descriptors import descriptors
from tests.waiting import LIMIT_S, until

from .pci4_fake import PLACE, Fake, Raw, opened
from .pci4everything import everything
from .pci4fuzz import Chance

# ---- errors, and servers that are none --------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [
    ("NoVectors", NoVectors), ("BadShim", None), ("Unheard", RumpciError), ("annotations", None),
    ("RumpciError", RumpciError), ("", RumpciError), ("_errno", RumpciError),
])  # fmt: skip
def test_errors_are_what_they_were(
    host: Pci4Host, fake: Fake, name: str, kind: type[RumpciError] | None
) -> None:
    fake.answers[Op.CLAIM] = lambda m: abi.Error(name=name, tried="a", why="b", remedy="c")
    with pytest.raises(RumpciError) as told:
        host.claim(PLACE, "one")
    assert kind is None or type(told.value) is kind
    assert (told.value.tried, told.value.why, told.value.remedy) == ("a", "b", "c")
    assert told.value.errno == 22


def test_a_refused_shim_names_its_step(host: Pci4Host, fake: Fake) -> None:
    (intr,) = host.claim(PLACE, "one").intr_alloc(IntrType.INTX, [0])
    fake.answers[Op.INTR_ESTABLISH] = lambda m: abi.Error(name="BadShim", tried="shim step 3")
    with pytest.raises(BadShim) as told:
        intr.establish(b"shim")
    assert told.value.step == 3
    with pytest.raises(BadShim):
        intr.establish(bytes(2000))


def test_a_claim_that_is_not_listed_is_given_back(host: Pci4Host, fake: Fake) -> None:
    with pytest.raises(MachineDied, match="it is gone"):
        host.claim(PLACE._replace(device=9), "one")
    assert fake.seen[-1] is Op.RELEASE


def test_every_operation(host: Pci4Host, fake: Fake) -> None:
    everything(host, PLACE, fake.fire)
    assert set(fake.seen) == set(Op) - {Op.WINDOW_BATCH}


def test_a_server_that_dies_in_every_operation(fake: Fake) -> None:
    with opened(fake) as host:
        everything(host, PLACE, fake.fire)
    total, before = len(fake.seen), descriptors()
    assert total > 30
    for number in range(total):
        fake.seen.clear()
        fake.die_at = number
        with contextlib.suppress(MachineDied), opened(fake) as host:
            everything(host, PLACE, fake.fire)
            assert fake.seen[-1] in (Op.INTR_RELEASE, Op.RELEASE)  # those do not mind
        assert len(fake.seen) == number
    for event in fake.events:
        event.close()
    until(lambda: descriptors() <= before)


def test_after_the_connection_is_lost_everything_says_so(host: Pci4Host, fake: Fake) -> None:
    claim = host.claim(PLACE, "one")
    window = claim.window(0, 0, 0x100)
    fake.die_at = 0
    with pytest.raises(MachineDied, match="the connection ended"):
        window.read(0, 4)
    uses: list[Callable[[], object]] = [
        lambda: window.read(0, 4), lambda: window.write(0, 4, 0), host.functions,
        window.barrier, lambda: claim.conf_read(0), lambda: claim.dma_alloc(MemorySpec(1)),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(MachineDied, match=r"the connection ended.*open the host anew"):
            use()
    claim.release()
    host.close()
    host.close()


HEAD = struct.Struct("<IIIi")


def hostile(op: Op) -> list[Callable[[Any], Any]]:
    """Answers that are none."""
    size = abi.STRUCTURES[op].LAYOUT.size
    return [
        lambda m: Raw(b""), lambda m: Raw(b"x"), lambda m: Raw(bytes(16)),
        lambda m: Raw(bytes(8000)),
        lambda m: m.pack()[:-1], lambda m: m.pack() + b"x", lambda m: b"",
        lambda m: b"\xff" * size, lambda m: [m, m],
        lambda m: Raw(HEAD.pack(abi.MAGIC, op, 0xFFFF, 0) + m.pack()),
        lambda m: Raw(HEAD.pack(abi.MAGIC, 99, 1, 0) + m.pack()),
        lambda m: Raw(HEAD.pack(abi.MAGIC, op, 1, -1) + b"\xff" * abi.Error.LAYOUT.size),
    ]  # fmt: skip


def use_all(fake: Fake, answers: dict[Op, Callable[[Any], Any]]) -> None:
    """Do everything with a host that answers so; whatever it raises is one of our errors."""
    fake.answers = answers
    with contextlib.suppress(RumpciError), opened(fake, limit=0.3) as host:
        everything(host, PLACE, fake.fire)
    for event in fake.events:
        event.close()
    fake.events.clear()


@pytest.mark.parametrize("op", sorted(set(Op) - {Op.WINDOW_BATCH}))
def test_a_hostile_server(fake: Fake, op: Op) -> None:
    """Whatever it answers: an error, or numbers; no crash, no hang, no descriptor more."""
    before = descriptors()
    for answer in hostile(op):
        use_all(fake, {op: answer})
    until(lambda: descriptors() <= before)


def by_chance(chance: Chance, op: Op, fake: Fake) -> Callable[[Any], Any]:
    """Answers of the right shape, of any contents, with any number of descriptors."""

    kind = abi.STRUCTURES[op]

    def answer(m: Any) -> bytes:
        natural = getattr(fake, op.name.lower(), lambda m: m)(m).pack()
        fake._fds = [fake.ram] * chance.random.choice([0, 1, 1, 2, 5])
        body = bytearray(chance.body(kind))
        for field in kind.FIELDS:  # some of it is what it has to be: so more of it is looked at
            if chance.random.random() < 0.5:
                at = slice(kind.OFFSETS[field.name], kind.OFFSETS[field.name] + field.size)
                body[at] = natural[at]
        return bytes(body)

    return answer


@pytest.mark.soak
@pytest.mark.parametrize("op", sorted(set(Op) - {Op.WINDOW_BATCH}))
def test_answers_by_chance(fake: Fake, op: Op, soak: bool) -> None:
    before, chance = descriptors(), Chance(op)
    for _ in range(500 if soak else 15):
        use_all(fake, {op: by_chance(chance, op, fake)})
    until(lambda: descriptors() <= before)


def test_a_server_that_is_silent(fake: Fake) -> None:
    silence = threading.Event()
    fake.answers[Op.CONF_READ] = lambda m: silence.wait(LIMIT_S) and m
    with opened(fake, limit=3) as host:  # it is opened within that, too
        with pytest.raises(MachineDied, match="no answer within 3 s"):
            host.conf_read(PLACE, 0)
        asked = list(fake.seen)
        with pytest.raises(MachineDied):
            host.functions()
        silence.set()
    with opened(fake):  # who is served after all that the one before has sent
        assert fake.seen[: len(asked) + 1] == [*asked, Op.VERSION], "nobody waits for it again"


def test_descriptors_that_nobody_asked_for(host: Pci4Host, fake: Fake) -> None:
    def shower(m: Any) -> Any:
        fake._fds = [fake.ram] * 250
        return m

    before = descriptors()
    fake.answers = dict.fromkeys((Op.CONF_READ, Op.WINDOW_ACCESS, Op.WINDOW_UNMAP), shower)
    window = host.claim(PLACE, "one").window(0, 0, 0x100)
    for _ in range(10):
        host.conf_read(PLACE, 0)
        window.write(0, 4, 0)
        window.read(0, 4)
    window.unmap()
    fake.answers = {}
    host.conf_read(PLACE, 0)
    assert descriptors() == before


@pytest.mark.parametrize("change", [
    {"range_len": (100,)}, {"range_offset": (1,)}, {"range_offset": (1 << 40,)}, {"nranges": 0},
    {"nranges": 1 << 31}, {"range_len": (1 << 63,)}, {"seg_len": (1,)}, {"fds": 0},
    {"range_offset": ((1 << 64) - 4096,)},
])  # fmt: skip
def test_memory_that_is_none(host: Pci4Host, fake: Fake, change: dict[str, Any]) -> None:
    def answer(m: Any) -> Any:
        fake.dma_alloc(m)
        for name, value in change.items():
            setattr(m, name, value)
        if "fds" in change:
            fake._fds = []
        return m

    before = descriptors()
    fake.answers[Op.DMA_ALLOC] = answer
    with pytest.raises(MachineDied):
        host.claim(PLACE, "one").dma_alloc(MemorySpec(4096))
    assert descriptors() <= before


def test_a_signal_ends_a_wait_and_the_answer_is_dropped(host: Pci4Host, fake: Fake) -> None:
    import signal

    class Alarm(Exception):
        pass

    asked, given_up = threading.Event(), threading.Event()

    def ring(*_: object) -> None:
        if asked.is_set():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Alarm

    def late(m: Any) -> Any:
        asked.set()
        given_up.wait(LIMIT_S)
        m.value = 1
        return m

    fake.answers[Op.CONF_READ] = late
    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(Alarm):
            host.conf_read(PLACE, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        given_up.set()
    fake.answers.clear()
    assert [f.address for f in host.functions()] == [PLACE]
