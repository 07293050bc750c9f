"""From a device's address to a page of memory, and what the unit remembers of the way.

Source: VT-d specification 3.x, 3.4 to 3.7 (translation), 6.2 (caching).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.vtd.spec import (
    ADDRESS_BITS,
    DOMAINS,
    ContextHigh,
    ContextLow,
    PageEntry,
    Reason,
    RootEntry,
)

_LEVELS = 3
_RIGHTS = PageEntry.R.mask | PageEntry.W.mask
_ROOT_RESERVED = 0xFFE


class Blocked(Exception):
    """A request that does not get through; `quiet` if its context entry wants no record."""

    def __init__(self, reason: Reason, quiet: bool = False) -> None:
        super().__init__(reason.name)
        self.reason, self.quiet = reason, quiet


class Context(NamedTuple):
    """What a context entry says: the domain, its tables, whether faults are not recorded."""

    did: int
    table: int
    quiet: bool


class Step(NamedTuple):
    """A page or a table, and what every entry on the way to it allows."""

    page: int
    rights: int


class Tables:
    """The tables from `root` on; without an invalidation, old answers stay good."""

    def __init__(self, memory: ModelMemory) -> None:
        self.root = 0
        self._memory = memory
        self._contexts: dict[int, Context] = {}
        self._leaves: dict[tuple[int, int], Step] = {}
        self._tables: dict[tuple[int, int, int], Step] = {}

    def page(self, source: int, addr: int, write: bool) -> int:
        """The page of memory that `addr` is in.  Raises Blocked."""
        context = self._contexts.get(source)
        if context is None:
            context = self._contexts[source] = self._load_context(source)
        if addr >> ADDRESS_BITS:
            raise Blocked(Reason.BEYOND_WIDTH, context.quiet)
        key = context.did, addr >> 12
        leaf = self._leaves.get(key) or self._walk(context, addr)
        if not leaf.rights & (PageEntry.W.mask if write else PageEntry.R.mask):
            raise Blocked(Reason.WRITE if write else Reason.READ, context.quiet)
        self._leaves[key] = leaf  # only what worked is remembered (6.2.5, CAP.CM is 0)
        return leaf.page

    # ---- the walk ------------------------------------------------------------------------

    def _load_context(self, source: int) -> Context:
        root, reserved = self._pair(self.root + 16 * (source >> 8), Reason.ROOT_UNREADABLE)
        if not RootEntry(root).P:
            raise Blocked(Reason.ROOT_ABSENT)
        if root & _ROOT_RESERVED or reserved:
            raise Blocked(Reason.ROOT_RESERVED)
        at = (RootEntry(root).CTP << 12) + 16 * (source & 0xFF)
        return _context(*self._pair(at, Reason.CONTEXT_UNREADABLE))

    def _walk(self, context: Context, addr: int) -> Step:
        """The 4 KiB that `addr` is in, from the deepest table that is remembered."""
        level, (table, rights) = self._start(context, addr)
        while True:
            index = addr >> 12 + 9 * (level - 1) & 0x1FF
            entry = self._entry(table + 8 * index, context)
            rights &= entry
            if not entry & _RIGHTS:
                return Step(0, 0)
            last = level == 1 or bool(entry.PS)
            if _reserved(entry, level, last):
                raise Blocked(Reason.ENTRY_RESERVED, context.quiet)
            if last:
                inside = addr & (1 << 12 + 9 * (level - 1)) - 1 & -4096
                return Step(entry.ADDR << 12 | inside, rights)
            table, level = entry.ADDR << 12, level - 1
            self._tables[context.did, level, addr >> 12 + 9 * level] = Step(table, rights)

    def _start(self, context: Context, addr: int) -> tuple[int, Step]:
        for level in range(1, _LEVELS):
            known = self._tables.get((context.did, level, addr >> 12 + 9 * level))
            if known:
                return level, known
        return _LEVELS, Step(context.table, _RIGHTS)

    def _entry(self, at: int, context: Context) -> PageEntry:
        data = self._memory.read(at, 8)
        if data is None:
            raise Blocked(Reason.TABLE_UNREADABLE, context.quiet)
        return PageEntry(int.from_bytes(data, "little"))

    def _pair(self, at: int, unreadable: Reason) -> tuple[int, int]:
        data = self._memory.read(at, 16)
        if data is None:
            raise Blocked(unreadable)
        low, high = struct.unpack("<QQ", data)
        return low, high

    # ---- invalidation --------------------------------------------------------------------

    def forget_contexts(self, wanted: Callable[[int, Context], bool]) -> None:
        """Forget the context entries for which `wanted(source, context)`."""
        for source, context in list(self._contexts.items()):
            if wanted(source, context):
                del self._contexts[source]

    def forget_all(self) -> None:
        """Forget the translations of every domain."""
        self._leaves.clear()
        self._tables.clear()

    def forget_domain(self, did: int) -> None:
        """Forget the translations of one domain."""
        self._leaves = {k: v for k, v in self._leaves.items() if k[0] != did}
        self._tables = {k: v for k, v in self._tables.items() if k[0] != did}

    def forget_pages(self, did: int, page: int, mask: int, leaves_only: bool) -> None:
        """Forget 2 to the `mask` pages of a domain, aligned; and the tables on the way to them."""
        first = page >> mask << mask
        last = first + (1 << mask) - 1
        self._leaves = {
            k: v for k, v in self._leaves.items() if k[0] != did or not first <= k[1] <= last
        }
        if not leaves_only:
            self._tables = {
                (d, level, at): step
                for (d, level, at), step in self._tables.items()
                if d != did or not first >> 9 * level <= at <= last >> 9 * level
            }


def _context(low: int, high: int) -> Context:
    """What a context entry says.  Raises Blocked."""
    bits, more = ContextLow(low), ContextHigh(high)
    quiet = bool(bits.FPD)
    if not bits.P:
        raise Blocked(Reason.CONTEXT_ABSENT, quiet)
    if bits.RESERVED or more.RESERVED:
        raise Blocked(Reason.CONTEXT_RESERVED, quiet)
    if bits.T or more.AW != 1 or more.DID >= DOMAINS:
        raise Blocked(Reason.CONTEXT_INVALID, quiet)
    return Context(more.DID, bits.SLPTPTR << 12, quiet)


def _reserved(entry: PageEntry, level: int, last: bool) -> bool:
    """Whether bits are set that this unit reserves (9.8; snooping and device TLBs it has not)."""
    inside = entry & (1 << 12 + 9 * (level - 1)) - 1 & -4096 if last else 0
    return bool(entry.HIGH or inside or (last and (entry.SNP or entry.TM)))
