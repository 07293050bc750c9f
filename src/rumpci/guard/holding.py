"""What every claimed function has, whoever gives it, and how that is taken from it again.

`GuardClaim` holds a function of a machine, a claim of a kernel's (VFIO) one that the kernel
hands out; both check the same and have the same words.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol

from rumpci import pcireg as pr
from rumpci._native import Mapping
from rumpci.errors import DeadWindow, MachineDied, ProtectedRange
from rumpci.guard.admit import Range, check_inside, find_bar
from rumpci.guard.config import ConfigSpace
from rumpci.guard.dma.client import Client
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.held import Allocator, H
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Kind, Recorder, source_of
from rumpci.guard.shim import BarLimits
from rumpci.guard.window import GuardWindow, Windows
from rumpci.host import Bar, Function, IntrType, Space
from rumpci.host_dma import Fault, MapSpec, MemorySpec
from rumpci.machines.machine import BarAccess

log = logging.getLogger("rumpci.guard")
_PAGE = 4096


class Reach(Protocol):
    """How one function is reached, unchecked."""

    def conf_read(self, reg: int) -> int:
        """Read 32 bits of its configuration space."""

    def conf_write(self, reg: int, value: int) -> None:
        """Write 32 bits of its configuration space."""

    def bar(self, index: int) -> BarAccess:
        """Access to a BAR that it has."""

    def map_bar(
        self, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See machine.Machine.map_bar."""


