"""Interrupts of a claim: the kernel takes them, masks a line, and signals an eventfd.

    INTx        masked by the kernel when it fires, until `unmask`; a shim runs here, first
    MSI, MSI-X  nothing is masked; all vectors of an allocation are switched on at once,
                because kernels before 6.4 cannot add vectors to those that are on

An eventfd counts by itself, so no event is kept here and none is lost.  No storm can hurt
anybody else: a line stays masked until this process unmasks it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from rumpci import pcireg as pr
from rumpci.errors import NotSupported, NoVectors
from rumpci.guard.held import Allocator, HeldInterrupt, release_all
from rumpci.guard.msi import check_can_send, check_no_shim
from rumpci.guard.shimrun import ShimRunner
from rumpci.host import Event, IntrType
from rumpci.hosts.vfio._eventfd import EventFd
from rumpci.hosts.vfio.abi import Irq
from rumpci.hosts.vfio.device import VfioDevice

INDEX = {IntrType.INTX: Irq.INTX, IntrType.MSI: Irq.MSI, IntrType.MSIX: Irq.MSIX}
_MSI_MASKABLE = 1 << 24  # of the capability's first dword: PCI 3.0, 6.8.1.3
_MASK_REMEDY = "disestablish it, or use MSI-X"


class VfioInterrupt(HeldInterrupt):
    """What both kinds share: the eventfd.  See host.Interrupt."""

    def __init__(self, device: VfioDevice, type_: IntrType, index: int, name: str) -> None:
        super().__init__(device.function.address, index, name)
        self.type = type_
        self._device = device
        self._events = EventFd()
        self.ready: Callable[[], bool] = self._events.ready
        """See host.Interrupt: what is there is taken, which is what asking costs."""

    def fileno(self) -> int:
        """See host.Interrupt."""
        self._check_allocated("fileno")
        return self._events.fd

    def arm(self) -> bool:
        """See host.Interrupt."""
        return self.established and self._events.arm()

    def wake(self) -> None:
        """Stop it for good; if it is established, one event more can be read."""
        if self.established:
            self._stop()
            self._events.add(1)

    @abstractmethod
    def read(self) -> list[Event]:
        """See host.Interrupt."""

    def _discard(self) -> None:
        self._events.drain()

    def _close(self) -> None:
        self._events.close()


class Intx(VfioInterrupt):
    """The line; `shim` runs a client's shim."""

    def __init__(self, device: VfioDevice, shim: ShimRunner) -> None:
        line = device.conf_read(pr.PCI_INTERRUPT_REG) & 0xFF
        super().__init__(device, IntrType.INTX, 0, f"irq {line}")
        self._shim = shim

    def unmask(self) -> None:
        """See host.Interrupt."""
        self._check_established("unmasking")
        if self.masked:
            self.masked = False
            self._device.set_masked(Irq.INTX, False)

    def mask(self) -> None:
        """See host.Interrupt."""
        self._check_established("masking")
        self.masked = True
        self._device.set_masked(Irq.INTX, True)

    def pending(self) -> bool:
        """See host.Interrupt."""
        self._check_allocated("asking")
        status = self._device.conf_read(pr.PCI_COMMAND_STATUS_REG)
        return bool(status & pr.PCI_STATUS_INT_STATUS)

    def _start(self, shim: bytes | None) -> None:
        self._shim.load(shim, str(self))
        self._device.set_trigger(Irq.INTX, 0, [self._events.fd])

    def _stop(self) -> None:
        self._device.disable(Irq.INTX)

    def read(self) -> list[Event]:
        """See host.Interrupt."""
        self._check_allocated("reading")
        count = self._events.take() if self.established else 0
        return self._fired(count) if count else []

    def _fired(self, count: int) -> list[Event]:
        if self.masked:  # it fired just before `mask`: the line is held, so it will again
            return []
        if not self._shim.loaded:
            self.masked = True
            return [self._event(count)]
        ours, status = self._shim.run()
        self._device.set_masked(Irq.INTX, False)
        return [self._event(count, status)] if ours else []

    def _event(self, count: int, status: tuple[int, ...] = ()) -> Event:
        self._sequence += 1
        self.total += count
        return Event(self._sequence, self.index, count, status)


