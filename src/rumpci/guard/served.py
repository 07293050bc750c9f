"""A host that other processes can be served: what `pci4/` and `supervisor/` ask of one.

`Guard` is one, over a machine; a host whose guard is the kernel (`vfio:`) is another.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import Any, Protocol, runtime_checkable

from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.mirror import Place
from rumpci.guard.holding import Holding
from rumpci.guard.recorder import Recorder
from rumpci.host import Address, Host
from rumpci.host_dma import Grant
from rumpci.machines.machine import Mortal


class Books(Protocol):
    """The part of a mirror that is told: see Mirror."""

    def collect(self) -> None:
        """See Mirror."""

    def objects(self, devices: Collection[Address] | None) -> Sequence[GuardMemory | GuardMap]:
        """See Mirror."""

    def grants_from(
        self, place: Place, most: int, devices: Collection[Address] | None
    ) -> tuple[list[Grant], Place | None]:
        """See Mirror."""


@runtime_checkable
class Served(Host, Protocol):
    """The seam's Host, and what whoever serves it has to know besides."""

    recorder: Recorder

    @property
    def mirror(self) -> Books:
        """Its books of DMA."""

    @property
    def private(self) -> bool:
        """Whether there is memory for DMA that can be passed to one process alone (banks)."""

    @property
    def mortal(self) -> Mortal | None:
        """The program behind it, if it may end."""

    def claim(self, address: Address, who: str, *, private: str | None = None) -> Holding[Any]:
        """See host.Host; `private` is the owner of the bank that its DMA memory is to be of."""

    def stop_mastering(self, addresses: Container[Address]) -> None:
        """Let claimed functions start nothing new: whoever had them is gone."""
