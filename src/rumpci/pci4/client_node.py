"""A client's connection by ioctl(2) of a device node: a kernel's pci(4), with Python alone.

What differs from a socket is here.  The structures are the same; a refusal is an errno, and
which error that is depends on the operation (node_errors.py); nothing is posted; memory is
the node's own mmap(2).  One open node is one client, whose events do not say which claim they
are of: so each claim has a connection to itself.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rumpci.errors import HostRefused, MachineDied
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client_link import Connection, Source
from rumpci.pci4.node import Node
from rumpci.pci4.node_errors import error_of
from rumpci.pci4.node_events import NodeEvents

_ACCESS = abi.WindowAccess.LAYOUT
_WRITES = 16
_WRITABLE = 1
_NO_SUCH = (errno.ENOTTY, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)
"""What devices of all kinds say to an ioctl(2) that they do not have."""


class NodeChannel:
    """Requests to an open node; see client_link.Channel."""

    def __init__(self, node: Node, lost: Callable[[int | str, str], MachineDied]) -> None:
        self._node, self._lost = node, lost
        self._death: str | None = None

    def read(self, window: int, position: int, width: int, /) -> int:
        """See Channel."""
        data = bytearray(_ACCESS.pack(window, width, position, 0))
        self._make(Op.WINDOW_ACCESS, data)
        return int(_ACCESS.unpack(data)[3])

    def post(self, window: int, position: int, width: int, value: int, /) -> None:
        """See Channel.  It is made at once."""
        data = bytearray(_ACCESS.pack(window, width | _WRITES, position, value))
        self._make(Op.WINDOW_ACCESS, data)

    def post_request(self, op: int, body: bytes, /) -> None:
        """See Channel.  It is made at once."""
        self._make(op, bytearray(body))

    def exchange(self, op: int, body: bytes, /) -> tuple[bytes, list[int]]:
        """See Channel.  The descriptor is of what can be mapped now, with its offset in it."""
        data = bytearray(body)
        self._make(op, data)
        share = _SHARED.get(op)
        shared = share(self._node, data) if share else []  # it changes where that is
        return bytes(data), shared

    def settle(self) -> None:
        """See Channel.  Nothing is outstanding."""

    def close(self, why: str, /) -> None:
        """See Channel."""
        self._death = self._death or why

    def _make(self, op: int, structure: bytearray) -> None:
        if self._death is not None:
            raise self._lost(op, self._death)
        try:
            self._node.ioctl(op, structure)
        except OSError as error:
            self._refused(op, error)

    def _refused(self, op: int, error: OSError) -> NoReturn:
        if op == Op.VERSION and error.errno in _NO_SUCH:
            raise HostRefused(
                f"opening {self._node.path}",
                f"this node does not speak version {abi.VERSION} of rumpci's protocol",
                "use a kernel with netbsd/sys/dev/pci of rumpci, or its module upci "
                "(docs/netbsd.md)",
            ) from error
        raise error_of(Op(op), error.errno or errno.EIO, self._node.path) from error


class NodeConnection(Connection):
    """To a kernel, by an open node, which it closes.  Raises HostRefused (EINVAL)."""

    wordless = True

    channel: NodeChannel

    def __init__(self, node: Node) -> None:
        self._node: Node | None = node
        super().__init__(node.path, NodeChannel(node, self.lost))
        self._events: NodeEvents | None = None

    def sources(self, indices: Sequence[int], descriptors: list[int]) -> list[Source]:
        """See Connection."""
        del descriptors
        if self._node is None:
            raise self.lost(Op.INTR_ALLOC, "the host was closed")
        self._events = NodeEvents(self._node, indices)
        return list(self._events.ports.values())

    def for_claim(self) -> Connection:
        """See Connection: the node opened once more."""
        if self._node is None:
            raise self.lost("claiming", "the host was closed")
        made = NodeConnection(self._node.again())
        try:
            made.call(Op.VERSION, abi.Version(version=abi.VERSION))
        except BaseException:
            made.close()
            raise
        return made

    def lost(self, tried: int | str, why: str) -> MachineDied:
        """See Connection."""
        error = super().lost(tried, why)
        error.remedy = "see dmesg(8), and open the host anew"
        return error

    def close(self) -> None:
        """See Connection."""
        self.channel.close("the host was closed")
        node, self._node = self._node, None
        if node is not None:
            node.close()


# ---- memory: what the answer says can be mapped -----------------------------------------


def _share_window(node: Node, data: bytearray) -> list[int]:
    """A window's registers, where they may be written: others are not worth a way of their own."""
    answer: Any = abi.WindowMap.unpack(bytes(data))
    if answer.map_end <= answer.map_start or not answer.flags & _WRITABLE:
        return []
    fd, answer.fd_offset = node.share(answer.fd_offset)
    data[:] = answer.pack()
    return [fd]


def _share_memory(node: Node, data: bytearray) -> list[int]:
    """An allocation, which is in one place as a rule; in several, they share a descriptor."""
    answer: Any = abi.DmaAlloc.unpack(bytes(data))
    fd, first = node.share(answer.range_offset[0])
    moved = first - answer.range_offset[0]
    answer.range_offset = [at + moved for at in answer.range_offset[: answer.nranges]]
    data[:] = answer.pack()
    return [fd]


_SHARED: dict[int, Callable[[Node, bytearray], list[int]]] = {
    Op.WINDOW_MAP: _share_window,
    Op.DMA_ALLOC: _share_memory,
}
