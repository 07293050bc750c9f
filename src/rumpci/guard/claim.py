"""A claimed function (rule 1): configuration space, windows, interrupts, DMA, until release."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

from rumpci._native import Mapping
from rumpci.errors import MachineDied
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.holding import Holding
from rumpci.guard.interrupts import Interrupts
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Kind, Recorder
from rumpci.guard.router import Router
from rumpci.host import Address, Function, IntrType
from rumpci.host_dma import Fault, MapSpec, MemorySpec
from rumpci.machines.machine import BarAccess, Machine, TakesBack

log = logging.getLogger("rumpci.guard")


class _Reach:
    """How a function of a machine is reached: see holding.Reach."""

    def __init__(self, machine: Machine, at: Address) -> None:
        self._machine, self._at = machine, at

    def conf_read(self, reg: int) -> int:
        """See holding.Reach."""
        return self._machine.conf_read(self._at, reg)

    def conf_write(self, reg: int, value: int) -> None:
        """See holding.Reach."""
        self._machine.conf_write(self._at, reg, value)

    def bar(self, index: int) -> BarAccess:
        """See holding.Reach."""
        return self._machine.bar(self._at, index)

    def map_bar(
        self, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See holding.Reach."""
        return self._machine.map_bar(self._at, index, offset, size, at=at, writable=writable)


class GuardClaim(Holding):
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
        # the router changes the command register, too: its lock is the register's
        reach = _Reach(machine, function.address)
        super().__init__(reach, function, who, recorder or Recorder(1), router.lock)
        self._on_release, self._machine = on_release, machine
        self._lent: set[int] = set()
        self.interrupts = Interrupts(router, machine, function, self._config.caps, self._limits)
        self._mirror = mirror
        self.dma = mirror.attach(function.address, who, private)
        self._config.allow_master()

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
                stack.callback(self._windows.end, "the device was detached")

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
