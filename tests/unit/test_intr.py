"""The interrupts of a claim, on models: what fires arrives once, and only while it may."""

import errno

import pytest

from rumpci import pcireg as pr
from rumpci.errors import (
    NotEnabled,
    ProtectedRange,
)
from rumpci.guard.intr import QUEUE
from rumpci.host import Address, Event, IntrType
from rumpci.shim import Shim

from .cards import has_three_parts
from .signallers import (
    ACK,
    CAUSES,
    COMMAND,
    SHARES,
    VECTORS,
    Signaller,
    bench,
    count,
    events,
    ready,
)

ACKNOWLEDGE = Shim().read(4, 0, CAUSES).notz().store(0).write_a(4, 0, ACK).deliver().encode()
MESSAGES = [IntrType.MSI, IntrType.MSIX]


# ---- INTx ------------------------------------------------------------------------------


def test_intx_is_masked_until_it_is_unmasked() -> None:
    with bench() as b:
        interrupt = b.intx()
        assert not ready(interrupt)
        b.card().fire()
        assert events(interrupt) == [Event(1, 0, 1)]
        assert interrupt.pending()
        b.card().quiet()
        assert not interrupt.pending()
        interrupt.unmask()
        assert not events(interrupt)
        b.card().fire()
        assert events(interrupt) == [Event(2, 0, 1)]


def test_intx_that_stays_asserted_fires_at_each_unmasking() -> None:
    with bench() as b:
        interrupt = b.intx()
        b.card().fire()
        for sequence in range(1, 10):
            assert events(interrupt) == [Event(sequence, 0, 1)]
            interrupt.unmask()


@pytest.mark.parametrize("old", [False, True], ids=["2.3", "old"])
def test_masked_intx_does_not_fire_until_it_is_unmasked(old: bool) -> None:
    with bench() as b:
        if old:
            b.without_disable_bit(1)
        interrupt = b.intx()
        interrupt.mask()
        b.card().fire()
        assert not events(interrupt)
        interrupt.unmask()
        assert count(interrupt) == 1


@pytest.mark.parametrize("old", [False, True], ids=["2.3", "old"])
def test_intx_that_fired_before_it_was_masked_waits(old: bool) -> None:
    with bench() as b:
        if old:
            b.without_disable_bit(1)
        interrupt = b.intx()
        b.card().fire()
        interrupt.mask()
        assert not events(interrupt)
        interrupt.unmask()
        assert count(interrupt) == 1


def test_a_shim_acknowledges_and_keeps_the_causes() -> None:
    with bench() as b:
        interrupt = b.intx(shim=ACKNOWLEDGE)
        for cause in (5, 0x80):
            b.card().fire(cause=cause)
            (event,) = events(interrupt)
            assert event.status == (cause, 0, 0, 0)
            assert b.card().causes == 0
            interrupt.unmask()


def test_a_line_that_is_unmasked_by_one_does_not_count_twice_for_the_other() -> None:
    with bench(*(Signaller() for _ in range(SHARES + 1))) as b:
        one, other = b.intx(1), b.intx(1 + SHARES)
        b.card(1).fire()
        other.unmask()
        assert count(one) == 1
        assert not events(other)


def test_sharing_a_line_with_a_device_whose_driver_polls() -> None:
    """Its INTx disable bit is the guard's: nobody established it, so it is set."""
    with bench(*(Signaller() for _ in range(SHARES + 1))) as b:
        b.claim(1)
        interrupt = b.intx(1 + SHARES)
        b.card(1).fire()
        assert not events(interrupt)
        b.card(1 + SHARES).fire()
        assert count(interrupt) == 1


def test_what_was_disabled_while_nobody_had_it_fires_when_it_is_established() -> None:
    with bench(*(Signaller() for _ in range(SHARES + 1))) as b:
        interrupt = b.intx(1 + SHARES)
        b.card(1).fire()
        assert not events(interrupt)
        assert count(b.intx(1)) == 1


def test_intx_stays_disabled_after_its_driver() -> None:
    with bench() as b:
        claim = b.claim()
        claim.intr_alloc(IntrType.INTX, [0])[0].establish()
        claim.release()
        command = b.machine.conf_read(Address(0, 0, 1, 0), pr.PCI_COMMAND_STATUS_REG)
        assert command & pr.PCI_COMMAND_INTERRUPT_DISABLE


