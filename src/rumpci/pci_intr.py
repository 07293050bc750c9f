"""pci_intr(9), pci_msi(9): a function's interrupts, and handlers for them.

Handlers run at preemption points (`cpu.py`), never in the middle of anything
else.  A `pci_intr_handle_t` is one interrupt of an attached function.

    NoVectors      ENOSPC   the function or the machine has fewer
    InterruptBusy  EBUSY    a handler is established already, or another type is allocated
    NotAllocated   EINVAL   released, or never established
    NotEnabled     ENXIO    bus mastering or decoding is off
    BadShim        EINVAL   the shim was refused: step and reason

Source: NetBSD pci_intr(9), pci_msi(9).  Differences: docs/netbsd-map.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rumpci.cpu import IPL_VM, Handler as Handler, curcpu
from rumpci.errors import NotClaimed, NotSupported, NoVectors
from rumpci.host import Claim, Event, Interrupt, IntrType
from rumpci.pci import PciAttachArgs, PciChipset
from rumpci.shim import Shim

PCI_INTR_TYPE_INTX = IntrType.INTX
PCI_INTR_TYPE_MSI = IntrType.MSI
PCI_INTR_TYPE_MSIX = IntrType.MSIX
PCI_INTR_MPSAFE = 1


@dataclass(frozen=True, eq=False)
class PciIntrHandle:
    """A pci_intr_handle_t: one interrupt that is allocated."""

    interrupt: Interrupt
    claim: Claim


@dataclass
class Evcnt:
    """struct evcnt of an interrupt: how often it fired, and its name."""

    ev_count: int
    ev_name: str


# ---- allocating: pci_intr_map(9), pci_msi(9) ------------------------------------------


def pci_intr_map(pa: PciAttachArgs) -> PciIntrHandle:
    """The function's INTx.  Raises NoVectors (ENOSPC) if it has none."""
    return pci_intx_alloc(pa)[0]


def pci_intx_alloc(pa: PciAttachArgs) -> list[PciIntrHandle]:
    """The function's INTx, as a list of one."""
    return _allocate(pa, IntrType.INTX, [0])


def pci_msi_count(pa: PciAttachArgs) -> int:
    """How many MSI vectors the function has."""
    return _claim(pa, "pci_msi_count").intr_count(IntrType.MSI)


def pci_msix_count(pa: PciAttachArgs) -> int:
    """How many MSI-X vectors the function has."""
    return _claim(pa, "pci_msix_count").intr_count(IntrType.MSIX)


def pci_msi_alloc(pa: PciAttachArgs, count: int) -> list[PciIntrHandle]:
    """At most `count` MSI vectors, a power of two of them."""
    return _at_most(pa, IntrType.MSI, 1 << max(count, 1).bit_length() - 1)


def pci_msi_alloc_exact(pa: PciAttachArgs, count: int) -> list[PciIntrHandle]:
    """Exactly `count` MSI vectors, a power of two."""
    return _allocate(pa, IntrType.MSI, range(count))


def pci_msix_alloc(pa: PciAttachArgs, count: int) -> list[PciIntrHandle]:
    """At most `count` MSI-X vectors, from 0 on."""
    return _at_most(pa, IntrType.MSIX, count)


def pci_msix_alloc_exact(pa: PciAttachArgs, count: int) -> list[PciIntrHandle]:
    """Exactly `count` MSI-X vectors, from 0 on."""
    return _allocate(pa, IntrType.MSIX, range(count))


def pci_msix_alloc_map(pa: PciAttachArgs, table: Sequence[int]) -> list[PciIntrHandle]:
    """The MSI-X vectors with these table indices, in this order."""
    return _allocate(pa, IntrType.MSIX, table)


def pci_intr_alloc(
    pa: PciAttachArgs,
    counts: dict[IntrType, int] | None = None,
    max_type: IntrType = IntrType.MSIX,
) -> list[PciIntrHandle]:
    """The best type that can be had: MSI-X, then MSI, then INTx.

    `counts` is how many of each type are wanted at most (-1: all there are);
    without it, one of each.  Types above `max_type` are not tried.
    """
    wanted = counts or dict.fromkeys(IntrType, 1)
    order = (IntrType.MSIX, IntrType.MSI, IntrType.INTX)
    for type_ in order[order.index(max_type) :]:
        have = _claim(pa, "pci_intr_alloc").intr_count(type_)
        count = have if wanted.get(type_, 0) < 0 else min(wanted.get(type_, 0), have)
        if count:
            return _at_most(pa, type_, count)
    raise NoVectors(
        f"pci_intr_alloc of {pa.pa_tag}", "no type that was asked for", "see `rumpci show`"
    )


