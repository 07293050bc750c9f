"""The life of an interrupt: allocated, established, disestablished, released; and out of turn."""

import errno
from collections.abc import Callable

import pytest

from rumpci import pcireg as pr
from rumpci.errors import (
    InterruptBusy,
    NotAllocated,
    NotEnabled,
    NotSupported,
    NoVectors,
    RumpciError,
)
from rumpci.guard.intr import GuardInterrupt
from rumpci.host import IntrType
from rumpci.shim import Shim

from .cards import has_three_parts
from .signallers import (
    ACK,
    CAUSES,
    VECTORS,
    Bench,
    Signaller,
    bench,
    count,
    events,
    ready,
)

ACKNOWLEDGE = Shim().read(4, 0, CAUSES).notz().store(0).write_a(4, 0, ACK).deliver().encode()
MESSAGES = [IntrType.MSI, IntrType.MSIX]


MAKERS: dict[str, Callable[[Bench], GuardInterrupt]] = {
    "intx": lambda b: b.claim().intr_alloc(IntrType.INTX, [0])[0],
    "msi": lambda b: b.messages(IntrType.MSI, 1)[0],
    "msix": lambda b: b.messages(IntrType.MSIX, 1)[0],
}
every_type = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every_type
def test_establishing_twice(make: Callable[[Bench], GuardInterrupt]) -> None:
    with bench() as b:
        interrupt = make(b)
        interrupt.establish()
        with pytest.raises(InterruptBusy) as caught:
            interrupt.establish()
        assert has_three_parts(caught.value)
        b.card().fire()
        assert count(interrupt) == 1


@every_type
def test_what_was_released_is_of_no_use(make: Callable[[Bench], GuardInterrupt]) -> None:
    with bench() as b:
        interrupt = make(b)
        interrupt.establish()
        b.card().fire()
        interrupt.release()
        interrupt.release()
        interrupt.disestablish()
        for use in ("establish", "read", "unmask", "mask", "pending", "fileno"):
            with pytest.raises(NotAllocated) as caught:
                getattr(interrupt, use)()
            assert has_three_parts(caught.value)


@every_type
def test_what_is_not_established(make: Callable[[Bench], GuardInterrupt]) -> None:
    with bench() as b:
        interrupt = make(b)
        for use in (interrupt.mask, interrupt.unmask):
            with pytest.raises(NotAllocated):
                use()
        b.card().fire()
        assert not events(interrupt)
        interrupt.disestablish()


@every_type
def test_events_of_a_disestablished_interrupt_are_gone(
    make: Callable[[Bench], GuardInterrupt],
) -> None:
    with bench() as b:
        interrupt = make(b)
        for collected in (False, True):
            interrupt.establish()
            b.card().fire()
            if collected:
                b.host.router.service()
            interrupt.disestablish()
            b.card().quiet()
            assert not interrupt.read()
            assert not ready(interrupt)
            interrupt.establish()
            assert not events(interrupt)
            b.card().fire()
            assert count(interrupt) == 1
            b.card().quiet()
            interrupt.disestablish()


@pytest.mark.parametrize("type_", list(IntrType))
def test_allocating_twice(type_: IntrType) -> None:
    with bench() as b:
        claim = b.claim()
        claim.intr_alloc(type_, [0])
        for again in IntrType:
            with pytest.raises(InterruptBusy):
                claim.intr_alloc(again, [0])
        claim.intr_release()
        claim.intr_alloc(type_, [0])


@pytest.mark.parametrize(
    ("type_", "indices"),
    [
        *((type_, bad) for type_ in IntrType for bad in ([], [-1], [0, 0], [VECTORS])),
        (IntrType.INTX, [1]),
        (IntrType.MSI, [1]),
        (IntrType.MSI, [0, 1, 2]),
        (IntrType.MSI, [1, 0]),
        (IntrType.MSI, list(range(8))),
    ],
)
def test_indices_that_no_function_has(type_: IntrType, indices: list[int]) -> None:
    with bench() as b:
        claim = b.claim()
        with pytest.raises(NoVectors) as caught:
            claim.intr_alloc(type_, indices)
        assert (caught.value.errno, has_three_parts(caught.value)) == (errno.ENOSPC, True)
        claim.intr_alloc(type_, [0])


def test_a_machine_that_runs_out_of_vectors_loses_none() -> None:
    with bench(*(Signaller() for _ in range(6))) as b:
        claims = [b.claim(slot) for slot in range(1, 7)]
        for _ in range(5):
            for claim in claims[:4]:
                claim.intr_alloc(IntrType.MSIX, range(VECTORS - 1))
            for claim in claims[4:]:
                with pytest.raises(NoVectors):
                    claim.intr_alloc(IntrType.MSIX, range(VECTORS))
            claims[4].intr_alloc(IntrType.MSIX, range(4))
            for claim in claims:
                claim.intr_release()


def test_a_shim_is_for_intx() -> None:
    with bench() as b:
        (vector,) = b.messages(IntrType.MSI, 1)
        with pytest.raises(NotSupported):
            vector.establish(ACKNOWLEDGE)
        vector.establish()


@pytest.mark.parametrize("shim", [b"", b"SHIM", Shim().read(4, 1, 0).deliver().encode()])
def test_a_shim_that_is_refused_leaves_the_interrupt_as_it_was(shim: bytes) -> None:
    with bench() as b:
        (interrupt,) = b.claim().intr_alloc(IntrType.INTX, [0])
        with pytest.raises(RumpciError):
            interrupt.establish(shim)
        interrupt.establish()
        b.card().fire()
        assert count(interrupt) == 1


def test_a_shim_needs_decoding() -> None:
    with bench() as b:
        claim = b.claim()
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0)
        (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
        with pytest.raises(NotEnabled):
            interrupt.establish(ACKNOWLEDGE)


def test_releasing_the_interrupts_of_a_claim_that_is_gone_leaves_the_next_one_alone() -> None:
    with bench() as b:
        old = b.claim()
        old.release()
        (vector,) = b.messages(IntrType.MSI, 1)
        vector.establish()
        old.intr_release()
        b.card().fire()
        assert count(vector) == 1