class Holding(ABC, Generic[H]):
    """A function that `who` holds, until its subclass sets `_released`.

    The subclass gives it `interrupts`, and calls `_attach`.  `command_lock` is held by whoever
    changes the command register.
    """

    interrupts: Allocator[H]
    dma: Client
    _mirror: Mirror
    _no_answer: tuple[type[Exception], ...] = (MachineDied,)
    """What says, while the function is quieted, that nobody answers any more."""

    def __init__(
        self,
        reach: Reach,
        function: Function,
        who: str,
        recorder: Recorder,
        command_lock: AbstractContextManager[object],
    ) -> None:
        self.function, self.who = function, who
        self._reach, self._recorder = reach, recorder
        self._source = source_of(function.address)
        self._lock, self._command_lock = threading.RLock(), command_lock
        self._windows = Windows(self._lock)
        self._released = False
        self._config = ConfigSpace(function, reach.conf_read, reach.conf_write, who)
        self._closed = self._msix_pages()
        self._limits = {
            bar.index: BarLimits.of(bar, self._closed.get(bar.index, ())) for bar in function.bars
        }

    def conf_read(self, reg: int) -> int:
        """See host.Claim."""
        with self._lock:
            self._check_held("pci_conf_read")
            return self._config.read(reg)

    def conf_write(self, reg: int, value: int) -> None:
        """See host.Claim."""
        with self._lock, self._command_lock:
            self._check_held("pci_conf_write")
            self._config.write(reg, value)
            self._recorder.note(Kind.CONF_WRITE, self._source, 0, reg, 4, value)

    def window(self, bar: int, offset: int, size: int, *, writable: bool = True) -> GuardWindow:
        """See host.Claim."""
        with self._lock:
            self._check_held("mapping")
            found = find_bar(self.function, bar)
            closed = self._check_range(found, offset, size)
            window = GuardWindow(
                self._reach.bar(bar),
                found,
                (offset, size),
                label=f"{self.function.address} BAR{bar}",
                writable=writable,
                closed=closed,
                present=self._present,
                on_unmap=self._windows.forget,
            )
            window.record_into(self._recorder, self.function.address)
            self._map(window, closed)
            self._windows.add(window)
            return window

    def lend(self, bar: int) -> bool:
        """Whether the memory of a BAR may go to another process: here it never does."""
        del bar
        return False

    def intr_count(self, type_: IntrType) -> int:
        """See host.Claim."""
        self._check_held("pci_intr_alloc")
        return self.interrupts.count(type_)

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[H]:
        """See host.Claim."""
        with self._lock:
            self._check_held("pci_intr_alloc")
            return self.interrupts.allocate(type_, indices)

    def intr_release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if self._released:
                return  # they are gone, and the function may be somebody else's
            self.interrupts.release()

    def dma_alloc(self, spec: MemorySpec) -> GuardMemory:
        """See host.Claim."""
        return self.dma.alloc(spec)

    def dma_map(self, spec: MapSpec) -> GuardMap:
        """See host.Claim."""
        return self.dma.map(spec)

    def dma_faults(self) -> list[Fault]:
        """See host.Claim."""
        return self.dma.take_faults()

    # ---- beginning and end -------------------------------------------------------

    def stop_mastering(self) -> None:
        """Let the function start nothing new: its driver is gone, and `release` will follow."""
        with self._lock:
            if not self._released:
                self._quarantining().stop_mastering()

    def _attach(self, mirror: Mirror, private: str | None = None) -> None:
        """Give it DMA, and only then let it be a bus master; see Mirror.attach."""
        self._mirror = mirror
        self.dma = mirror.attach(self.function.address, self.who, private)
        self._config.allow_master()

    def _end(self, why: str, stop: Callable[[], None]) -> None:
        """Take everything from the client; `stop` masks its interrupts."""
        with contextlib.ExitStack() as stack:  # each step, whatever the others raise
            stack.callback(self._quarantine)
            stack.callback(stop)
            stack.callback(self._windows.end, why)

    def _quarantine(self) -> None:
        """Quiet the function, and only then take its DMA from it (rule 9)."""
        quiet = False
        try:
            with contextlib.suppress(*self._no_answer):
                quiet = self._quiet()
        finally:
            self._mirror.detach(self.dma, quiet=quiet)

    def _quiet(self) -> bool:
        """Stop, reset and restore the function; whether it was shown to be still."""
        outcome = self._quarantining().quiet()
        log.info("%s (%s): quarantined: %s", self.who, self.function.address, outcome)
        self._recorder.quarantined(self.function.address, self.who, outcome)
        with self._command_lock:
            self._config.restore()
        return outcome.quiet

    @abstractmethod
    def release(self) -> None:
        """See host.Claim."""

    @abstractmethod
    def _quarantining(self) -> Quarantine:
        """What quiets the function."""

    # ---- helpers -------------------------------------------------------------

    def _check_held(self, tried: str) -> None:
        if self._released:
            raise DeadWindow(
                f"{tried} of {self.function.address}", "the device was detached", "claim it again"
            )

    def _check_range(self, bar: Bar, offset: int, size: int) -> list[Range]:
        """The closed ranges of the BAR, if the window is a good one."""
        tried = check_inside(self.function, bar, offset, size)
        closed = self._closed.get(bar.index, [])
        if any(low <= offset and offset + size <= high for low, high in closed):
            raise ProtectedRange(
                tried,
                "it holds only the MSI-X table, which is the guard's",
                "use pci_msix_alloc to get vectors",
            )
        return closed

    def _map(self, window: GuardWindow, closed: list[Range]) -> None:
        """Give the window plain memory, up to the first closed page, where it can be had."""
        end = min([window.offset + window.size, *(low for low, _ in closed if low > window.offset)])
        inside = any(low <= window.offset < high for low, high in closed)
        if not inside:
            window.mapping = self._reach.map_bar(
                window.bar, window.offset, end - window.offset, at=0, writable=window.writable
            )

    def _present(self, space: Space) -> bool:
        read = self._reach.conf_read
        if read(pr.PCI_ID_REG) == 0xFFFF_FFFF:
            return False
        memory = space is Space.MEM
        needed = pr.PCI_COMMAND_MEM_ENABLE if memory else pr.PCI_COMMAND_IO_ENABLE
        return bool(read(pr.PCI_COMMAND_STATUS_REG) & needed)

    def _msix_pages(self) -> dict[int, list[Range]]:
        """The pages that hold the MSI-X table, by BAR (PCI 3.0, 6.8.2)."""
        offset = self._config.caps.get(pr.PCI_CAP_MSIX)
        if offset is None:
            return {}
        entries = (self._config.read(offset) >> 16 & 0x7FF) + 1
        where = self._config.read(offset + pr.PCI_MSIX_TBLOFFSET)
        start = where & ~pr.PCI_MSIX_TBLBIR_MASK
        low, high = start & -_PAGE, (start + 16 * entries + _PAGE - 1) & -_PAGE
        return {where & pr.PCI_MSIX_TBLBIR_MASK: [(low, high)]}
