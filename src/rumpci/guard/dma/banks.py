"""Which bank is whose: a bank is one owner's for good, and one claim's at a time.

A process that had a bank's descriptor may have it still, or have the bank
mapped, long after its claim ended; so a bank never changes its owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rumpci.errors import NoDmaMemory
from rumpci.guard.dma.pool import Pool
from rumpci.host import Address
from rumpci.machines.machine import Bank


@dataclass
class _Lent:
    """A bank that somebody has had: its owner, its last function, whether a claim has it now."""

    pool: Pool
    owner: str
    device: Address
    taken: bool = True


class Banks:
    """The banks of a machine."""

    def __init__(self, banks: Sequence[Bank]) -> None:
        self._fresh, self._count = list(banks), len(banks)
        self._lent: list[_Lent] = []

    def take(self, owner: str, device: Address) -> Pool:
        """A bank of zeros for a claim of `device`.  Raises NoDmaMemory (ENOMEM).

        The one that the function had before, if it can be: without an IOMMU some of it may
        still be kept for the function.
        """
        own = [lent for lent in self._lent if lent.owner == owner and not lent.taken]
        own.sort(key=lambda lent: lent.device != device)
        if not own:
            return self._first(owner, device)
        lent = own[0]
        lent.pool.clear()
        lent.taken, lent.device = True, device
        return lent.pool

    def _first(self, owner: str, device: Address) -> Pool:
        if not self._fresh:
            raise NoDmaMemory(
                f"a bank of memory for {device}, which {owner} is to have",
                f"{self._count} banks, and none is free that was not another's"
                if self._count
                else "the machine has no banks",
                "open the host with a larger banks=",
            )
        pool = Pool.of_bank(self._fresh[0])
        del self._fresh[0]
        self._lent.append(_Lent(pool, owner, device))
        return pool

    def give(self, pool: Pool) -> None:
        """A claim ended: the bank is its owner's to take again."""
        for lent in self._lent:
            if lent.pool is pool:
                lent.taken = False

    def pools(self) -> Iterator[Pool]:
        """Of every bank that somebody has had."""
        return (lent.pool for lent in self._lent)

    def close(self) -> None:
        """Let the memory go."""
        for pool in self.pools():
            pool.close()
