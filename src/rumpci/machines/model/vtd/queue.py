"""Queued invalidation.  Source: VT-d specification 3.x, 6.5.2."""

from __future__ import annotations

import struct
from collections.abc import Callable

from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.vtd.spec import (
    IQA,
    MASK_MAX,
    InvContext,
    InvIotlb,
    InvPages,
    InvWait,
    Kind,
    Scope,
)
from rumpci.machines.model.vtd.tables import Tables


class BadDescriptor(Exception):
    """A descriptor that the unit does not take: the queue stops at it."""


def _mask(*registers: type[InvContext | InvIotlb | InvPages | InvWait]) -> int:
    mask = 0
    for register in registers:
        for field in register.fields.values():
            mask |= field.mask
    return mask


_KNOWN: dict[int, tuple[int, int]] = {
    Kind.CONTEXT: (_mask(InvContext), 0),
    Kind.IOTLB: (_mask(InvIotlb), _mask(InvPages)),
    Kind.WAIT: (_mask(InvWait), 0xFFFF_FFFF_FFFF_FFFC),
}
"""The bits that may be set in the two halves of each descriptor."""
_FUNCTIONS = (0, 4, 6, 7)  # the bits of a source that FM ignores


class Queue:
    """The queue at `address` (IQA), from `head` to `tail`; both are descriptors' numbers."""

    def __init__(self, memory: ModelMemory, tables: Tables, completed: Callable[[], None]) -> None:
        self.address, self.head, self.tail = IQA(0), 0, 0
        self._memory, self._tables, self._completed = memory, tables, completed

    @property
    def size(self) -> int:
        """How many descriptors there is room for."""
        return 256 << self.address.QS

    def run(self) -> None:
        """Do what is queued.  Raises BadDescriptor with `head` at it."""
        while self.head != self.tail:
            at = (self.address.PAGE << 12) + 16 * self.head
            data = self._memory.read(at, 16)
            if data is None or self.address.DW or self.tail >= self.size:
                raise BadDescriptor
            self._do(*struct.unpack("<QQ", data))
            self.head = (self.head + 1) % self.size

    def _do(self, low: int, high: int) -> None:
        kind = low & 0xF
        known = _KNOWN.get(kind, (0, 0))
        if low & ~known[0] or high & ~known[1] or not known[0]:
            raise BadDescriptor
        if kind == Kind.CONTEXT:
            self._context(InvContext(low))
        elif kind == Kind.IOTLB:
            self._iotlb(InvIotlb(low), InvPages(high))
        else:
            self._wait(InvWait(low), high)

    def _context(self, what: InvContext) -> None:
        ignored = _FUNCTIONS[what.FM]
        if what.G == Scope.GLOBAL:
            self._tables.forget_contexts(lambda _source, _context: True)
        elif what.G == Scope.DOMAIN:
            self._tables.forget_contexts(lambda _source, context: context.did == what.DID)
        elif what.G == Scope.NARROW:
            self._tables.forget_contexts(
                lambda source, context: (
                    context.did == what.DID and not (source ^ what.SID) & ~ignored
                )
            )
        else:
            raise BadDescriptor

    def _iotlb(self, what: InvIotlb, pages: InvPages) -> None:
        if what.G == Scope.GLOBAL:
            self._tables.forget_all()
        elif what.G == Scope.DOMAIN:
            self._tables.forget_domain(what.DID)
        elif what.G == Scope.NARROW and pages.AM <= MASK_MAX:
            self._tables.forget_pages(what.DID, pages.ADDR, pages.AM, bool(pages.IH))
        else:
            raise BadDescriptor

    def _wait(self, what: InvWait, address: int) -> None:
        if what.SW:
            self._memory.write(address, what.DATA.to_bytes(4, "little"))
        if what.IF:
            self._completed()
