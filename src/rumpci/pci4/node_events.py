"""Events of a claim's interrupts, which all come from one open node.

An interrupt that is alone has the node's own descriptor.  Of several, each has a descriptor
that is readable when the node is, or when another of them has read its events: who reads
first hands out what came for everybody.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence

from rumpci.pci4 import abi
from rumpci.pci4.node import Node
from rumpci.poller import READABLE, Poller, poller

_RECORD = abi.Event.LAYOUT
_VECTOR = 2
_AT_ONCE = 32
"""Times that the node is read before its reader goes on with what there is."""


class NodeEvents:
    """The interrupts with these indices; `ports` has each one's Source."""

    def __init__(self, node: Node, indices: Sequence[int]) -> None:
        self._node = node
        self._lock = threading.Lock()
        alone = len(indices) == 1
        self.ports = {index: Port(self, node, alone=alone) for index in indices}

    def pump(self) -> None:
        """Read what the node has, and hand it out.  Raises OSError, ValueError, EOFError."""
        with self._lock:
            for _ in range(_AT_ONCE):
                data = self._node.read()
                if not data:
                    return
                self._hand_out(data)

    def _hand_out(self, data: bytes) -> None:
        if len(data) % _RECORD.size:
            raise ValueError(f"{len(data)} bytes")
        for at in range(0, len(data), _RECORD.size):
            record = data[at : at + _RECORD.size]
            port = self.ports.get(_RECORD.unpack(record)[_VECTOR])
            if port is not None:
                port.put(record)


class Port:
    """One interrupt's Source (client_link.py)."""

    def __init__(self, events: NodeEvents, node: Node, *, alone: bool) -> None:
        self._events, self._node = events, node
        self._waiting = b""
        self._bell: tuple[int, int] | None = None
        self._poll: Poller | None = None
        if not alone:
            self._poll = poller()
            self._bell = os.pipe()
            for end in self._bell:
                os.set_blocking(end, False)
            self._poll.register(self._bell[0], READABLE)
            self._poll.register(node.fileno(), READABLE)

    def fileno(self) -> int:
        """See Source."""
        return (self._poll or self._node).fileno()

    def ready(self) -> bool:
        """See Source."""
        return bool(self._waiting) or self._node.readable()

    def take(self) -> bytes:
        """See Source."""
        self._events.pump()
        found, self._waiting = self._waiting, b""
        if self._bell is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell[0], 4096)
        if self._poll is not None:
            self._poll.poll(0)  # a kqueue is readable until it was asked
        return found

    def put(self, record: bytes) -> None:
        """An event of this interrupt's; who waits for it is woken."""
        if not self._waiting and self._bell is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._bell[1], b"!")
        self._waiting += record

    def close(self) -> None:
        """See Source."""
        if self._poll is not None:
            self._poll.close()
        for end in self._bell or ():
            os.close(end)
        self._poll = self._bell = None
