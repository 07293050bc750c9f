"""The life of an interrupt that a client holds, whoever takes it from the device.

    allocated -> established <-> disestablished -> released

`GuardInterrupt` is one of a machine's, `VfioInterrupt` one that a kernel takes; a client of a
guard in another process knows the same states, and has the same words (`Allocated`).
`Allocator` has those of one claim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Generic, TypeVar

from rumpci.errors import InterruptBusy, NotAllocated, NoVectors
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


H = TypeVar("H", bound=HeldInterrupt)


class Allocator(ABC, Generic[H]):
    """The interrupts of one claim, of the function at `address`: `held` are the client's."""

    def __init__(
        self, address: Address, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self.held: list[H] = []
        self._address = address
        self._lock = lock or nullcontext()

    def allocate(self, type_: IntrType, indices: Sequence[int]) -> list[H]:
        """See host.Claim.intr_alloc."""
        with self._lock:
            check_indices(self.held, type_, indices, self.count(type_), self._address)
            self.held = self._take(type_, indices)
            return list(self.held)

    def release(self) -> None:
        """See host.Claim.intr_release."""
        with self._lock:
            held, self.held = self.held, []
            release_all(held)

    @abstractmethod
    def count(self, type_: IntrType) -> int:
        """See host.Claim.intr_count."""

    @abstractmethod
    def _take(self, type_: IntrType, indices: Sequence[int]) -> list[H]:
        """The interrupts with these indices, all or none; they are the function's, and free."""


def release_all(held: Sequence[HeldInterrupt]) -> None:
    """Release each of them, whatever the others raise."""
    with ExitStack() as stack:
        for interrupt in held:
            stack.callback(interrupt.release)


def check_indices(
    held: Sequence[HeldInterrupt], type_: IntrType, indices: Sequence[int], have: int, at: Address
) -> None:
    """Raise InterruptBusy, or NoVectors for indices that are not of the `have` that there are."""
    tried = f"allocating {type_.value} {list(indices)} of {at}"
    if held:
        raise InterruptBusy(tried, f"{held[0].name} is allocated", "pci_intr_release it first")
    wanted = set(indices)
    bad = not wanted or len(wanted) < len(indices) or not wanted <= set(range(have))
    if type_ is IntrType.MSI:
        power = len(indices) & (len(indices) - 1) == 0
        bad = bad or not power or list(indices) != list(range(len(indices)))
    if bad:
        raise NoVectors(tried, f"the function has {have}", "ask for vectors that it has")
