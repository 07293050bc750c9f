"""The seam: what gives a driver process its devices.

    driver -> manual-page modules -> [ Host -> Claim -> Window ] -> whatever keeps control

Device, BAR and offset cross this seam; addresses do not.  Every operation is
thread-safe; none calls back.  The operations that may block say so.  Hosts
are equal siblings, and what wraps a host (a tracer, a checker) is a host too.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from rumpci._event import Event as Event
from rumpci._native import Mapping
from rumpci.errors import BadURL

if TYPE_CHECKING:
    from rumpci.host_dma import (
        DmaInfo,
        DmaMap,
        DmaMemory,
        DmaUsage,
        Fault,
        Grant,
        MapSpec,
        MemorySpec,
    )

SEAM_VERSION = 2
"""Raised whenever an operation changes its meaning."""


class Feature(enum.Flag):
    """What a host can do; shown by the command line and by skip reasons."""

    NONE = 0
    MEMSPACE = enum.auto()  # memory BARs
    IOSPACE = enum.auto()  # I/O-port BARs, with no I/O privilege
    MAPPED = enum.auto()  # some windows are plain memory: no call per access
    TRAPPED = enum.auto()  # some windows cost a call per access
    EXTCONF = enum.auto()  # 4 KiB of configuration space
    DMA = enum.auto()  # devices may be bus masters
    IOMMU = enum.auto()  # a device reaches only what its maps grant; without: anything


class Space(enum.Enum):
    """The two address spaces a BAR can be in."""

    MEM = "mem"
    IO = "i/o"


class Address(NamedTuple):
    """Where a function is: segment, bus, device (0-31), function (0-7).

    It is the field's BDF, and the `pcitag_t` of pci(9).  It sorts in bus order.
    """

    segment: int
    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[SSSS:]BB:DD.F`, in hexadecimal.  Raises BadURL (EINVAL)."""
        found = re.fullmatch(
            r"(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])", text, re.I
        )
        if not found:
            raise BadURL(
                f"address {text!r}",
                "not of the form [SSSS:]BB:DD.F",
                "write it as `rumpci list` does, for example 00:02.0",
            )
        segment, bus, device, function = (int(part or "0", 16) for part in found.groups())
        return cls(segment, bus, device, function)


@dataclass(frozen=True)
class Bar:
    """One base address register as the machine's firmware (or kernel) left it.

    `index` is 0-5; `base` is the bus address in the register and is for
    display only: nothing takes it back.  `size` is in bytes.
    """

    index: int
    space: Space
    base: int
    size: int
    width64: bool = False
    prefetchable: bool = False


@dataclass(frozen=True)
class Function:
    """One PCI function as the host lists it.

    `header` is the header type (0 device, 1 PCI-PCI bridge, 2 CardBus);
    `secondary` is the bus behind a bridge; `claimed_by` names who holds it.
    """

    address: Address
    id: int
    class_: int
    header: int
    bars: tuple[Bar, ...] = ()
    secondary: int | None = None
    claimed_by: str | None = None

    @property
    def is_bridge(self) -> bool:
        """Whether this function leads to another bus or is a bridge by class (0x06)."""
        return self.header != 0 or self.class_ >> 24 == 0x06

    def bar(self, index: int) -> Bar | None:
        """Base address register `index` (0-5), or None if it is not implemented."""
        return next((bar for bar in self.bars if bar.index == index), None)


@dataclass(frozen=True)
class Holder:
    """Who holds one function, as far as the host tells.

    `who` is the name that it was claimed for, `pid` and `uid` the process and its user; all
    None if nobody holds it, or if that is not told.  `allowed`: whether it is ours to claim.
    """

    address: Address
    claimed: bool = False
    who: str | None = None
    pid: int | None = None
    uid: int | None = None
    allowed: bool = True


class IntrType(enum.Enum):
    """How a function interrupts."""

    INTX = "intx"
    MSI = "msi"
    MSIX = "msix"


@dataclass(frozen=True)
class InterruptInfo:
    """One row of a host's interrupts, for tools.

    `who` holds it ("" nobody); `state` is free, allocated, established, masked,
    storm, or unclaimed (it fired, nobody has it, and it was disabled); `count` is
    how often it fired; `vectors` are the messages that the function could have.
    """

    address: Address
    name: str
    who: str
    state: str
    count: int = 0
    vectors: dict[str, int] = field(default_factory=dict)


class Interrupt(Protocol):
    """One interrupt of a claimed function, from `Claim.intr_alloc` to `intr_release`.

    `index` is the vector's number in the function (0 for INTx); `name` is as
    NetBSD prints it, such as "msix0 vec 1" or "ioapic0 pin 22".
    """

    type: IntrType
    index: int
    name: str

    def fileno(self) -> int:
        """A descriptor that polls readable when there may be events; for select, epoll, asyncio."""

    def establish(self, shim: bytes | None = None) -> None:
        """Let it fire.  A shim (docs/shim.md) acknowledges while the line is masked; INTx only.

        Raises InterruptBusy, NotAllocated, NotEnabled, BadShim.
        """

    def read(self) -> list[Event]:
        """The events so far, the oldest first; empty if there are none.  Never blocks."""

    def ready(self) -> bool:
        """Whether `read` would find something, as far as can be told without a system call.

        From here on the descriptor may stay silent: who asks goes on asking, until
        `read` or `arm`.
        """

    def arm(self) -> bool:
        """Let the descriptor tell again; whether `read` would find something already."""

    def unmask(self) -> None:
        """Let it fire again after its event was handled."""

    def mask(self) -> None:
        """Keep it from firing.  Raises NotSupported (EOPNOTSUPP) for MSI without masking."""

    def pending(self) -> bool:
        """Whether the device wants to interrupt while it is masked."""

    def disestablish(self) -> None:
        """Stop it; events that were not read are gone.  Doing it twice does nothing."""


