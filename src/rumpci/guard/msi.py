"""MSI and MSI-X of a claim: each interrupt is a message with a vector of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rumpci import pcireg as pr
from rumpci.errors import NotEnabled, NotSupported
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.message import Messages
from rumpci.guard.router import Router
from rumpci.host import Address, IntrType


class MessageGroup:
    """The messages of one function that were allocated together."""

    def __init__(
        self, type_: IntrType, messages: Messages, total: int, command: Callable[[], int]
    ) -> None:
        self.type, self.messages, self.total = type_, messages, total
        self._command = command
        self._established = 0

    def check_enabled(self, who: str) -> None:
        """Raise NotEnabled (ENXIO) while the function cannot send a message."""
        check_can_send(self.type, self._command(), who)

    def started(self) -> None:
        """One more is established: the first switches messages on."""
        self._established += 1
        if self._established == 1:
            self.messages.enable(True)

    def stopped(self) -> None:
        """One less is established: the last switches messages off."""
        self._established -= 1
        if not self._established:
            self.messages.enable(False)


class MessageInterrupt(GuardInterrupt):
    """The seam's Interrupt for one MSI or MSI-X vector of a function."""

    def __init__(
        self, router: Router, at: Address, group: MessageGroup, index: int, vector: int, name: str
    ) -> None:
        super().__init__(router, at, index, name)
        self.type = group.type
        self._group, self._vector = group, vector

    def unmask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("unmasking")
            if self.masked:
                self._group.messages.mask(self.index, False)
                self.masked = False

    def mask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("masking")
            self._group.messages.mask(self.index, True)
            self.masked = True

    def pending(self) -> bool:
        """See host.Interrupt."""
        self._check_allocated("asking")
        return self._group.messages.pending(self.index)

    def _start(self, shim: bytes | None) -> None:
        check_no_shim(shim, str(self))
        self._group.check_enabled(str(self))
        address, data = self._message()
        self._group.messages.program(self.index, self._group.total, address, data)
        self._router.connect(self._vector, self.post)
        self._group.started()
        self._mask_if_possible(False)

    def _message(self) -> tuple[int, int]:
        """Permit the vector, and return what to program: of MSI, the message of vector 0."""
        message = self._router.controller.message
        own = message(self._vector, self.address)
        if self.type is IntrType.MSIX or not self.index:
            return own
        return message(self._vector - self.index, self.address)

    def _stop(self) -> None:
        self._mask_if_possible(True)
        self._group.stopped()
        self._router.disconnect(self._vector)
        self._router.controller.revoke(self._vector)

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._router.free(self._vector)

    def _mask_if_possible(self, on: bool) -> None:
        with contextlib.suppress(NotSupported):  # MSI without mask bits: the group is enabled
            self._group.messages.mask(self.index, on)

    def _quiet(self) -> None:
        """Nothing to note: a message does not stay asserted."""


def check_no_shim(shim: bytes | None, who: str) -> None:
    """Raise NotSupported (EOPNOTSUPP) if a message is to have a shim."""
    if shim is not None:
        raise NotSupported(
            f"establishing {who} with a shim",
            "a message needs no acknowledging: no line stays asserted",
            "establish it without",
        )


def check_can_send(type_: IntrType, command: int, who: str) -> None:
    """Raise NotEnabled (ENXIO) if a function with this command register cannot send messages."""
    needs = {"bus mastering": pr.PCI_COMMAND_MASTER_ENABLE}
    if type_ is IntrType.MSIX:
        needs["memory decoding"] = pr.PCI_COMMAND_MEM_ENABLE
    for what, bit in needs.items():
        if not command & bit:
            raise NotEnabled(
                f"establishing {who}",
                f"{what} is off: a message is a write by the device",
                "set PCI_COMMAND_MASTER_ENABLE (and MEM_ENABLE) with pci_conf_write first",
            )
