"""INTx of a claim: a level-triggered line that other functions may share.

The line is masked when it fires.  Then, before any client code runs:

    with a shim      the shim finds out whether it is ours and acknowledges at the device
    with PCI 2.3     the status register says so, and the INTx disable bit quiets the device;
                     `unmask` clears the bit again
    with neither     nobody can tell: the event is delivered and holds the line until `unmask`

A function that has a line to itself, without a shim, need not be asked nor quieted: its event
holds the line, which costs no access to the device at all.
"""

from __future__ import annotations

import logging
import time

from rumpci import pcireg as pr
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.message import Read, Write
from rumpci.guard.router import Router
from rumpci.guard.shim import BarLimits
from rumpci.guard.shimrun import ShimRunner
from rumpci.host import Function, IntrType
from rumpci.machines.machine import Machine

log = logging.getLogger("rumpci.guard")

STORM_LIMIT = 10_000
"""So many events in a row, each right after the last was handled, are a storm."""
_PAUSE_NS = 100_000
"""After so long, what has no interrupt status bit had been quiet when it was unmasked."""


class IntxInterrupt(GuardInterrupt):
    """The seam's Interrupt for a function's INTx; `limits` bound its shim."""

    type = IntrType.INTX

    def __init__(
        self, router: Router, machine: Machine, function: Function, limits: dict[int, BarLimits]
    ) -> None:
        at = function.address
        self._read: Read = lambda reg: machine.conf_read(at, reg)
        self._write: Write = lambda reg, value: machine.conf_write(at, reg, value)
        self._pin = router.controller.pin(at, (self._read(pr.PCI_INTERRUPT_REG) >> 8 & 0xFF) - 1)
        super().__init__(router, at, 0, f"{router.controller.name} pin {self._pin}")
        bars = {bar: machine.bar(at, bar) for bar in limits}
        self._shim = ShimRunner(bars, limits, lambda: self._read(pr.PCI_COMMAND_STATUS_REG))
        self._can_disable = self._try_disable_bit()
        self._held = False
        self._tells = self._can_disable  # whether its status bit is asked at every interrupt
        self.in_a_row = self._unmasked_at = 0
        self.stormed = False

    def unmask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("unmasking")
            self.masked = self._held = False
            if self._tells:
                quiet = not self._disable(False) & pr.PCI_STATUS_INT_STATUS
            else:
                look = self._can_disable and self.in_a_row > STORM_LIMIT // 2
                quiet = look and not self.pending()
            if quiet:
                self.in_a_row = 0  # the handler made it so
            self._unmasked_at = time.monotonic_ns()
            self._router.end(self._pin)

    def mask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("masking")
            self.masked = True
            if self._tells:
                self._disable(True)
            else:
                self._held = True
                self._router.hold(self._pin)

    def pending(self) -> bool:
        """See host.Interrupt."""
        self._check_allocated("asking")
        return bool(self._read(pr.PCI_COMMAND_STATUS_REG) & pr.PCI_STATUS_INT_STATUS)

    # ---- what the line calls ---------------------------------------------------------

    def take(self, count: int) -> bool:
        """See router.Member."""
        if not self._tells and time.monotonic_ns() - self._unmasked_at > _PAUSE_NS:
            self.in_a_row = 0
        if self.masked:
            return self._held  # it waits for `unmask`; with the disable bit it was not this one
        ours, status = self._acknowledge()
        if ours:
            self.in_a_row += 1
            if self.in_a_row > STORM_LIMIT:
                self._storm()
            else:
                self.post(count, status)
        return ours

    def holds(self) -> bool:
        """See router.Member."""
        return self._held

    def give_up(self) -> bool:
        """See router.Member: its shim says that it is not ours, its status register that it is."""
        if self.masked or not self._can_disable or not self.pending():
            return False
        self.stormed = self.masked = True
        self._disable(True)
        log.warning("%s asserts its line and its shim takes nothing: it is masked", self)
        return True

    def _acknowledge(self) -> tuple[bool, tuple[int, ...]]:
        """Whether it is ours; the device is quiet, or the line held, afterwards."""
        if self._shim.loaded:
            return self._shim.run()
        if not self._tells:
            self._held = True
            return True, ()
        before = self._read(pr.PCI_COMMAND_STATUS_REG)
        if not before & pr.PCI_STATUS_INT_STATUS:
            return False, ()
        self.masked = True
        self._disable(True, before)
        return True, ()

    def _storm(self) -> None:
        self.stormed = self.masked = True
        if self._tells:
            self._disable(True)
        else:
            self._held = True
        log.warning(
            "%s interrupted %d times in a row without a pause: it is masked until it is unmasked",
            self, STORM_LIMIT,
        )  # fmt: skip

    def _quiet(self) -> None:
        if not self.masked:
            self.in_a_row = 0

    # ---- starting and stopping ----------------------------------------------------------

    def _start(self, shim: bytes | None) -> None:
        self._shim.load(shim, str(self))
        self._held, self.in_a_row, self.stormed = False, 0, False
        alone = not self._shim.loaded and self._router.is_alone(self._pin, self.address)
        self._tells = self._can_disable and not alone
        if self._can_disable:
            self._disable(False)
        self._router.join(self._pin, self)

    def _stop(self) -> None:
        if self._can_disable:
            self._disable(True)
        self._held = False
        self._router.leave(self._pin, self)

    def _try_disable_bit(self) -> bool:
        """Whether the function has the INTx disable bit (PCI 2.3); it is left set."""
        self._disable(True)
        return bool(self._read(pr.PCI_COMMAND_STATUS_REG) & pr.PCI_COMMAND_INTERRUPT_DISABLE)

    def _disable(self, on: bool, before: int | None = None) -> int:
        """Set or clear INTx disable; returns command and status as they were (`before`: known)."""
        if before is None:
            before = self._read(pr.PCI_COMMAND_STATUS_REG)
        command = before & 0xFFFF
        command &= ~pr.PCI_COMMAND_INTERRUPT_DISABLE
        command |= pr.PCI_COMMAND_INTERRUPT_DISABLE if on else 0
        self._write(pr.PCI_COMMAND_STATUS_REG, command)
        return before
