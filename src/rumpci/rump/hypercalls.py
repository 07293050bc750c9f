"""What the libraries of a rump kernel ask for.  `_hyper.pyx` calls this object.

It may be called by any thread of the rump kernel, holding a CPU of it and perhaps its locks: so
nothing here calls the rump kernel.  What fails is told to `findings`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Sequence

from rumpci.errors import RumpciError
from rumpci.host import Address, Host
from rumpci.rump.dma import Dma
from rumpci.rump.findings import Findings
from rumpci.rump.functions import Functions
from rumpci.rump.interrupts import Interrupts
from rumpci.rump.netbsd import from_host
from rumpci.rump.windows import Windows


class Hypercalls:
    """One rump kernel's view of `host`."""

    def __init__(
        self,
        host: Host,
        findings: Findings,
        only: Iterable[Address] | None = None,
        msi: int = 2,
    ) -> None:
        self.findings = findings
        self.functions = Functions(host, only)
        self.windows = Windows(self.functions)
        self.interrupts = Interrupts(self.functions, self._lost, msi)
        self.dma = Dma(self.functions, findings)
        self._last = threading.local()
        # called for every access that matters: no frame of ours between
        self.map, self.unmap = self.windows.map, self.windows.unmap
        self.establish = self.interrupts.establish
        self.disestablish = self.interrupts.disestablish
        self.intr_alloc, self.intr_release = self.interrupts.alloc, self.interrupts.release
        self.intr_type, self.intr_string = self.interrupts.type_of, self.interrupts.name

    # ---- configuration space --------------------------------------------------------------

    def conf_read(self, bus: int, device: int, function: int, reg: int) -> int:
        """rumpcomp_pci_confread."""
        address = Address(0, bus, device, function)
        self._last.address = address
        return self.functions.conf_read(address, reg)

    def conf_write(self, bus: int, device: int, function: int, reg: int, value: int) -> None:
        """rumpcomp_pci_confwrite."""
        self.functions.conf_write(Address(0, bus, device, function), reg, value)

    def intr_map(self, bus: int, device: int, function: int, cookie: int) -> None:
        """rumpcomp_pci_irq_map."""
        self.interrupts.map(Address(0, bus, device, function), cookie)

    def found(self, aux: int) -> None:
        """pci(4) is about to offer the function it read last to its drivers."""
        address = self.current()
        if address is not None and address in self.functions.held:
            self.dma.give_tags(aux, address)

    def current(self) -> Address | None:
        """The function that this thread read the configuration space of last."""
        return getattr(self._last, "address", None)

    # ---- what goes wrong ------------------------------------------------------------------

    def errno_of(self, error: BaseException, caller: int) -> int:
        """What NetBSD would return for an error, which is told."""
        self.failed(error, caller)
        number = error.errno if isinstance(error, RumpciError | OSError) else errno.EIO
        return from_host(number or errno.EIO)

    def failed(self, error: BaseException, caller: int) -> None:
        """A hypercall failed that has no way to say so."""
        self.findings.add(type(error).__name__, str(error) or repr(error), caller)

    def no_handle(self, verb: str, handle: int, offset: int, width: int, caller: int) -> None:
        """An access through what is no handle."""
        what = f"bus_space_{verb}_{width} at {offset:#x} of {handle:#x}: that is no mapped window"
        self.findings.add("handle", what, caller)

    def _lost(self, error: Exception) -> None:
        self.findings.add("interrupt", f"an interrupt is not served any more: {error}", 0)

    # ---- its end ---------------------------------------------------------------------------

    def quiesce(self, *, shared: bool = False) -> Sequence[str]:
        """Give everything back: no interrupt, no window, no DMA.  What failed, in words.

        A heap that is `shared` stays, and so does its claim, as the kernel still lives in it.
        """
        said = []
        last = self.functions.stop_mastering if shared else self.functions.release
        for step in (self.interrupts.end, self.windows.forget, last):
            try:
                step()
            except RumpciError as error:
                said.append(str(error))
        return said
