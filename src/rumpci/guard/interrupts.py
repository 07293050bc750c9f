"""Which interrupts a claimed function has, and which its client holds (seam: intr_*)."""

from __future__ import annotations

from collections.abc import Sequence

from rumpci import pcireg as pr
from rumpci.errors import NoVectors
from rumpci.guard.held import Allocator, release_all
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.intx import IntxInterrupt
from rumpci.guard.message import Messages, Msi, Msix
from rumpci.guard.msi import MessageGroup, MessageInterrupt
from rumpci.guard.router import Router
from rumpci.guard.shim import BarLimits
from rumpci.host import Function, IntrType
from rumpci.machines.machine import Machine


class Interrupts(Allocator[GuardInterrupt]):
    """The interrupts of one claim; `limits` say what a shim of its client may touch."""

    def __init__(
        self,
        router: Router,
        machine: Machine,
        function: Function,
        caps: dict[int, int],
        limits: dict[int, BarLimits],
    ) -> None:
        super().__init__(function.address, router.lock)
        self._router, self._machine, self._function = router, machine, function
        self._limits = limits
        self._messages: dict[IntrType, Messages] = {}
        at = function.address
        if not router.controller.vectors:
            return  # what the function could send would reach nobody
        if pr.PCI_CAP_MSI in caps:
            self._messages[IntrType.MSI] = Msi(
                self._read, self._write, caps[pr.PCI_CAP_MSI], str(at)
            )
        if pr.PCI_CAP_MSIX in caps:
            self._messages[IntrType.MSIX] = Msix(
                self._read, self._write, caps[pr.PCI_CAP_MSIX], lambda bar: machine.bar(at, bar)
            )

    def count(self, type_: IntrType) -> int:
        """See host.Claim.intr_count."""
        if type_ is IntrType.INTX:
            return int(1 <= self._read(pr.PCI_INTERRUPT_REG) >> 8 & 0xFF <= 4)
        messages = self._messages.get(type_)
        return messages.count() if messages else 0

    def allocate(self, type_: IntrType, indices: Sequence[int]) -> list[GuardInterrupt]:
        """See host.Claim.intr_alloc."""
        with self._router.lock:
            self._check_messages(type_)
            return super().allocate(type_, indices)

    def _take(self, type_: IntrType, indices: Sequence[int]) -> list[GuardInterrupt]:
        if type_ is IntrType.INTX:
            return [IntxInterrupt(self._router, self._machine, self._function, self._limits)]
        return list(self._take_messages(type_, indices))

    def _check_messages(self, type_: IntrType) -> None:
        """Raise NoVectors (ENOSPC) for messages where the machine has lines only."""
        if type_ is not IntrType.INTX and not self._router.controller.vectors:
            raise NoVectors(
                f"allocating {type_.value} of {self._function.address}",
                f"{self._router.controller.name} has INTx only, no MSI and no MSI-X",
                "use INTx; or bind the function to vfio-pci, and open vfio:",
            )

    def _take_messages(self, type_: IntrType, indices: Sequence[int]) -> Sequence[MessageInterrupt]:
        total = len(indices)
        if type_ is IntrType.MSI:
            first = self._router.allocate(total, align=total)
            vectors = list(range(first, first + total))
        else:
            vectors = self._take_vectors(total)
        group = MessageGroup(
            type_, self._messages[type_], total, lambda: self._read(pr.PCI_COMMAND_STATUS_REG)
        )
        unit, at = self._router.unit(type_.value), self._function.address
        made: list[MessageInterrupt] = []
        try:
            for index, vector in zip(indices, vectors, strict=True):
                name = f"{type_.value}{unit} vec {index}"
                made.append(MessageInterrupt(self._router, at, group, index, vector, name))
        except BaseException:  # no descriptors left
            release_all(made)
            for vector in vectors[len(made) :]:
                self._router.free(vector)
            raise
        return made

    def _take_vectors(self, total: int) -> list[int]:
        """All of them, or none.  Raises NoVectors (ENOSPC)."""
        vectors: list[int] = []
        try:
            while len(vectors) < total:
                vectors.append(self._router.allocate(1))
        except NoVectors:
            for vector in vectors:
                self._router.free(vector)
            raise
        return vectors

    def _read(self, reg: int) -> int:
        return self._machine.conf_read(self._function.address, reg)

    def _write(self, reg: int, value: int) -> None:
        self._machine.conf_write(self._function.address, reg, value)
