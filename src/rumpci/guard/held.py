"""The life of an interrupt that a client holds, whoever takes it from the device.

    allocated -> established <-> disestablished -> released

`GuardInterrupt` is one of a machine's, `VfioInterrupt` one that a kernel takes; a client of a
guard in another process knows the same states, and has the same words (`Allocated`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

from rumpci.errors import InterruptBusy, NotAllocated
from rumpci.host import Address, IntrType


class Allocated:
    """An interrupt of the function at `address`: what can be done with it now.

    `index` and `name` are as in host.Interrupt.
    """

    def __init__(self, address: Address, index: int, name: str) -> None:
        self.address, self.index, self.name = address, index, name
        self.established = self.released = False

    def __str__(self) -> str:
        return f"{self.name} of {self.address}"

    def _check_allocated(self, tried: str) -> None:
        if self.released:
            raise NotAllocated(f"{tried} {self}", "it was released", "allocate it again")

    def _check_established(self, tried: str) -> None:
        self._check_allocated(tried)
        if not self.established:
            raise NotAllocated(f"{tried} {self}", "it is not established", "establish it first")


class HeldInterrupt(Allocated, ABC):
    """What starts, stops and ends an interrupt, in that order: the steps are its subclass's.

    Each step is taken with `lock` held.  `total` is how often it fired, `masked` whether it
    waits for `unmask`.
    """

    type: IntrType

    def __init__(
        self,
        address: Address,
        index: int,
        name: str,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(address, index, name)
        self.masked = False
        self.total = 0
        self._sequence = 0
        self._lock = lock or nullcontext()

    def establish(self, shim: bytes | None = None) -> None:
        """See host.Interrupt."""
        self._check_allocated("establishing")
        if self.established:
            raise InterruptBusy(f"establishing {self}", "it has a handler", "disestablish it first")
        with self._lock:
            self._start(shim)
            self.established, self.masked = True, False

    def disestablish(self) -> None:
        """See host.Interrupt."""
        with self._lock:
            if self.established:
                self.established = False
                self._stop()
                self._discard()

    def release(self) -> None:
        """Disestablish it, and give back what it has.  Doing it twice does nothing."""
        if self.released:
            return
        try:
            self.disestablish()
        finally:  # a machine that died leaves no descriptors
            self.released = True
            self._close()

    @abstractmethod
    def unmask(self) -> None:
        """See host.Interrupt."""

    @abstractmethod
    def mask(self) -> None:
        """See host.Interrupt."""

    @abstractmethod
    def pending(self) -> bool:
        """See host.Interrupt."""

    @abstractmethod
    def _start(self, shim: bytes | None) -> None:
        """Let it fire."""

    @abstractmethod
    def _stop(self) -> None:
        """Keep it from firing."""

    @abstractmethod
    def _discard(self) -> None:
        """Forget the events that were not read."""

    @abstractmethod
    def _close(self) -> None:
        """Give back its descriptors, and whatever else it has."""
