"""A claimed function (rule 1): configuration space, windows, interrupts, DMA, until release."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from rumpci import pcireg as pr
from rumpci.errors import DeadWindow, MachineDied, ProtectedRange
from rumpci.guard.admit import Range, check_inside, find_bar
from rumpci.guard.config import ConfigSpace
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.interrupts import Interrupts
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Kind, Recorder, source_of
from rumpci.guard.router import Router
from rumpci.guard.shim import BarLimits
from rumpci.guard.window import GuardWindow
from rumpci.host import Bar, Function, IntrType, Space
from rumpci.host_dma import Fault, MapSpec, MemorySpec
from rumpci.machines.machine import Machine, TakesBack

log = logging.getLogger("rumpci.guard")
_PAGE = 4096


class GuardClaim:
    """The seam's Claim, for `who`; `Guard.claim` makes it and `release` ends it."""

    def __init__(
        self,
        machine: Machine,
        function: Function,
        who: str,
        router: Router,
        mirror: Mirror,
        on_release: Callable[[GuardClaim], None],
        private: str | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.function, self.who = function, who
        self._on_release = on_release
        self._recorder, self._source = recorder or Recorder(1), source_of(function.address)
        self._machine = machine
        self._lock = threading.RLock()
        self._command_lock = router.lock  # the router changes the command register, too
        self._windows: set[GuardWindow] = set()
        self._lent: set[int] = set()
        self._released = False
        at = function.address
        self._config = ConfigSpace(
            function,
            lambda reg: machine.conf_read(at, reg),
            lambda reg, value: machine.conf_write(at, reg, value),
            who,
        )
        self._closed = self._msix_pages()
        limits = {
            bar.index: BarLimits.of(bar, self._closed.get(bar.index, ())) for bar in function.bars
        }
        self.interrupts = Interrupts(router, machine, function, self._config.caps, limits)
        self._mirror = mirror
        self.dma = mirror.attach(at, who, private)
        self._config.allow_master()

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
                self._machine.bar(self.function.address, bar),
                found,
                (offset, size),
                label=f"{self.function.address} BAR{bar}",
                writable=writable,
                closed=closed,
                present=self._present,
                on_unmap=self._forget,
            )
            window.record_into(self._recorder, self.function.address)
            self._map(window, closed)
            self._windows.add(window)
            return window

    def intr_count(self, type_: IntrType) -> int:
        """See host.Claim."""
        self._check_held("pci_intr_alloc")
        return self.interrupts.count(type_)

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[GuardInterrupt]:
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

    def lend(self, bar: int) -> bool:
        """Whether the memory of a BAR may go to another process: then it is taken back at the end.

        All of it has to be the client's, and the machine able to take it back.
        """
        with self._lock:
            self._check_held("passing on")
            fits = isinstance(self._machine, TakesBack) and bar not in self._closed
            if fits:
                self._lent.add(bar)
            return fits

    def dma_alloc(self, spec: MemorySpec) -> GuardMemory:
        """See host.Claim."""
        return self.dma.alloc(spec)

    def dma_map(self, spec: MapSpec) -> GuardMap:
        """See host.Claim."""
        return self.dma.map(spec)

    def dma_faults(self) -> list[Fault]:
        """See host.Claim."""
        return self.dma.take_faults()

    def release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if self._released:
                return
            self._released = True
            with contextlib.ExitStack() as stack:  # each step, whatever the others raise
                stack.callback(self._on_release, self)
                stack.callback(self._take_back)
                stack.callback(self._quarantine)
                for window in list(self._windows):
                    window.kill("the device was detached")
                    stack.callback(self._forget, window)

    def _take_back(self) -> None:
        """Leave nothing in the hands of a process that was given the memory of a BAR."""
        if isinstance(self._machine, TakesBack):
            for bar in self._lent:
                self._machine.take_back(self.function.address, bar)

    def _quarantine(self) -> None:
        """Quiet the function, and only then take its DMA from it (rule 9)."""
        quiet = False
        try:
            with contextlib.suppress(MachineDied):
                quiet = self._quiet()
        finally:
            self._mirror.detach(self.dma, quiet=quiet)

    def stop_mastering(self) -> None:
        """Let the function start nothing new: its driver is gone, and `release` will follow."""
        with self._lock:
            if not self._released:
                self._quarantining().stop_mastering()

    def _quarantining(self) -> Quarantine:
        at, machine = self.function.address, self._machine
        return Quarantine(
            lambda reg: machine.conf_read(at, reg),
            self._guard_write,
            self._config.caps,
            machine.reset_seconds,
            self._command_lock,
        )

    def _quiet(self) -> bool:
        """Stop, reset and restore the function; whether it was shown to be still."""
        at, quarantine = self.function.address, self._quarantining()
        try:
            self.interrupts.release()
        finally:
            outcome = quarantine.quiet()
        log.info("%s (%s): quarantined: %s", self.who, at, outcome)
        self._recorder.quarantined(at, self.who, outcome)
        with self._command_lock:
            self._config.restore()
        return outcome.quiet

    def _guard_write(self, reg: int, value: int) -> None:
        """Write configuration space for the guard itself."""
        self._machine.conf_write(self.function.address, reg, value)
        self._recorder.note(Kind.GUARD_WRITE, self._source, 0, reg, 4, value)

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
        """Give the window plain memory, up to the first closed page, where the machine can."""
        end = min([window.offset + window.size, *(low for low, _ in closed if low > window.offset)])
        if not any(low <= window.offset < high for low, high in closed):
            window.mapping = self._machine.map_bar(
                self.function.address,
                window.bar,
                window.offset,
                end - window.offset,
                at=0,
                writable=window.writable,
            )

    def _forget(self, window: GuardWindow) -> None:
        with self._lock:
            self._windows.discard(window)
            if window.mapping is not None:
                window.mapping.revoke()

    def _present(self, space: Space) -> bool:
        read, at = self._machine.conf_read, self.function.address
        if read(at, pr.PCI_ID_REG) == 0xFFFF_FFFF:
            return False
        memory = space is Space.MEM
        needed = pr.PCI_COMMAND_MEM_ENABLE if memory else pr.PCI_COMMAND_IO_ENABLE
        return bool(read(at, pr.PCI_COMMAND_STATUS_REG) & needed)

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
