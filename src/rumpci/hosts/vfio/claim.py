"""A claimed function: the guard's view of configuration space and windows, the kernel's work."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from rumpci import pcireg as pr
from rumpci.errors import DeadWindow, MachineDied
from rumpci.guard.admit import Range
from rumpci.guard.dma.memory import AdoptedMemory
from rumpci.guard.holding import Holding
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Recorder
from rumpci.guard.shimrun import ShimRunner
from rumpci.guard.window import GuardWindow
from rumpci.host import Function
from rumpci.host_dma import MemorySpec
from rumpci.hosts.vfio.device import Notices, VfioDevice
from rumpci.hosts.vfio.group import Mirrored
from rumpci.hosts.vfio.interrupts import VfioInterrupt, VfioInterrupts
from rumpci.hosts.vfio.region import MappedBar
from rumpci.hosts.vfio.reset import hot_reset, reset_function
from rumpci.machines.machine import Memory

log = logging.getLogger("rumpci.vfio")
_SETTLE = 0.1  # seconds: PCI Express 4.0, 6.6.2; the kernel's own resets wait by themselves


class VfioClaim(Holding[VfioInterrupt]):
    """The seam's Claim over an open device; `on_release` takes it off its host."""

    interrupts: VfioInterrupts
    _mirror: Mirrored
    _no_answer = (MachineDied, OSError)

    def __init__(
        self,
        device: VfioDevice,
        function: Function,
        who: str,
        mirror: Mirrored,
        on_release: Callable[[VfioClaim], None],
        recorder: Recorder,
        unit: Callable[[str], int],
        private: str | None = None,
    ) -> None:
        super().__init__(device, function, who, recorder, threading.RLock())
        self.device, self._on_release = device, on_release
        self._gone = ""
        self.interrupts = VfioInterrupts(device, self._shim_runner, unit)
        self.notices = Notices(device, self.lose)
        self._attach(mirror, private)
        self.adopt_min = mirror.adopt_min

    def conf_write(self, reg: int, value: int) -> None:
        """See host.Claim."""
        with self._lock:
            if self._stops_decoding(reg, value):
                self._windows.trap()
            super().conf_write(reg, value)

    def _map(self, window: GuardWindow, closed: list[Range]) -> None:
        super()._map(window, closed)
        if window.mapping is not None:
            bar = self.device.bar(window.bar)
            window.reach_by(MappedBar(window.mapping, bar, window.offset))

    def dma_adopt(self, address: int, spec: MemorySpec) -> AdoptedMemory:
        """See host_dma.Adopter."""
        return self._mirror.adopt(self.dma, address, spec)

    def reset(self, hot: dict[int, int] | None = None) -> str:
        """Reset the function: its windows and interrupts die, its DMA stays; how it was done.

        With `hot`, our groups' descriptors by number, its whole bus.  Nothing dies if it
        raises: NotSupported (EOPNOTSUPP), DeviceBusy (EBUSY).
        """
        with self._lock:
            self._check_held("resetting")
            how = reset_function(self.device) if hot is None else hot_reset(self.device, hot)
            self._windows.end("the function was reset")
            self.interrupts.release()
            self._config.restore()
            return how

    def lose(self, why: str) -> None:
        """The device goes: everything dies as at `release`, and the kernel has it back at once.

        The driver finds out at its next access; it is called by the thread that listens.
        """
        log.warning("%s: %s; its windows are dead", self.who, why)
        with self._lock:
            if not self._released and not self._gone:
                self._gone = why
                self._let_go(why, self.interrupts.wake)

    def release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if self._released:
                return
            self._released = True
            with contextlib.ExitStack() as stack:
                stack.callback(self._on_release, self)
                stack.callback(self.device.close)
                stack.callback(self.notices.close)
                stack.callback(self.interrupts.release)
                if not self._gone:
                    self._let_go("the device was detached", self.interrupts.release)

    def _let_go(self, why: str, stop: Callable[[], None]) -> None:
        try:
            self._end(why, stop)
        finally:
            self.device.cut_off()

    def _quarantining(self) -> Quarantine:
        return Quarantine(
            self._reach.conf_read,
            self._reach.conf_write,
            self._config.caps,
            _SETTLE,
            self._command_lock,
            self.device.reset,
        )

    @property
    def memory(self) -> Memory:
        """The memory that the group's DMA is in, for tests that look at it from behind."""
        return self._mirror.memory

    # ---- helpers -------------------------------------------------------------

    def _check_held(self, tried: str) -> None:
        if self._gone and not self._released:
            raise DeadWindow(f"{tried} of {self.function.address}", self._gone, "detach the driver")
        super()._check_held(tried)

    def _shim_runner(self) -> ShimRunner:
        bars = {bar.index: self.device.bar(bar.index) for bar in self.function.bars}
        read = self.device.conf_read
        return ShimRunner(bars, self._limits, lambda: read(pr.PCI_COMMAND_STATUS_REG))

    def _stops_decoding(self, reg: int, value: int) -> bool:
        """Whether a write makes memory go that is mapped: touching it would be a SIGBUS."""
        if reg == pr.PCI_COMMAND_STATUS_REG:
            return not value & pr.PCI_COMMAND_MEM_ENABLE
        power = self._config.caps.get(pr.PCI_CAP_PWRMGMT)
        return power is not None and reg == power + pr.PCI_PMCSR and bool(value & 3)
