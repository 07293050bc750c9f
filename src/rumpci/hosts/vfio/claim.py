"""A claimed function: the guard's view of configuration space and windows, the kernel's work."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from rumpci import pcireg as pr
from rumpci.errors import DeadWindow, MachineDied
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import AdoptedMemory, GuardMemory
from rumpci.guard.holding import Holding
from rumpci.guard.quarantine import Quarantine
from rumpci.guard.recorder import Recorder
from rumpci.guard.shimrun import ShimRunner
from rumpci.host import Function, IntrType
from rumpci.host_dma import Fault, MapSpec, MemorySpec
from rumpci.hosts.vfio.device import Notices, VfioDevice
from rumpci.hosts.vfio.group import Mirrored
from rumpci.hosts.vfio.interrupts import VfioInterrupt, VfioInterrupts
from rumpci.hosts.vfio.reset import hot_reset, reset_function
from rumpci.machines.machine import Memory

log = logging.getLogger("rumpci.vfio")
_SETTLE = 0.1  # seconds: PCI Express 4.0, 6.6.2; the kernel's own resets wait by themselves


class VfioClaim(Holding):
    """The seam's Claim over an open device; `on_release` takes it off its host."""

    def __init__(
        self,
        device: VfioDevice,
        function: Function,
        who: str,
        mirror: Mirrored,
        on_release: Callable[[VfioClaim], None],
        recorder: Recorder,
        unit: Callable[[str], int],
    ) -> None:
        super().__init__(device, function, who, recorder, threading.RLock())
        self.device, self._mirror, self._on_release = device, mirror, on_release
        self._gone = ""
        self.interrupts = VfioInterrupts(device, self._shim_runner, unit)
        self.notices = Notices(device, self.lose)
        self.dma, self.adopt_min = mirror.attach(function.address, who), mirror.adopt_min
        self._config.allow_master()

    def conf_write(self, reg: int, value: int) -> None:
        """See host.Claim."""
        with self._lock:
            if self._stops_decoding(reg, value):
                self._unmap_all()
            super().conf_write(reg, value)

    def intr_count(self, type_: IntrType) -> int:
        """See host.Claim."""
        self._check_held("pci_intr_alloc")
        return self.interrupts.count(type_)

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[VfioInterrupt]:
        """See host.Claim."""
        with self._lock:
            self._check_held("pci_intr_alloc")
            return self.interrupts.allocate(type_, indices)

    def intr_release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if not self._released:
                self.interrupts.release()

    def dma_alloc(self, spec: MemorySpec) -> GuardMemory:
        """See host.Claim."""
        return self.dma.alloc(spec)

    def dma_adopt(self, address: int, spec: MemorySpec) -> AdoptedMemory:
        """See host_dma.Adopter."""
        return self._mirror.adopt(self.dma, address, spec)

    def dma_map(self, spec: MapSpec) -> GuardMap:
        """See host.Claim."""
        return self.dma.map(spec)

    def dma_faults(self) -> list[Fault]:
        """See host.Claim."""
        return self.dma.take_faults()

    def reset(self, hot: dict[int, int] | None = None) -> str:
        """Reset the function: its windows and interrupts die, its DMA stays; how it was done.

        With `hot`, our groups' descriptors by number, its whole bus.  Nothing dies if it
        raises: NotSupported (EOPNOTSUPP), DeviceBusy (EBUSY).
        """
        with self._lock:
            self._check_held("resetting")
            how = reset_function(self.device) if hot is None else hot_reset(self.device, hot)
            for window in list(self._windows):
                window.kill("the function was reset")
                self._forget(window)
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
                self._end(why, self.interrupts.wake)

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
                    self._end("the device was detached", self.interrupts.release)

    def _end(self, why: str, stop: Callable[[], None]) -> None:
        with contextlib.ExitStack() as stack:  # each step, whatever the others raise
            stack.callback(self.device.cut_off)
            stack.callback(self._quarantine)
            stack.callback(stop)
            for window in list(self._windows):
                window.kill(why)
                stack.callback(self._forget, window)

    def _quarantine(self) -> None:
        """Quiet the function, and only then take its DMA from it (rule 9)."""
        quiet = False
        try:
            with contextlib.suppress(MachineDied, OSError):
                quiet = self._quiet()
        finally:
            self._mirror.detach(self.dma, quiet=quiet)

    def _quiet(self) -> bool:
        quarantine = Quarantine(
            self._reach.conf_read,
            self._reach.conf_write,
            self._config.caps,
            _SETTLE,
            self._command_lock,
            self.device.reset,
        )
        outcome = quarantine.quiet()
        log.info("%s (%s): quarantined: %s", self.who, self.function.address, outcome)
        self._recorder.quarantined(self.function.address, self.who, outcome)
        self._config.restore()
        return outcome.quiet

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

    def _unmap_all(self) -> None:
        """From here on every access of these windows is trapped, and reads ones until decoded."""
        for window in self._windows:
            if window.mapping is not None:
                window.mapping.revoke()
