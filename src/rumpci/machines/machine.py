"""What a machine is: raw hardware access with no protection at all.

The guard turns a machine into a host.  Nothing but the guard (and a machine's
own tests) may hold one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rumpci._native import Mapping
from rumpci.host import Address, Feature, Function


class BarAccess(Protocol):
    """Raw access to one BAR; offsets are from its base and are not checked."""

    def read(self, offset: int, width: int) -> int:
        """Make one read of `width` bytes; what nobody answers reads as ones."""

    def write(self, offset: int, width: int, value: int) -> None:
        """Make one write of `width` bytes; it may be posted."""

    def read_many(self, offset: int, width: int, count: int, step: int) -> bytes:
        """Make `count` reads, `step` bytes apart, in order; little-endian elements."""

    def write_many(self, offset: int, width: int, step: int, data: bytes) -> None:
        """Make one write per `width` bytes of `data`, `step` bytes apart, in order."""

    def barrier(self) -> None:
        """Return when every posted write has reached the device."""


class InterruptController(Protocol):
    """What turns a device's interrupts into counts that can be read.

    A vector is a number below 256; a pin is an input for INTx lines, which
    several functions may share.  A line that fires is masked until
    `unmask_line`; a message (MSI, MSI-X) is not.
    """

    name: str
    vectors: range

    def fileno(self) -> int:
        """A descriptor that polls readable when `collect` has something to tell."""

    def collect(self) -> list[tuple[int, int]]:
        """(vector, how many times) of every watched vector that fired since the last call."""

    def fired(self) -> bool:
        """Whether `collect` would tell of something; no system call.

        From here on the descriptor may stay silent: who asks goes on asking, until
        `collect` or `arm`.
        """

    def arm(self) -> bool:
        """Let the descriptor tell again; whether `collect` would tell of something already."""

    def watch(self, vector: int, on: bool) -> None:
        """Start or stop telling of a vector; what fired before is not told."""

    def message(self, vector: int, address: Address) -> tuple[int, int]:
        """(address, data) that the function at `address` must write to fire a vector.

        Of consecutive vectors, the data of the first plus n fires the nth.
        """

    def revoke(self, vector: int) -> None:
        """Let no function fire a vector any more, where the machine can see to that."""

    def pin(self, address: Address, intx: int) -> int:
        """The pin that a function's INTA (0) to INTD (3) is wired to."""

    def line_vector(self, pin: int) -> int:
        """The vector of a pin."""

    def unmask_line(self, pin: int) -> None:
        """Let a line fire; if it is asserted, it does at once."""

    def mask_line(self, pin: int) -> None:
        """Stop a line."""


class Machine(Protocol):
    """Configuration space and BARs of every function, by address."""

    url: str
    features: Feature

    @property
    def interrupts(self) -> InterruptController:
        """The interrupt controller."""

    def conf_read(self, address: Address, reg: int) -> int:
        """Read 32 bits of configuration space; an absent function reads ones."""

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """Write 32 bits of configuration space, unchecked."""

    def functions(self) -> Sequence[Function]:
        """Every function that was found, in bus order, with its BARs as they are assigned."""

    def bar(self, address: Address, index: int) -> BarAccess:
        """Access to base address register `index` (0-5) of a function that has it."""

    def map_bar(
        self, address: Address, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """`size` bytes at `offset` of a BAR as memory, or None where accesses are trapped.

        `at` is the position that the mapping's first byte has in its window; unless it is
        `writable`, its descriptor is for reading only.
        """

    def close(self) -> None:
        """Let the machine go.  Closing twice does nothing."""
