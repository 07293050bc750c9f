"""The InterruptController over uio nodes: each function's INTx is a line of its own.

The kernel tells functions that share a line apart (PCI 2.3, the status bit), sets the INTx
disable bit of the one that interrupts, and counts.  Who handled it clears the bit again.
So the bit is the mask of a line; what the guard itself wrote there is kept beside it, and
the register has either.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rumpci.errors import NotSupported
from rumpci.host import Address
from rumpci.machines.uio import errors
from rumpci.machines.uio.node import UioNode


@dataclass
class Line:
    """One node, of a function or a device with a name; `mask(on)` stops and starts it there.

    `fired()` is told when it interrupted: the kernel, or its driver there, has masked it then.
    `wired`: the kernel has an interrupt for it.
    """

    address: Address | str
    node: UioNode
    mask: Callable[[bool], None]
    fired: Callable[[], None] = lambda: None
    wired: bool = True
    watched: bool = False


class UioInterrupts:
    """See machine.InterruptController.  A pin, and its vector, is a function's place in `lines`."""

    vectors = range(0)  # no messages

    def __init__(self, lines: Sequence[Line], name: str = errors.DRIVER) -> None:
        self.name = name
        self._lines = lines
        self._pins = {line.address: pin for pin, line in enumerate(lines)}
        self._lock = threading.Lock()
        self._poll = select.epoll()

    def fileno(self) -> int:
        """See InterruptController."""
        return self._poll.fileno()

    def collect(self) -> list[tuple[int, int]]:
        """See InterruptController."""
        with self._lock:
            watched = [(pin, line) for pin, line in enumerate(self._lines) if line.watched]
            counts = [(pin, line.node.fired()) for pin, line in watched]
            for pin, count in counts:
                if count:
                    self._lines[pin].fired()
        return [(pin, count) for pin, count in counts if count]

    def fired(self) -> bool:
        """See InterruptController: only the kernel knows, and the descriptor is never silent."""
        return False

    def arm(self) -> bool:
        """See InterruptController."""
        return False

    def watch(self, vector: int, on: bool) -> None:
        """See InterruptController."""
        line = self._lines[vector]
        with self._lock:
            if line.watched == on:
                return
            line.watched = on
            if on:
                line.node.fired()  # what was before is not told
                self._poll.register(line.node.fd, select.EPOLLIN)
            else:
                self._poll.unregister(line.node.fd)

    def message(self, vector: int, address: Address) -> tuple[int, int]:
        """See InterruptController: there are none.  Raises NotSupported (EOPNOTSUPP)."""
        tried = f"vector {vector} for {address}"
        raise NotSupported(tried, f"{self.name} has no messages", "use INTx, or vfio:")

    def revoke(self, vector: int) -> None:
        """See InterruptController: there are no messages."""

    def line(self, address: Address | str) -> Line:
        """A function's line."""
        return self._lines[self._pins[address]]

    def pin(self, address: Address, intx: int) -> int:
        """See InterruptController; -1 for functions that are the kernel's."""
        del intx
        return self._pins.get(address, -1)

    def line_vector(self, pin: int) -> int:
        """See InterruptController.  Raises NoVectors (ENOSPC) where no interrupt is routed."""
        if not self._lines[pin].wired:
            raise errors.no_line(self._lines[pin].address)
        return pin

    def unmask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._lines[pin].mask(False)

    def mask_line(self, pin: int) -> None:
        """See InterruptController."""
        self._lines[pin].mask(True)

    def close(self) -> None:
        """Let the nodes go: this ends their functions' bus mastering.  Twice does nothing."""
        self._poll.close()
        for line in self._lines:
            line.node.close()
