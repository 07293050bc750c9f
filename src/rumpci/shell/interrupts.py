"""Interrupts at the prompt: intr() takes one, wait_intr() waits for it."""

from __future__ import annotations

import select

from rumpci import kern
from rumpci.errors import BadRange, NotAllocated
from rumpci.host import Interrupt
from rumpci.pci import PciAttachArgs
from rumpci.pci_intr import (
    pci_intr_map,
    pci_intr_release,
    pci_msi_alloc,
    pci_msi_count,
    pci_msix_alloc,
)
from rumpci.shell.conf import set_master
from rumpci.shell.text import Text

_KINDS = ("msi", "msix", "intx")
_NUDGE_SECONDS = 0.05


class Interrupts:
    """The one interrupt that the prompt has.

    It stays masked from when it fired to the next wait: by then the device was acknowledged.
    """

    def __init__(self, pa: PciAttachArgs) -> None:
        self._pa = pa
        self._interrupt: Interrupt | None = None
        self._handled = False

    @property
    def name(self) -> str:
        """What the interrupt is called, "" if there is none."""
        return self._interrupt.name if self._interrupt else ""

    def take(self, how: str = "") -> Text:
        """Take `msi`, `msix` (vector 0) or `intx`; by default MSI if there is any.

        The one before is given back.  Raises BadRange (EINVAL), NoVectors (ENOSPC).
        """
        how = how or ("msi" if pci_msi_count(self._pa) else "intx")
        if how not in _KINDS:
            raise BadRange(f"intr({how!r})", "unknown", f"use {', '.join(_KINDS)}")
        self.release()
        try:
            interrupt = self._allocate(how)
            interrupt.establish()
        except BaseException:
            pci_intr_release(self._pa, [])
            raise
        self._interrupt, self._handled = interrupt, False
        return Text(interrupt.name)

    def _allocate(self, how: str) -> Interrupt:
        if how == "intx":
            return pci_intr_map(self._pa).interrupt
        allocate = pci_msi_alloc if how == "msi" else pci_msix_alloc
        handles = allocate(self._pa, 1)
        set_master(self._pa)  # a message is a write to memory
        return handles[0].interrupt

    def release(self) -> None:
        """Give the interrupt back, if there is one."""
        if self._interrupt:
            self._interrupt = None
            pci_intr_release(self._pa, [])

    def wait(self, seconds: float = 1.0) -> int:
        """How often it fired since the last wait; waits at most `seconds`, then 0.

        Raises NotAllocated (EINVAL) without one.
        """
        interrupt = self._interrupt
        if interrupt is None:
            raise NotAllocated("wait_intr", "no interrupt was taken", "call intr() first")
        until = kern.deadline(round(seconds * 1_000_000))
        if self._handled:
            interrupt.unmask()
            self._handled = False
        poll = select.poll()
        poll.register(interrupt.fileno(), select.POLLIN)
        while not (events := interrupt.read()):
            if until.passed():
                return 0
            if not interrupt.arm():
                poll.poll(min(until.remaining(), _NUDGE_SECONDS) * 1000)
        self._handled = True
        return sum(event.count for event in events)
