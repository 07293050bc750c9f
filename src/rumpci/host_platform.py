"""The seam's part for devices that are not PCI: what a host has and no bus can enumerate.

A host that has such devices is a `PlatformHost` beside being a host.Host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rumpci.host import Bar, Interrupt, Window


@dataclass(frozen=True)
class PlatformDevice:
    """A device that no bus can enumerate: `name` is unique in its host, `bars` are its ranges.

    `wired` is whether it has an interrupt; `claimed_by` names who holds it.
    """

    name: str
    bars: tuple[Bar, ...] = ()
    wired: bool = False
    claimed_by: str | None = None

    def bar(self, index: int) -> Bar | None:
        """The range with this index, or None."""
        return next((bar for bar in self.bars if bar.index == index), None)

    @property
    def address(self) -> str:
        """What to call the place where it is."""
        return self.name


class PlatformClaim(Protocol):
    """One such device held by one client, from `claim_platform` to `release`."""

    function: PlatformDevice

    def window(self, bar: int, offset: int, size: int, *, writable: bool = True) -> Window:
        """Map a window of a range.  Raises NoSuchBar, BadRange, DeadWindow."""

    def intr_alloc(self) -> Interrupt:
        """Its interrupt, the same each time.  Raises NoVectors."""

    def release(self) -> None:
        """Give it back: every window and the interrupt die.  Twice does nothing."""


@runtime_checkable
class PlatformHost(Protocol):
    """A host that has, or could have, devices that are not PCI."""

    def platform(self) -> Sequence[PlatformDevice]:
        """All of them."""

    def claim_platform(self, name: str, who: str) -> PlatformClaim:
        """Take one for `who`.  Raises NoSuchDevice, DeviceBusy."""
