"""The mirrors of a host's groups as one, for who serves it to other processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.mirror import Place
from rumpci.host import Address
from rumpci.host_dma import Grant
from rumpci.hosts.vfio.group import Mirrored


class GroupBooks:
    """See guard.served.Books: those of the groups that are open now."""

    def __init__(self, mirrors: Callable[[], Sequence[Mirrored]]) -> None:
        self._mirrors = mirrors

    def collect(self) -> None:
        """See Mirror."""
        for mirror in self._mirrors():
            mirror.collect()

    def objects(self, devices: Collection[Address] | None) -> list[GuardMemory | GuardMap]:
        """See Mirror."""
        return [each for mirror in self._mirrors() for each in mirror.objects(devices)]

    def grants_from(
        self, place: Place, most: int, devices: Collection[Address] | None
    ) -> tuple[list[Grant], Place | None]:
        """See Mirror."""
        found = list[tuple[int, Grant]]()
        with ExitStack() as locked:
            for mirror in self._mirrors():
                locked.enter_context(mirror.lock)
                if mirror.iommu is not None:
                    entries = mirror.iommu.entries_from(place, devices)
                    found += itertools.islice(entries, most + 1)
        found.sort(key=lambda entry: (entry[0], entry[1].addr))
        told = [grant for _, grant in found[:most]]
        if len(found) <= most:
            return told, None
        requester, following = found[most]
        return told, (requester, following.addr)
