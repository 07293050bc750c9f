"""Every bus access as a preemption point, so that a seed chooses where handlers run.

    with contextlib.closing(Preempting(open_host(url))) as host:
        curcpu().seed(17)

Windows of this host are never mapped: an access has to pass here.
"""

from __future__ import annotations

from collections.abc import Sequence

from rumpci.cpu import curcpu
from rumpci.host import (
    Address,
    Claim,
    Function,
    Holder,
    Host,
    Interrupt,
    InterruptInfo,
    IntrType,
    Window,
)
from rumpci.host_dma import (
    DmaInfo,
    DmaMap,
    DmaMemory,
    DmaUsage,
    Fault,
    Grant,
    MapSpec,
    MemorySpec,
)


class Preempting:
    """The seam's Host over `inner`, which it closes."""

    def __init__(self, inner: Host) -> None:
        self.url, self.features = inner.url, inner.features
        self._inner = inner

    def functions(self) -> Sequence[Function]:
        """See host.Host."""
        return self._inner.functions()

    def holders(self) -> Sequence[Holder]:
        """See host.Host."""
        return self._inner.holders()

    def conf_read(self, address: Address, reg: int) -> int:
        """See host.Host."""
        curcpu().preempt()
        return self._inner.conf_read(address, reg)

    def claim(self, address: Address, who: str) -> PreemptingClaim:
        """See host.Host."""
        return PreemptingClaim(self._inner.claim(address, who))

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        return self._inner.interrupts()

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host."""
        return self._inner.dma()

    def dma_usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        return self._inner.dma_usage()

    def dma_check(self) -> Sequence[str]:
        """See host.Host."""
        return self._inner.dma_check()

    def iommu(self) -> Sequence[Grant]:
        """See host.Host."""
        return self._inner.iommu()

    def close(self) -> None:
        """See host.Host."""
        self._inner.close()


class PreemptingClaim:
    """The seam's Claim over another."""

    def __init__(self, inner: Claim) -> None:
        self.function, self._inner = inner.function, inner

    def conf_read(self, reg: int) -> int:
        """See host.Claim."""
        curcpu().preempt()
        return self._inner.conf_read(reg)

    def conf_write(self, reg: int, value: int) -> None:
        """See host.Claim."""
        curcpu().preempt()
        self._inner.conf_write(reg, value)

    def window(
        self, bar: int, offset: int, size: int, *, writable: bool = True
    ) -> PreemptingWindow:
        """See host.Claim."""
        return PreemptingWindow(self._inner.window(bar, offset, size, writable=writable))

    def intr_count(self, type_: IntrType) -> int:
        """See host.Claim."""
        return self._inner.intr_count(type_)

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[Interrupt]:
        """See host.Claim."""
        return self._inner.intr_alloc(type_, indices)

    def intr_release(self) -> None:
        """See host.Claim."""
        self._inner.intr_release()

    def dma_alloc(self, spec: MemorySpec) -> DmaMemory:
        """See host.Claim."""
        return self._inner.dma_alloc(spec)

    def dma_map(self, spec: MapSpec) -> DmaMap:
        """See host.Claim."""
        return self._inner.dma_map(spec)

    def dma_faults(self) -> Sequence[Fault]:
        """See host.Claim."""
        return self._inner.dma_faults()

    def release(self) -> None:
        """See host.Claim."""
        self._inner.release()


class PreemptingWindow:
    """The seam's Window over another."""

    mapping = None

    def __init__(self, inner: Window) -> None:
        self.label, self.bar, self.space = inner.label, inner.bar, inner.space
        self.offset, self.size, self.writable = inner.offset, inner.size, inner.writable
        self._inner = inner

    def read(self, position: int, width: int) -> int:
        """See host.Window."""
        curcpu().preempt()
        return self._inner.read(position, width)

    def write(self, position: int, width: int, value: int) -> None:
        """See host.Window."""
        curcpu().preempt()
        self._inner.write(position, width, value)

    def read_many(self, position: int, width: int, count: int, step: int) -> bytes:
        """See host.Window."""
        curcpu().preempt()
        return self._inner.read_many(position, width, count, step)

    def write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        """See host.Window."""
        curcpu().preempt()
        self._inner.write_many(position, width, step, data)

    def barrier(self) -> None:
        """See host.Window."""
        self._inner.barrier()

    def present(self) -> bool:
        """See host.Window."""
        return self._inner.present()

    def unmap(self) -> None:
        """See host.Window."""
        self._inner.unmap()
