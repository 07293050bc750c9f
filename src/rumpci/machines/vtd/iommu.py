"""VT-d DMA remapping: each function reaches what its domain grants, and nothing else.

    requester id -> root[bus] -> context[device, function] -> second-level tables -> page

Not for several threads at once: the guard has one lock.
Source: Intel VT-d specification 3.4 (lookup), 6.2-6.5 (what is cached and how it is forgotten).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from rumpci.errors import BadDma, DeviceBusy, HostRefused, NoDmaMemory
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, Direction, Grant
from rumpci.machines.machine import IommuFault, PageSource
from rumpci.machines.requester import function_of
from rumpci.machines.vtd.faults import FaultLog
from rumpci.machines.vtd.tables import Range, SecondLevel, leaves
from rumpci.machines.vtd.unit import Unit
from rumpci.machines.vtd.vtdreg import (
    CC_INV,
    CONTEXT,
    CONTEXT_HI,
    DOMAIN,
    GLOBAL,
    IOTLB_INV,
    ROOT,
    SELECTIVE,
    SLPTE,
    VTD_RTADDR,
)

MANY = 64
"""More ranges than this are invalidated as the whole domain."""
BITS = {
    direction: (SLPTE.W.mask if Direction.READ in direction else 0)
    | (SLPTE.R.mask if Direction.WRITE in direction else 0)
    for direction in (Direction.NONE, Direction.READ, Direction.WRITE, Direction.BOTH)
}
"""SLPTE.R and SLPTE.W of a direction: these are the device's view, a direction is memory's."""
_DIRECTION = {bits: direction for direction, bits in BITS.items()}


class VtdIommu:
    """See machine.Iommu.

    `requester` gives a function's requester id; `event` is the message (address,
    data) of the unit's fault event and `count` how many of them arrived so far.
    Raises HostRefused (EINVAL) if the unit has tables of no depth that is known here.
    """

    name = "vtd0"
    reserved: Sequence[tuple[int, int]] = ((0xFEE0_0000, 0xFEF0_0000),)  # 3.13

    def __init__(
        self,
        unit: Unit,
        requester: Callable[[Address], int],
        event: tuple[int, int],
        count: Callable[[], int],
    ) -> None:
        self._unit, self._event, self._count = unit, event, count
        self.requester = requester
        cap = unit.cap
        self._levels = _levels(cap.SAGAW)
        self._large = frozenset(level for level in (2, 3) if cap.SLLPS >> level - 2 & 1)
        self.address_bits = min(cap.MGAW + 1, 12 + 9 * self._levels)
        self._ids = range(1, 1 << 4 + 2 * cap.ND)  # 0 is the unit's where it caches absence (6.1)
        self._domains: dict[int, VtdDomain] = {}  # by requester id
        self._contexts: dict[int, int] = {}  # bus -> its context table
        self._faults: FaultLog | None = None

    def start(self, pages: PageSource) -> None:
        """See Iommu: an empty root table, and nothing of before remembered."""
        self._pages = pages
        self._root = pages.take()
        self._faults = FaultLog(self._unit, self._event, self._count)
        self._unit.write(VTD_RTADDR(RTA=self._root >> 12))
        self._unit.command(SRTP=1)
        self._unit.invalidate((CC_INV(TYPE=1, G=GLOBAL), 0))  # 6.5.2.1: before the IOTLB
        self._unit.invalidate((IOTLB_INV(TYPE=2, G=GLOBAL), 0))
        self._unit.command(TE=1)

    def attach(self, address: Address, pages: PageSource | None = None) -> VtdDomain:
        """See Iommu.  Raises NoDmaMemory (ENOMEM) if there is no page for its tables."""
        requester = self.requester(address)
        other = self._domains.get(requester)
        if other and not other.attached:  # the unit did not answer then; perhaps it does now
            other.finish()
        elif other:
            raise DeviceBusy(
                f"a DMA domain for {address}",
                f"its accesses carry the same id as those of {other.address}",
                f"detach {other.address}, or put it behind another bridge",
            )
        context, number = self._context_at(requester), self._free_id()
        tables = SecondLevel(self._unit.words, pages or self._pages, self._levels, self._large)
        domain = VtdDomain(self, self._unit, address, requester, number, tables)
        self._unit.words[context + 1] = CONTEXT_HI(AW=self._levels - 2, DID=domain.id)
        self._unit.words[context] = CONTEXT(P=1, SLPTPTR=tables.root >> 12)
        self._domains[requester] = domain
        if self._unit.cap.CM:  # it may have cached that there was none, as domain 0 (6.1)
            try:
                self._unit.invalidate((CC_INV(TYPE=1, G=SELECTIVE, SID=requester), 0))
                domain.forget()
            except BaseException:
                domain.attached = False  # nobody has it; the next attach makes an end of it
                raise
        return domain

    def detach(self, domain: VtdDomain) -> None:
        """Put a domain's context entry out of use, and have the unit forget all of it."""
        at = self._context_at(domain.requester)
        self._unit.words[at] = 0
        self._unit.words[at + 1] = 0
        sid = CC_INV(TYPE=1, G=SELECTIVE, DID=domain.id, SID=domain.requester)
        self._unit.invalidate((sid, 0))  # first: a translation could be cached again through it
        domain.forget()
        del self._domains[domain.requester]

    def faults(self) -> list[IommuFault]:
        """See Iommu."""
        return self._faults.read() if self._faults else []

    def entries(self) -> Iterator[Grant]:
        """See Iommu."""
        return (grant for _, grant in self.entries_from((0, 0), None))

    def entries_from(
        self, place: tuple[int, int], devices: Collection[Address] | None
    ) -> Iterator[tuple[int, Grant]]:
        """See Iommu.  Nothing that is remembered here is used, but to name an aliased function."""
        first, addr = place
        root = VTD_RTADDR(self._unit.read(VTD_RTADDR)).RTA << 12
        for bus, low, _ in self._present(root):
            table = ROOT(low).CTP << 12
            for devfn, context, high in self._present(table):
                requester = bus << 8 | devfn
                device = self._device_of(requester)
                if requester < first or (devices is not None and device not in devices):
                    continue
                start = addr if requester == first else 0
                for leaf in self._leaves(device, CONTEXT(context), CONTEXT_HI(high), start):
                    yield requester, leaf

    def _present(self, table: int) -> Iterator[tuple[int, int, int]]:
        """(index, low, high) of the present entries of a root or context table."""
        halves = self._unit.words[table >> 3 : (table >> 3) + 512].tolist()
        for index in range(256):
            if halves[2 * index] & 1:
                yield index, halves[2 * index], halves[2 * index + 1]

    def _device_of(self, requester: int) -> Address:
        domain = self._domains.get(requester)
        return domain.address if domain else function_of(requester)

    def _leaves(
        self, device: Address, low: CONTEXT, high: CONTEXT_HI, start: int
    ) -> Iterator[Grant]:
        table, level = low.SLPTPTR << 12, high.AW + 2
        for addr, size, entry in leaves(self._unit.words, table, level, start=start):
            page = entry & SLPTE.ADDR.mask & -size
            yield Grant(device, addr, size, page, _DIRECTION[entry & 3])

    def _context_at(self, requester: int) -> int:
        """Where a requester's context entry is, in words; makes its bus's table if need be."""
        bus = requester >> 8
        if bus not in self._contexts:
            self._contexts[bus] = table = self._pages.take()
            self._unit.words[(self._root >> 3) + 2 * bus] = ROOT(P=1, CTP=table >> 12)
        return (self._contexts[bus] >> 3) + 2 * (requester & 0xFF)

    def _free_id(self) -> int:
        used = {domain.id for domain in self._domains.values()}
        free = next((number for number in self._ids if number not in used), None)
        if free is None:
            raise NoDmaMemory(
                "a DMA domain", f"all {len(self._ids)} of the IOMMU are in use", "detach a device"
            )
        return free


