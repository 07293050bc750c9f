"""The guard's books as rows for tools: interrupts, who has them, how they are routed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rumpci import pcireg as pr
from rumpci.guard.claim import GuardClaim
from rumpci.guard.config import capabilities
from rumpci.guard.held import HeldInterrupt
from rumpci.guard.router import Router
from rumpci.host import Address, Function, InterruptInfo
from rumpci.machines.machine import Machine


def interrupt_rows(
    machine: Machine, router: Router, claims: Mapping[Address, GuardClaim]
) -> Iterator[InterruptInfo]:
    """What is held, what is free, and what fired without an owner, in bus order."""
    unclaimed = {at: n for line in router.lines.values() for at, n in line.unclaimed.items()}
    for function in machine.functions():
        at = function.address
        claim = claims.get(at)
        if claim and claim.interrupts.held:
            for interrupt in claim.interrupts.held:
                name, total = interrupt.name, interrupt.total
                yield InterruptInfo(at, name, claim.who, state(interrupt), total)
        elif function.header == 0:
            count = unclaimed.get(at, 0)
            yield from _free(machine, router, function, claim.who if claim else "", count)


def state(interrupt: HeldInterrupt) -> str:
    """See host.InterruptInfo."""
    if not interrupt.established:
        return "allocated"
    if getattr(interrupt, "stormed", False):
        return "storm"
    return "masked" if interrupt.masked else "established"


def _free(
    machine: Machine, router: Router, function: Function, who: str, unclaimed: int
) -> Iterator[InterruptInfo]:
    """The row of a function whose interrupts nobody holds; none if it has none."""
    at = function.address
    found = vectors(lambda reg: machine.conf_read(at, reg))
    pin = machine.conf_read(at, pr.PCI_INTERRUPT_REG) >> 8 & 0xFF
    if 1 <= pin <= 4:
        name = f"{router.controller.name} pin {router.controller.pin(at, pin - 1)}"
        state = "unclaimed" if unclaimed else "free"
        yield InterruptInfo(at, name, who, state, unclaimed, found)
    elif found:
        yield InterruptInfo(at, "no INTx", who, "free", 0, found)


def vectors(read: Callable[[int], int]) -> dict[str, int]:
    """How many messages of each kind a function could have; `read` reads its configuration."""
    found = {}
    for capid, offset in capabilities(read):
        control = read(offset) >> 16
        if capid == pr.PCI_CAP_MSI:
            found["msi"] = 1 << (control >> 1 & 7)
        elif capid == pr.PCI_CAP_MSIX:
            found["msix"] = (control & 0x7FF) + 1
    return found