def pci_intr_release(pa: PciAttachArgs, handles: Sequence[PciIntrHandle]) -> None:
    """Give every interrupt of the function back; handlers are disestablished."""
    del handles
    claim = _claim(pa, "pci_intr_release")
    curcpu().disestablish_owner(claim)
    claim.intr_release()


def pci_intr_type(pc: PciChipset, ih: PciIntrHandle) -> IntrType:
    """PCI_INTR_TYPE_INTX, _MSI or _MSIX."""
    del pc
    return ih.interrupt.type


# ---- using: pci_intr(9) ----------------------------------------------------------------


def pci_intr_string(pc: PciChipset, ih: PciIntrHandle) -> str:
    """What to call it, such as "ioapic0 pin 22" or "msix0 vec 1"."""
    del pc
    return ih.interrupt.name


def pci_intr_evcnt(pc: PciChipset, ih: PciIntrHandle) -> Evcnt:
    """How often it fired for its handler."""
    del pc
    fired = sum(handler.count for handler in curcpu().handlers_of(ih.interrupt))
    return Evcnt(fired, ih.interrupt.name)


def pci_intr_establish(
    pc: PciChipset,
    ih: PciIntrHandle,
    level: int,
    handler: Callable[[Any], int | bool | None],
    arg: Any = None,
    shim: Shim | bytes | None = None,
) -> Handler:
    """Call `handler(arg)` for each event, at `level`; returns what disestablish takes.

    `shim`, which is ours, acknowledges INTx while the line is masked (docs/shim.md).
    """
    return pci_intr_establish_xname(pc, ih, level, handler, arg, ih.interrupt.name, shim)


def pci_intr_establish_xname(
    pc: PciChipset,
    ih: PciIntrHandle,
    level: int,
    handler: Callable[[Any], int | bool | None],
    arg: Any,
    xname: str,
    shim: Shim | bytes | None = None,
) -> Handler:
    """As pci_intr_establish, with the device's name for messages."""
    del pc
    program = shim.encode() if isinstance(shim, Shim) else shim
    ih.interrupt.establish(program)
    established = Handler(ih.interrupt, max(level, IPL_VM), handler, arg, xname, ih.claim)
    curcpu().establish(established)
    return established


def pci_intr_disestablish(pc: PciChipset, cookie: Handler) -> None:
    """Call the handler no more; events that were not handled are gone."""
    del pc
    curcpu().disestablish(cookie)
    cookie.interrupt.disestablish()


def pci_intr_setattr(pc: PciChipset, ih: PciIntrHandle, attribute: int, value: bool) -> None:
    """Accept PCI_INTR_MPSAFE: handlers never run beside anything else anyway."""
    del pc, ih, value
    if attribute != PCI_INTR_MPSAFE:
        raise NotSupported(f"pci_intr_setattr({attribute})", "unknown", "use PCI_INTR_MPSAFE")


def pci_intr_event(cookie: Handler) -> Event | None:
    """Ours: the record that the handler is being called for, with the shim's status words."""
    return cookie.event


# ---- helpers ------------------------------------------------------------------------------


def _claim(pa: PciAttachArgs, tried: str) -> Claim:
    claim = pa.pa_pc.claims.get(pa.pa_tag)
    if claim is None:
        raise NotClaimed(
            f"{tried} of {pa.pa_tag}", "no driver is attached to it", "call it in attach and later"
        )
    return claim


def _allocate(pa: PciAttachArgs, type_: IntrType, indices: Sequence[int]) -> list[PciIntrHandle]:
    claim = _claim(pa, f"allocating {type_.value}")
    return [PciIntrHandle(interrupt, claim) for interrupt in claim.intr_alloc(type_, indices)]


def _at_most(pa: PciAttachArgs, type_: IntrType, count: int) -> list[PciIntrHandle]:
    have = _claim(pa, f"allocating {type_.value}").intr_count(type_)
    count = min(count, have)
    if type_ is IntrType.MSI and count:
        count = 1 << count.bit_length() - 1
    return _allocate(pa, type_, range(count))
