"""A claimed function (rule 1): configuration space, windows, interrupts, DMA, until release."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rumpci._native import Mapping
from rumpci.errors import MachineDied
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.holding import Holding
from rumpci.guard.interrupts import Interrupts
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Kind, Recorder
from rumpci.guard.router import Router
from rumpci.host import Address, Function
from rumpci.machines.machine import BarAccess, Machine, TakesBack


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


class GuardClaim(Holding[GuardInterrupt]):
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
        self._attach(mirror, private)

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

    def release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if self._released:
                return
            self._released = True
            with contextlib.ExitStack() as stack:  # each step, whatever the others raise
                stack.callback(self._on_release, self)
                stack.callback(self._take_back)
                self._end("the device was detached", self._mask)

    def _take_back(self) -> None:
        """Leave nothing in the hands of a process that was given the memory of a BAR."""
        if isinstance(self._machine, TakesBack):
            for bar in self._lent:
                self._machine.take_back(self.function.address, bar)

    def _mask(self) -> None:
        with contextlib.suppress(MachineDied):
            self.interrupts.release()

    def _quarantining(self) -> Quarantine:
        return Quarantine(
            self._reach.conf_read,
            self._guard_write,
            self._config.caps,
            self._machine.reset_seconds,
            self._command_lock,
        )

    def _guard_write(self, reg: int, value: int) -> None:
        """Write configuration space for the guard itself."""
        self._reach.conf_write(reg, value)
        self._recorder.note(Kind.GUARD_WRITE, self._source, 0, reg, 4, value)
