"""Quieting a function, however its driver ended (rule 9), before its memory is used again.

    mask its interrupts -> no bus mastering -> wait for what is under way -> reset, if it can

Only then is its DMA revoked, and its memory reused.

Source: PCI Express 4.0, 7.5.3.4-5 (device control and status), 6.6.2 (function
level reset); PCI ECN Advanced Capabilities (AF); PCI Power Management 1.2, 5.4.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rumpci import pcireg as pr

_PENDING_SECONDS = 0.1
_DEVICE_CAP, _DEVICE_CONTROL = 0x04, 0x08  # of the PCI Express capability
_FLR_CAPABLE, _FLR, _PENDING = 1 << 28, 1 << 15, 1 << 21
_AF_FLR_CAPABLE, _AF_PENDING = 1 << 25, 1 << 8
_NO_SOFT_RESET = 1 << 3


@dataclass(frozen=True)
class Outcome:
    """What was done: `reset` is the kind of reset or ""; `idle` whether nothing was under way.

    `seconds` is how long it took.
    """

    reset: str
    idle: bool
    seconds: float

    @property
    def quiet(self) -> bool:
        """Whether the function was shown to be still: nothing can come from before."""
        return bool(self.reset) and self.idle

    def __str__(self) -> str:
        words = [self.reset or "no way to reset it", "" if self.idle else "transactions pending"]
        return f"{', '.join(filter(None, words))}, {self.seconds * 1e3:.1f} ms"


class Quarantine:
    """One function: `read` and `write` reach its configuration space, `caps` are its capabilities.

    `settle` is how long, in seconds, a function may take to answer after a reset; `lock` is
    held by whoever changes the command register.  `reset` resets it by other means and says
    how, "" if it could not.
    """

    def __init__(
        self,
        read: Callable[[int], int],
        write: Callable[[int, int], None],
        caps: dict[int, int],
        settle: float,
        lock: AbstractContextManager[object],
        reset: Callable[[], str] | None = None,
    ) -> None:
        self._read, self._write, self._caps, self._settle = read, write, caps, settle
        self._lock, self._reset = lock, reset or self._reset_itself

    def quiet(self) -> Outcome:
        """Stop its bus mastering, wait for what is pending, and reset it where it can be."""
        start = time.monotonic()
        self.stop_mastering()
        idle = self._wait_idle()
        reset = self._reset()
        return Outcome(reset, idle, time.monotonic() - start)

    def stop_mastering(self) -> None:
        """Clear the bus master bit: nothing new is started."""
        with self._lock:
            command = self._read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
            self._write(pr.PCI_COMMAND_STATUS_REG, command & ~pr.PCI_COMMAND_MASTER_ENABLE)

    def _wait_idle(self) -> bool:
        """Wait while the function says that transactions are pending; one that cannot say is."""
        express, af = self._caps.get(pr.PCI_CAP_PCIEXPRESS), self._caps.get(pr.PCI_CAP_PCIAF)
        if express is not None:
            return self._wait(express + _DEVICE_CONTROL, _PENDING)
        return af is None or self._wait(af + 4, _AF_PENDING)

    def _wait(self, reg: int, pending: int) -> bool:
        end = time.monotonic() + _PENDING_SECONDS
        while self._read(reg) & pending:
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def _reset_itself(self) -> str:
        return self._reset_express() or self._reset_conventional() or self._reset_by_power()

    def _reset_express(self) -> str:
        at = self._caps.get(pr.PCI_CAP_PCIEXPRESS)
        if at is None or not self._read(at + _DEVICE_CAP) & _FLR_CAPABLE:
            return ""
        control = self._read(at + _DEVICE_CONTROL) & 0xFFFF
        self._write(at + _DEVICE_CONTROL, control | _FLR)
        time.sleep(self._settle)
        return "function level reset"

    def _reset_conventional(self) -> str:
        at = self._caps.get(pr.PCI_CAP_PCIAF)
        if at is None or not self._read(at) & _AF_FLR_CAPABLE:
            return ""
        self._write(at + 4, 1)
        time.sleep(self._settle)
        return "function level reset (AF)"

    def _reset_by_power(self) -> str:
        """To D3hot and back, where that resets."""
        at = self._caps.get(pr.PCI_CAP_PWRMGMT)
        if at is None or (control := self._read(at + pr.PCI_PMCSR) & 0xFFFF) & _NO_SOFT_RESET:
            return ""
        kept = control & 0x7F00
        self._write(at + pr.PCI_PMCSR, kept | pr.PCI_PWR_D3)
        time.sleep(self._settle / 10)
        self._write(at + pr.PCI_PMCSR, kept)
        time.sleep(self._settle / 10)
        return "reset through D3"
