"""What a machine is: raw hardware access with no protection at all.

The guard turns a machine into a host.  Nothing but the guard (and a machine's
own tests) may hold one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from rumpci._native import Mapping
from rumpci.errors import MachineDied
from rumpci.host import Address, Feature, Function
from rumpci.host_dma import Direction, Grant
from rumpci.host_platform import PlatformDevice


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
    `unmask_line`; a message (MSI, MSI-X) is not.  `vectors` are for messages: where it is
    empty there are none.
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


@dataclass(frozen=True)
class Bank:
    """Memory in a file of its own: the `size` bytes of `fd`, at physical addresses from `start`.

    Whole pages, zeros at first; no other memory can be reached by the descriptor.  Pages that
    are not adjacent are where `extents` say, all of them, and not at `start`.
    """

    fd: int
    start: int
    size: int
    extents: Sequence[Extent] = ()


@runtime_checkable
class Mortal(Protocol):
    """A machine that is a program, which may end."""

    ended: int
    """A descriptor that polls readable once it has (pidfd_open(2))."""

    def death(self) -> MachineDied:
        """Why it ended, with its last words."""


class Memory(Protocol):
    """The machine's memory: `size` bytes, at their physical addresses in the file `fd`.

    `usable` are the ranges [start, end) that are not the machine's own, whole pages.
    `banks` are memory besides, for processes that get its descriptor.
    """

    fd: int
    size: int
    usable: Sequence[tuple[int, int]]
    banks: Sequence[Bank]


class Extent(NamedTuple):
    """`size` bytes that are adjacent from `start` on in physical memory, at `offset` in a file."""

    start: int
    offset: int
    size: int


@runtime_checkable
class Wired(Protocol):
    """Memory of a running system: wherever its pages happen to be, while they stay there.

    `extents` are all of it, and say where in the file they are.
    """

    extents: Sequence[Extent]

    def admit(self, device: Address) -> None:
        """Raise NoDmaMemory (ENOMEM), with the reason, if the function can have none of it."""

    def check(self, start: int, size: int) -> None:
        """Raise NoDmaMemory (ENOMEM) if what was at [start, start + size) was moved."""


class PageSource(Protocol):
    """Where an IOMMU takes the pages of its tables from; a page is its physical address."""

    def take(self) -> int:
        """One page of zeros.  Raises NoDmaMemory (ENOMEM)."""

    def give(self, page: int) -> None:
        """Give one back."""


@dataclass(frozen=True)
class IommuFault:
    """One blocked access as the IOMMU recorded it.

    `source` is the requester id (bus << 8 | device << 3 | function); `write` is the
    device's view; `lost` says that more happened than could be recorded.
    """

    source: int
    addr: int
    write: bool
    reason: str
    lost: bool = False


class Domain(Protocol):
    """The bus addresses of one function, from `Iommu.attach` to `detach`: nothing at first."""

    def grant(self, addr: int, page: int, size: int, direction: Direction) -> None:
        """Let [addr, addr + size) reach memory from `page` on, in this direction only.

        All are multiples of the page size.  What was granted there before is replaced.
        Raises NoDmaMemory (ENOMEM), and then nothing more is granted: what was granted
        there is as before, or gone unless it is one page; elsewhere nothing changes.
        """

    def revoke(self, ranges: Sequence[tuple[int, int]], *, wait: bool = True) -> None:
        """Let nothing through at these (addr, size) any more: when it returns, nothing gets.

        Unless it is not to `wait`: then nothing gets through when `settle` returns.  If
        either raises, the next call makes sure of these, too, whatever it is for.
        """

    def settle(self) -> None:
        """Return when everything that was revoked is out of reach."""

    def detach(self) -> None:
        """Revoke everything and give the tables back.  Doing it twice does nothing."""


class Iommu(Protocol):
    """What stands between the functions and memory.

    `address_bits` is the width of a bus address, `reserved` the ranges [start, end) of
    bus addresses that never reach memory (interrupt messages).
    """

    name: str
    address_bits: int
    reserved: Sequence[tuple[int, int]]

    def start(self, pages: PageSource) -> None:
        """Translate from here on: no function reaches memory until it is attached."""

    def attach(self, address: Address, pages: PageSource | None = None) -> Domain:
        """Give a function a domain of its own, with nothing in it; its tables are of `pages`.

        None: where all other pages are from.  Raises DeviceBusy (EBUSY) if it shares its
        requester id with one that is attached.
        """

    def requester(self, address: Address) -> int:
        """The requester id that a function's accesses carry."""

    def faults(self) -> list[IommuFault]:
        """The faults since the last call; costs next to nothing when there is none."""

    def entries(self) -> Iterator[Grant]:
        """Every leaf of every table, read from the tables as the unit reads them."""

    def entries_from(
        self, place: tuple[int, int], devices: Collection[Address] | None
    ) -> Iterator[tuple[int, Grant]]:
        """As `entries`, with their requester ids, from (requester id, bus address) on.

        Of these functions only, unless `devices` is None; no other's table is read.
        """


class Machine(Protocol):
    """Configuration space and BARs of every function, by address.

    `reset_seconds` is how long a function may take to answer after a reset (PCI
    Express 4.0, 6.6.2: 0.1 for a real one).
    """

    url: str
    features: Feature
    reset_seconds: float

    @property
    def interrupts(self) -> InterruptController:
        """The interrupt controller."""

    @property
    def memory(self) -> Memory:
        """The memory that devices reach."""

    @property
    def iommu(self) -> Iommu | None:
        """The IOMMU, or None: then a bus address is a physical address."""

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


@runtime_checkable
class TakesBack(Protocol):
    """A machine that can take the memory of a BAR back from processes that have it mapped."""

    def take_back(self, address: Address, index: int) -> None:
        """Let a BAR go on with what its memory holds, and every descriptor of it reach scrap.

        No mapping of the machine's own may be left.
        """


@runtime_checkable
class HandsOut(Protocol):
    """A machine that has to get a function before it can be used, and may not get it."""

    def open_function(self, address: Address, who: str) -> None:
        """Get a function for `who`.  Raises DeviceBusy, HostUnavailable, HostRefused."""

    def close_function(self, address: Address) -> None:
        """Let it go.  Doing it twice does nothing."""


@runtime_checkable
class HasPlatform(Protocol):
    """A machine with devices that are not PCI, by their names."""

    def platform(self) -> Sequence[PlatformDevice]:
        """All of them."""

    def platform_bar(self, name: str, index: int) -> BarAccess:
        """Access to a range of one that has it."""

    def map_platform(
        self, name: str, index: int, offset: int, size: int, *, writable: bool
    ) -> Mapping | None:
        """As `Machine.map_bar`; the mapping's first byte is the window's."""

    def platform_pin(self, name: str) -> int | None:
        """The pin that is its interrupt's, and no other device's; None: it has none."""

    def open_platform(self, name: str, who: str) -> None:
        """As `HandsOut.open_function`."""

    def close_platform(self, name: str) -> None:
        """As `HandsOut.close_function`."""