class Window(Protocol):
    """The right to touch `size` bytes of one BAR from `offset` on.

    Positions are bytes from the window's start.  A dead window (unmapped,
    released, reset, unplugged) raises DeadWindow from every operation but
    `unmap`.
    """

    label: str
    bar: int
    space: Space
    offset: int
    size: int
    writable: bool

    @property
    def mapping(self) -> Mapping | None:
        """The part of this window that is plain memory here, if any; revoked at death."""

    def read(self, position: int, width: int) -> int:
        """Make one read of `width` (1, 2, 4, 8) bytes.  May block for the device.

        Raises OutOfWindow, BadAccess, ProtectedRange, DeadWindow, MachineDied.
        """

    def write(self, position: int, width: int, value: int) -> None:
        """Make one write; it may be posted, but is never reordered against a later access.

        Raises as `read`, and ReadOnlyWindow, ValueTooWide.
        """

    def read_many(self, position: int, width: int, count: int, step: int) -> bytes:
        """Make `count` reads, `step` bytes apart (0: the same register), in order.

        Returns the values as little-endian elements of `width` bytes.
        """

    def write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        """Make one write per `width` bytes of `data`, `step` bytes apart, in order."""

    def barrier(self) -> None:
        """Return when every earlier write has reached the device.  May block."""

    def present(self) -> bool:
        """Whether the function still answers and decodes this window's space."""

    def unmap(self) -> None:
        """Give the right back.  Raises DeadWindow if it is gone already."""


class Claim(Protocol):
    """One function held by one client, from `Host.claim` to `release`."""

    function: Function

    def conf_read(self, reg: int) -> int:
        """Read 32 bits of configuration space at `reg` (a multiple of 4).

        What belongs to the guard is virtual.  Raises BadRange, DeadWindow.
        """

    def conf_write(self, reg: int, value: int) -> None:
        """Write 32 bits of configuration space; bits that are not the client's stay.

        Raises BadRange, ValueTooWide, DeadWindow.
        """

    def window(self, bar: int, offset: int, size: int, *, writable: bool = True) -> Window:
        """Map a window.  Raises NoSuchBar, BadRange, ProtectedRange, DeadWindow."""

    def intr_count(self, type_: IntrType) -> int:
        """How many interrupts of a type the function has; 0 if it has none."""

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[Interrupt]:
        """Take the interrupts with these indices.  Raises NoVectors, InterruptBusy.

        Of MSI they are 0 to n-1, n a power of two.  One type at a time.
        """

    def intr_release(self) -> None:
        """Disestablish and give back every interrupt of the function."""

    def dma_alloc(self, spec: MemorySpec) -> DmaMemory:
        """Take memory for DMA.  Raises BadDma (EINVAL), NoDmaMemory, DmaQuota (ENOMEM)."""

    def dma_map(self, spec: MapSpec) -> DmaMap:
        """Take a map.  Raises BadDma (EINVAL), DmaQuota (ENOMEM)."""

    def dma_faults(self) -> Sequence[Fault]:
        """The function's accesses that were blocked since the last call, the oldest first."""

    def release(self) -> None:
        """Give the function back: it is quieted, every window, interrupt and memory dies.

        Releasing twice does nothing.
        """


class Host(Protocol):
    """A source of devices.  `url` reopens it; `features` says what it can do."""

    url: str
    features: Feature

    def functions(self) -> Sequence[Function]:
        """Every function there is, in bus order, bridges among them."""

    def holders(self) -> Sequence[Holder]:
        """Who holds each function, in bus order, and whether we may."""

    def conf_read(self, address: Address, reg: int) -> int:
        """Read configuration space of any function, claimed or not; absent reads ones.

        Raises BadRange for a `reg` that is not a multiple of 4 below 4096, and for
        an address that no function can have.
        """

    def claim(self, address: Address, who: str) -> Claim:
        """Take a function for `who` (a name to show).  Raises NoSuchDevice, DeviceBusy."""

    def interrupts(self) -> Sequence[InterruptInfo]:
        """Who has which interrupt, how lines are routed, what fired and is nobody's."""

    def dma(self) -> Sequence[DmaInfo]:
        """The mirror: every allocation and every map of every client."""

    def dma_usage(self) -> Sequence[DmaUsage]:
        """What each client holds of its quotas."""

    def dma_check(self) -> Sequence[str]:
        """How the mirror and the IOMMU's tables differ, in words; empty if they do not."""

    def iommu(self) -> Sequence[Grant]:
        """The leaves of the IOMMU's tables, read from the tables; empty without one."""

    def close(self) -> None:
        """Release every claim and let the machine go.  Closing twice does nothing."""
