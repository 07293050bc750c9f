"""The operations of the protocol on interrupts."""

from __future__ import annotations

from rumpci.host import IntrType
from rumpci.pci4 import abi
from rumpci.pci4.checks import choice, clip, count
from rumpci.pci4.deliver import Delivery
from rumpci.pci4.session import Held, Session


def count_(session: Session, message: abi.IntrCount) -> None:
    """INTR_COUNT: how many the function has."""
    type_ = choice("interrupt type", IntrType, message.type)
    message.count = session.held(message.claim).claim.intr_count(type_)


def alloc(session: Session, message: abi.IntrAlloc) -> None:
    """INTR_ALLOC: take interrupts; each has a descriptor in the answer."""
    held = session.held(message.claim)
    type_ = choice("interrupt type", IntrType, message.type)
    indices = message.index[: count("interrupts", message.count, abi.VECTORS)]
    session.account.take("interrupts", session.rights.limits, len(indices))
    try:
        made = held.claim.intr_alloc(type_, indices)
    except BaseException:
        session.account.give("interrupts", len(indices))
        raise
    try:
        for interrupt in made:
            held.interrupts[session.new_handle()] = Delivery(session.watcher, interrupt)
        session.interrupts |= {h: (held, delivery) for h, delivery in held.interrupts.items()}
    except BaseException:  # no descriptors left
        _give_back(session, held, len(indices))
        raise
    message.intr = list(held.interrupts)
    message.unit = clip(made[0].name.partition(" vec ")[0], abi.NAME)
    session.handed = list(held.interrupts.values())
    session.passed = [delivery.theirs.fileno() for delivery in session.handed]


def _give_back(session: Session, held: Held, taken: int) -> None:
    """End an allocation that could not be delivered."""
    for delivery in held.interrupts.values():
        delivery.close()
    held.interrupts = {}
    session.account.give("interrupts", taken)
    held.claim.intr_release()


def release(session: Session, message: abi.Handle) -> None:
    """INTR_RELEASE: give all interrupts of a claim back."""
    held = session.held(message.handle)
    session.drop_interrupts(held)
    held.claim.intr_release()


def establish(session: Session, message: abi.IntrEstablish) -> None:
    """INTR_ESTABLISH: let it fire."""
    length = count("bytes of a shim", message.length, abi.SHIM)
    shim = bytes(message.shim[:length]) if length else None
    session.interrupt(message.intr).interrupt.establish(shim)


def control(session: Session, message: abi.IntrControl) -> None:
    """INTR_CONTROL: mask, unmask, ask, stop."""
    delivery = session.interrupt(message.intr)
    interrupt = delivery.interrupt
    what = choice("control", abi.Control, message.what)
    if what is abi.Control.PENDING:
        message.value = int(interrupt.pending())
    elif what is abi.Control.UNMASK:
        interrupt.unmask()
    elif what is abi.Control.MASK:
        interrupt.mask()
    else:
        interrupt.disestablish()
        delivery.forget()
