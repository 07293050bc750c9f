"""Where an allocation goes: bus addresses that keep its constraints, and pages behind them.

With an IOMMU, bus addresses and pages are chosen apart; without one they are
the same.  In scatter mode an allocation comes in as many segments as it may.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from rumpci.errors import BadDma, NoDmaMemory
from rumpci.guard.dma.pool import Pool, Run
from rumpci.guard.dma.space import Space
from rumpci.host import Address
from rumpci.host_dma import PAGE_SIZE, MemorySpec, Segment
from rumpci.machines.machine import Domain, Iommu, Wired

_GAP = 1  # pages between two uses of bus addresses, so that running over an end is a fault


@dataclass(frozen=True)
class Place:
    """What was chosen: segments on the bus, and the runs of memory behind them, in order."""

    segments: tuple[Segment, ...]
    runs: tuple[Run, ...]


class Placing(Protocol):
    """How one function's allocations are placed: in the memory of `pool`."""

    pool: Pool

    def admit(self) -> None:
        """Raise NoDmaMemory (ENOMEM), with the reason, if the function can have none at all."""

    def place(self, spec: MemorySpec, lengths: list[int]) -> Place | None:
        """Segments of `lengths` bytes, or None if there is no room for so long ones."""

    def reserve(self, spec: MemorySpec) -> Place | None:
        """A segment on the bus, and no memory behind it; None where one is the other."""

    def free(self, place: Place) -> None:
        """Give a place back."""

    def end(self, *, quiet: bool) -> None:
        """All was given back; `quiet`: the function was shown to be still."""