class Vectors:
    """The messages of one allocation: `total` of them are switched on, those without a use idle."""

    def __init__(self, device: VfioDevice, type_: IntrType, total: int) -> None:
        self.device, self.type, self._total = device, type_, total
        self._used: dict[int, int] = {}

    def set(self, index: int, fd: int) -> None:
        """Have vector `index` signal `fd`.  Raises NoVectors (ENOSPC)."""
        if self._used:
            self.device.set_trigger(INDEX[self.type], index, [fd])
        else:
            self._switch_on(index, fd)
        self._used[index] = fd

    def _switch_on(self, index: int, fd: int) -> None:
        fds = [fd if i == index else -1 for i in range(self._total)]
        had = self.device.set_trigger(INDEX[self.type], 0, fds)
        if had:
            raise NoVectors(
                f"switching {self._total} {self.type.value} vectors of "
                f"{self.device.function.address} on",
                f"the kernel has {had}",
                "ask for fewer (several MSI need interrupt remapping)",
            )

    def unset(self, index: int) -> None:
        """Have it signal nothing; with the last one all are switched off."""
        if self._used.pop(index, None) is None:
            return
        if self._used:
            self.device.set_trigger(INDEX[self.type], index, [-1])
        else:
            self.device.disable(INDEX[self.type])


class Message(VfioInterrupt):
    """One MSI or MSI-X vector.  Masked, it signals another eventfd, which says what is pending."""

    def __init__(self, vectors: Vectors, index: int, name: str) -> None:
        super().__init__(vectors.device, vectors.type, index, name)
        self._vectors = vectors
        self._parked = EventFd()

    def unmask(self) -> None:
        """See host.Interrupt."""
        self._check_established("unmasking")
        if self.masked:
            self.masked = False
            self._vectors.set(self.index, self._events.fd)
            if count := self._parked.drain():
                self._events.add(count)

    def mask(self) -> None:
        """See host.Interrupt.  What comes until `unmask` is kept."""
        self._check_established("masking")
        if not self._maskable():
            raise NotSupported(f"masking {self}", "this MSI has no mask bits", _MASK_REMEDY)
        self.masked = True
        self._vectors.set(self.index, self._parked.fd)

    def pending(self) -> bool:
        """See host.Interrupt."""
        self._check_allocated("asking")
        return self._parked.arm()

    def _maskable(self) -> bool:
        """Whether the function holds back what comes while the kernel exchanges the eventfd."""
        if self.type is IntrType.MSIX:
            return True
        caps = self._device.capabilities
        return bool(self._device.conf_read(caps[pr.PCI_CAP_MSI]) & _MSI_MASKABLE)

    def _start(self, shim: bytes | None) -> None:
        check_no_shim(shim, str(self))
        command = self._device.conf_read(pr.PCI_COMMAND_STATUS_REG)
        check_can_send(self.type, command, str(self))
        self._vectors.set(self.index, self._events.fd)

    def _stop(self) -> None:
        self._vectors.unset(self.index)
        self._parked.drain()

    def read(self) -> list[Event]:
        """See host.Interrupt; all in one, as its time is that from the message to the handler."""
        if self.established and (count := self._events.take()):
            self._sequence = sequence = self._sequence + 1
            self.total += count
            return [Event(sequence, self.index, count)]
        self._check_allocated("reading")
        return []

    def _close(self) -> None:
        super()._close()
        self._parked.close()


class VfioInterrupts(Allocator[VfioInterrupt]):
    """The interrupts of one claim; `shim` makes what runs a client's shim."""

    def __init__(
        self, device: VfioDevice, shim: Callable[[], ShimRunner], unit: Callable[[str], int]
    ) -> None:
        super().__init__(device.function.address)
        self._device, self._shim, self._unit = device, shim, unit

    def count(self, type_: IntrType) -> int:
        """See host.Claim.intr_count."""
        return int(self._device.irq_info(INDEX[type_]).count)

    def _take(self, type_: IntrType, indices: Sequence[int]) -> list[VfioInterrupt]:
        if type_ is IntrType.INTX:
            return [Intx(self._device, self._shim())]
        return list(self._messages(type_, indices))

    def _messages(self, type_: IntrType, indices: Sequence[int]) -> list[Message]:
        vectors = Vectors(self._device, type_, max(indices) + 1)
        unit = self._unit(type_.value)
        made = list[Message]()
        try:
            for index in indices:
                made.append(Message(vectors, index, f"{type_.value}{unit} vec {index}"))
        except BaseException:  # no descriptors left
            release_all(made)
            raise
        return made

    def wake(self) -> None:
        """The device is gone: let none come, and whoever waits for one look at the device."""
        for interrupt in self.held:
            interrupt.wake()