class VtdDomain:
    """See machine.Domain; made by `VtdIommu.attach`."""

    def __init__(
        self,
        iommu: VtdIommu,
        unit: Unit,
        address: Address,
        requester: int,
        number: int,
        tables: SecondLevel,
    ) -> None:
        self.address, self.requester, self.id = address, requester, number
        self._iommu, self._unit, self._tables = iommu, unit, tables
        self._limit = 1 << iommu.address_bits
        self._caches_absence = bool(unit.cap.CM)
        drains = {"DW": unit.cap.DWD, "DR": unit.cap.DRD}
        self._all = int(IOTLB_INV(TYPE=2, G=DOMAIN, DID=number, **drains))
        self._pages = int(IOTLB_INV(TYPE=2, G=SELECTIVE, DID=number, **drains))
        self._mask_max = unit.cap.MAMV if unit.cap.PSI else -1
        self.attached = True
        self._ticket, self._posted = 0, False
        self._owes = False  # whether the unit was not heard to have forgotten something

    def grant(self, addr: int, page: int, size: int, direction: Direction) -> None:
        """See Domain.  Raises BadDma (EINVAL) for what is no range of pages, or detached."""
        bits = BITS[direction]
        self._check(addr, page, size)
        if not bits:
            self.revoke([(addr, size)])
            return
        try:
            stale = self._tables.grant(addr, page, size, bits)
        except NoDmaMemory:
            self.forget()
            raise
        if stale:
            self._forget_ranges([stale])
        elif self._caches_absence:
            self._forget_ranges([(addr, addr + size)])

    def revoke(self, ranges: Sequence[tuple[int, int]], *, wait: bool = True) -> None:
        """See Domain.  Raises BadDma (EINVAL) for what is no range of pages, or detached."""
        for addr, size in ranges:
            self._check(addr, 0, size)
        clear = self._tables.clear
        stale = [found for addr, size in ranges if (found := clear(addr, size))]
        if stale or self._owes:
            self._forget_ranges(stale, wait=wait)

    def settle(self) -> None:
        """See Domain."""
        if self._posted:
            owed, self._owes = self._owes, True
            self._unit.settle(self._ticket)
            self._owes, self._posted = owed, False

    def detach(self) -> None:
        """See Domain."""
        if self.attached:
            self.attached = False
            self.finish()

    def finish(self) -> None:
        """Have the unit forget the domain, and only then give its tables back."""
        self._iommu.detach(self)
        self._tables.free()

    def forget(self) -> None:
        """Have the unit forget every translation of the domain."""
        self._owes = True
        self._unit.invalidate((self._all, 0))
        self._owes = False
        self._tables.give_dropped()

    def _forget_ranges(self, ranges: Sequence[Range], *, wait: bool = True) -> None:
        """Have the unit forget these, each as the smallest aligned block that has all of it."""
        descriptors: list[tuple[int, int]] = []
        if self._owes:
            self.forget()
            return
        for start, end in ranges:
            mask = ((start ^ end - 1) >> 12).bit_length()
            if mask > self._mask_max or len(descriptors) == MANY:
                self.forget()
                return
            descriptors.append((self._pages, start & -(PAGE_SIZE << mask) | mask))
        self._owes = True
        self._ticket = self._unit.post(*descriptors)
        self._owes, self._posted = False, True
        if wait or self._tables.dropped:
            self.settle()
            self._tables.give_dropped()

    def _check(self, addr: int, page: int, size: int) -> None:
        if not self.attached or (addr | page | size) & 0xFFF or size <= 0:
            why = "it is detached" if not self.attached else "no whole pages"
        elif addr >= 0 and addr + size <= self._limit and page >= 0:
            return
        else:
            why = f"the IOMMU has {self._limit.bit_length() - 1} address bits"
        raise BadDma(
            f"bus addresses [{addr:#x}, {addr + size:#x}) of {self.address}",
            why,
            "grant and revoke whole pages, below the limit, while attached",
        )


def _levels(sagaw: int) -> int:
    """The fewest levels of the depths that a unit has (SAGAW): the fewest accesses for it."""
    for bit in (1, 2, 3):
        if sagaw >> bit & 1:
            return bit + 2
    raise HostRefused(
        "starting the IOMMU", f"it has tables of no known depth (SAGAW {sagaw:#x})", "do without"
    )