class Translated:
    """Behind an IOMMU: bus addresses of the function's own, pages from anywhere."""

    def __init__(self, pool: Pool, space: Space) -> None:
        self.pool, self._space = pool, space

    def admit(self) -> None:
        """See Placing: behind an IOMMU, everybody can."""

    def place(self, spec: MemorySpec, lengths: list[int]) -> Place | None:
        """See Placing."""
        starts = _take_all(lengths, lambda size: self._take(spec, size), self._give)
        if starts is None:
            return None
        try:
            runs = self.pool.gather(sum(lengths))
        except BaseException:
            for start, size in zip(starts, lengths, strict=True):
                self._give(start, size)
            raise
        return Place(tuple(map(Segment, starts, lengths)), tuple(runs))

    def reserve(self, spec: MemorySpec) -> Place | None:
        """See Placing."""
        start = self._take(spec, spec.size)
        return None if start is None else Place((Segment(start, spec.size),), ())

    def free(self, place: Place) -> None:
        """See Placing."""
        self.pool.put(place.runs)
        for start, size in place.segments:
            self._give(start, size)

    def end(self, *, quiet: bool) -> None:
        """See Placing: nothing is granted, so nothing is reached."""

    def _take(self, spec: MemorySpec, size: int) -> int | None:
        low, high = -(-spec.low // PAGE_SIZE), (spec.high + 1) // PAGE_SIZE
        align = max(1, spec.alignment // PAGE_SIZE)
        start = self._space.take(size // PAGE_SIZE + _GAP, align, low, high + _GAP)
        return None if start is None else start * PAGE_SIZE

    def _give(self, start: int, size: int) -> None:
        self._space.give(start // PAGE_SIZE, size // PAGE_SIZE + _GAP)


class Identity:
    """Without an IOMMU: a bus address is the physical address.

    `pools` are all that the function may have had memory of before; `wired` says whether
    it may have any.
    """

    def __init__(
        self, pool: Pool, owner: Address, pools: Iterable[Pool] = (), wired: Wired | None = None
    ) -> None:
        self.pool, self._owner, self._pools = pool, owner, {pool, *pools}
        self._wired = wired

    def admit(self) -> None:
        """See Placing."""
        if self._wired:
            self._wired.admit(self._owner)

    def place(self, spec: MemorySpec, lengths: list[int]) -> Place | None:
        """See Placing."""
        starts = _take_all(lengths, lambda size: self._take(spec, size), self._give)
        if starts is None:
            return None
        segments = tuple(map(Segment, starts, lengths))
        return Place(segments, tuple((start, size) for start, size in segments))

    def reserve(self, spec: MemorySpec) -> Place | None:
        """See Placing."""
        del spec
        return None

    def free(self, place: Place) -> None:
        """See Placing: the function may still write it, so it stays the function's."""
        self.pool.put(place.runs, self._owner)

    def end(self, *, quiet: bool) -> None:
        """See Placing."""
        if quiet:
            for pool in self._pools:
                pool.settle(self._owner)

    def _take(self, spec: MemorySpec, size: int) -> int | None:
        run = self.pool.take_run(size, spec.alignment, spec.low, spec.high, self._owner)
        return run and run[0]

    def _give(self, start: int, size: int) -> None:
        self.pool.put([(start, size)], self._owner)


def placed(placing: Placing, spec: MemorySpec, scatter: random.Random | None) -> Place:
    """Place an allocation as `spec` wants it.  Raises BadDma (EINVAL), NoDmaMemory (ENOMEM)."""
    pages = check_spec(spec)
    most = min(spec.nsegs, pages)
    count = most if scatter else 1
    while True:
        place = placing.place(spec, _lengths(pages, count, scatter))
        if place is not None:
            return place
        if count >= most:
            raise NoDmaMemory(
                _tried(spec), "nothing free satisfies that", "free some, or allow more segments"
            )
        count = min(2 * count, most)


def check_spec(spec: MemorySpec) -> int:
    """The pages that it takes.  Raises BadDma (EINVAL) for what cannot be met, ever."""
    why = ""
    if spec.size <= 0 or spec.nsegs < 1:
        why = "there has to be a byte and a segment at least"
    elif spec.alignment < 0 or spec.alignment & (spec.alignment - 1):
        why = f"alignment {spec.alignment:#x} is no power of two"
    elif spec.boundary < 0 or spec.boundary & (spec.boundary - 1):
        why = f"boundary {spec.boundary:#x} is no power of two"
    elif 0 < spec.boundary < spec.size:
        why = f"boundary {spec.boundary:#x} is below the size"
    elif not 0 <= spec.low <= spec.high:
        why = f"there are no addresses from {spec.low:#x} to {spec.high:#x}"
    elif spec.alignment > spec.high:
        why = f"no address up to {spec.high:#x} is a multiple of {spec.alignment:#x} but 0"
    if why:
        raise BadDma(_tried(spec), why, "see bus_dmamem_alloc in bus_dma(9)")
    return -(-spec.size // PAGE_SIZE)


def _tried(spec: MemorySpec) -> str:
    return (
        f"allocating {spec.size} bytes for {spec.name!r} (alignment {spec.alignment:#x}, boundary "
        f"{spec.boundary:#x}, at most {spec.nsegs} segments, [{spec.low:#x}, {spec.high:#x}])"
    )


def _lengths(pages: int, count: int, scatter: random.Random | None) -> list[int]:
    """`count` lengths in bytes, together `pages` pages: alike, or as chance has it."""
    if scatter is None:
        cuts = [pages * i // count for i in range(1, count)]
    else:
        cuts = sorted(scatter.sample(range(1, pages), count - 1))
    ends = [*cuts, pages]
    return [PAGE_SIZE * (end - start) for start, end in zip([0, *cuts], ends, strict=True)]


def _take_all(
    lengths: list[int], take: Callable[[int], int | None], give: Callable[[int, int], None]
) -> list[int] | None:
    """Take each length, or none of them."""
    starts = list[int]()
    for size in lengths:
        start = take(size)
        if start is None:
            for taken, length in zip(starts, lengths, strict=False):
                give(taken, length)
            return None
        starts.append(start)
    return starts


def bus_space_of(iommu: Iommu) -> Space:
    """All bus addresses of a function, but page 0 (which reads as "none") and the reserved."""
    space, at = Space(), 1
    for start, end in sorted(iommu.reserved):
        space.add(at, start // PAGE_SIZE)
        at = -(-end // PAGE_SIZE)
    space.add(at, 1 << iommu.address_bits - PAGE_SIZE.bit_length() + 1)
    return space


class NoDomain:
    """The domain of a function on a machine without an IOMMU: it reaches everything."""

    def __init__(self, wired: Wired | None = None) -> None:
        self._wired = wired

    def grant(self, addr: int, page: int, size: int, direction: object) -> None:
        """Nothing to do but to see that the page is still there: see Domain."""
        del addr, direction
        if self._wired:
            self._wired.check(page, size)

    def revoke(self, ranges: object, *, wait: bool = True) -> None:
        """Nothing can be done: see Domain."""

    def settle(self) -> None:
        """Nothing to wait for: see Domain."""

    def detach(self) -> None:
        """Nothing to do: see Domain."""


_: type[Domain] = NoDomain
