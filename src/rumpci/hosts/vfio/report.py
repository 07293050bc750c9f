"""The interrupts of a VFIO host as rows for tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rumpci import pcireg as pr
from rumpci.guard.report import state, vectors
from rumpci.host import Address, Function, InterruptInfo
from rumpci.hosts.vfio.claim import VfioClaim


def interrupt_rows(
    functions: Sequence[Function],
    claims: Mapping[Address, VfioClaim],
    conf_read: Callable[[Address, int], int],
) -> Iterator[InterruptInfo]:
    """What is held and what is free, in bus order; `functions` are those that can be claimed."""
    for function in functions:
        at = function.address
        claim = claims.get(at)
        if claim and claim.interrupts.held:
            for held in claim.interrupts.held:
                yield InterruptInfo(at, held.name, claim.who, state(held), held.total)
            continue
        line = conf_read(at, pr.PCI_INTERRUPT_REG)
        name = f"irq {line & 0xFF}" if 1 <= line >> 8 & 0xFF <= 4 else "no INTx"
        found = vectors(lambda reg, at=at: conf_read(at, reg))  # type: ignore[misc]
        yield InterruptInfo(at, name, claim.who if claim else "", "free", 0, found)