# ---- messages -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("type_", MESSAGES)
def test_each_message_reaches_its_own_vector(type_: IntrType, order: tuple[int, ...]) -> None:
    with bench() as b:
        vectors = b.messages(type_, 4)
        for established, index in enumerate(order):
            vectors[index].establish()
            b.card().fire(index)
            fired = [vector.index for vector in vectors if count(vector)]
            assert fired == [index], f"number {established}"


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_masked_message_is_pending_and_comes_once(type_: IntrType) -> None:
    with bench() as b:
        vectors = b.messages(type_, 4)
        for vector in vectors:
            vector.establish()
        vectors[2].mask()
        b.card().fire(2)
        b.card().fire(2)
        assert [vector.pending() for vector in vectors] == [False, False, True, False]
        assert not events(vectors[2])
        vectors[2].unmask()
        assert not vectors[2].pending()
        assert events(vectors[2]) == [Event(1, 2, 1)]


def test_the_last_vectors_of_a_table_and_of_its_pending_bits() -> None:
    with bench() as b:
        vectors = b.messages(IntrType.MSIX, VECTORS)
        vectors[-1].establish()
        vectors[-1].mask()
        b.card().fire(VECTORS - 1)
        assert vectors[-1].pending()
        vectors[-1].unmask()
        assert count(vectors[-1]) == 1


def test_chosen_table_entries_in_their_order() -> None:
    with bench() as b:
        claim = b.claim()
        vectors = claim.intr_alloc(IntrType.MSIX, [7, 3, 31])
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
        assert [vector.index for vector in vectors] == [7, 3, 31]
        for vector in vectors:
            vector.establish()
            b.card().fire(vector.index)
            assert [event.vector for event in vector.read()] == [vector.index]


@pytest.mark.parametrize("type_", MESSAGES)
def test_messages_are_counted(type_: IntrType) -> None:
    with bench() as b:
        (vector,) = b.messages(type_, 1)
        vector.establish()
        for _ in range(1000):
            b.card().fire()
        assert events(vector) == [Event(1, 0, 1000)]


def test_events_beyond_the_queue_are_merged_and_counted() -> None:
    with bench() as b:
        mine, other = b.messages(IntrType.MSIX, 2)
        mine.establish()
        other.establish()
        for _ in range(QUEUE + 50):
            b.card().fire(0)
            other.read()  # collects, and leaves it with its owner
        found = events(mine)
        assert len(found) == QUEUE
        assert sum(event.count for event in found) == QUEUE + 50
        assert found[-1] == Event(QUEUE + 50, 0, 51)


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_message_needs_bus_mastering(type_: IntrType) -> None:
    with bench() as b:
        claim = b.claim()
        (vector,) = claim.intr_alloc(type_, [0])
        with pytest.raises(NotEnabled) as caught:
            vector.establish()
        assert (caught.value.errno, has_three_parts(caught.value)) == (errno.ENXIO, True)
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
        vector.establish()
        claim.intr_release()
        command = claim.conf_read(pr.PCI_COMMAND_STATUS_REG)
        assert command & pr.PCI_COMMAND_MASTER_ENABLE, "it is the driver's, for DMA"


def test_the_table_is_out_of_reach() -> None:
    with bench() as b:
        claim = b.claim()
        window = claim.window(1, 0, 8192)
        for offset in (0, 4, 16 * VECTORS - 4):
            with pytest.raises(ProtectedRange):
                window.write(offset, 4, 0)
        assert window.read(4096, 4) == 0


def test_a_table_that_does_not_decode_is_masked_all_the_same() -> None:
    """Else an entry would send its old vector, which may be somebody else's by then."""
    with bench() as b:
        claim = b.claim()
        vectors = claim.intr_alloc(IntrType.MSIX, [0, 1])
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
        for vector in vectors:
            vector.establish()
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MASTER_ENABLE)
        claim.release()
        table = b.card().signals._table
        assert [table[16 * entry + 12] for entry in (0, 1)] == [1, 1]
