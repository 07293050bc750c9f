"""One connection: requests from a socket to their operations, answers back.

Nothing here waits.  What is wrong is answered with an `Error`; what is no
request at all, or an answer that the client does not take, ends the connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from rumpci.errors import BadRequest, NotPermitted, NotSupported, RumpciError
from rumpci.pci4 import abi, ops, ops_dma, ops_intr, ops_listing, ops_window
from rumpci.pci4.checks import clip
from rumpci.pci4.ops_window import BatchStopped
from rumpci.pci4.policy import Peer
from rumpci.pci4.session import Session
from rumpci.pci4.wire import LIMIT

log = logging.getLogger("rumpci.serve")

Operation = Callable[[Session, Any], None]
RawOperation = Callable[[Session, memoryview], bytes]

OPERATIONS: dict[int, Operation] = {
    abi.Op.VERSION: ops.version,
    abi.Op.LIST: ops.list_,
    abi.Op.CONF_READ: ops.conf_read,
    abi.Op.CONF_WRITE: ops.conf_write,
    abi.Op.CLAIM: ops.claim,
    abi.Op.CLAIM_LIST: ops_listing.claims,
    abi.Op.RELEASE: ops.release,
    abi.Op.WINDOW_MAP: ops_window.map_,
    abi.Op.WINDOW_UNMAP: ops_window.unmap,
    abi.Op.WINDOW_PRESENT: ops_window.present,
    abi.Op.WINDOW_BARRIER: ops_window.barrier,
    abi.Op.INTR_COUNT: ops_intr.count_,
    abi.Op.INTR_ALLOC: ops_intr.alloc,
    abi.Op.INTR_ESTABLISH: ops_intr.establish,
    abi.Op.INTR_CONTROL: ops_intr.control,
    abi.Op.INTR_RELEASE: ops_intr.release,
    abi.Op.INTR_LIST: ops_listing.interrupts,
    abi.Op.DMA_ALLOC: ops_dma.alloc,
    abi.Op.DMA_FREE: ops_dma.free,
    abi.Op.DMAMAP_CREATE: ops_dma.create,
    abi.Op.DMAMAP_LOAD: ops_dma.load,
    abi.Op.DMAMAP_UNLOAD: ops_dma.unload,
    abi.Op.DMAMAP_DESTROY: ops_dma.destroy,
    abi.Op.DMA_FAULTS: ops_dma.faults,
    abi.Op.DMA_PAGE: ops_listing.page,
    abi.Op.DMA_USAGE: ops_listing.usage,
    abi.Op.DMA_CHECK: ops_listing.check,
    abi.Op.IOMMU_PAGE: ops_listing.iommu,
}
RAW: dict[int, RawOperation] = {
    abi.Op.DMAMAP_LOAD_PIECE: ops_dma.load_piece,
    abi.Op.WINDOW_ACCESS: ops_window.access,
    abi.Op.WINDOW_BATCH: ops_window.batch,
    abi.Op.WINDOW_READ: ops_window.read,
    abi.Op.WINDOW_WRITE: ops_window.write,
}
_HEADER = abi.Header.LAYOUT
_SIZES = {int(op): kind.LAYOUT.size for op, kind in abi.STRUCTURES.items()}
BUFFER = _HEADER.size + LIMIT + 1
"""Bytes to receive into: one more than any request has, so that what is too long is seen."""
_ACCESS = int(abi.Op.WINDOW_ACCESS)
_SINGLE = struct.Struct(_HEADER.format + abi.WindowAccess.LAYOUT.format.removeprefix("<"))
_LOGGED = 10
"""Refusals of one connection that are logged one by one."""


class Closed(Exception):
    """The connection is over, and why."""


class Connection:
    """A client's socket and session; `buffer` is for receiving, and shared by all connections."""

    def __init__(
        self, sock: socket.socket, peer: Peer, session: Session | None, name: str, buffer: bytearray
    ) -> None:
        self.sock, self.peer, self.session, self.name = sock, peer, session, name
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._refused = 0
        self.turns = 0  # requests

    def turn(self) -> None:
        """Answer one request, if there is one.  Raises Closed, OSError."""
        try:
            size = self.sock.recv_into(self._buffer)  # descriptors beside it are not taken: closed
        except BlockingIOError:
            return
        if size == _SINGLE.size and self._access():
            return
        if size < _HEADER.size or size >= BUFFER:
            raise Closed("it left" if not size else f"{size} bytes are no request")
        magic, op, serial, errno = _HEADER.unpack_from(self._buffer)
        if magic != abi.MAGIC or errno:
            raise Closed("what it sent is no request")
        try:
            answer = self._answer(op, self._view[_HEADER.size : size])
        except Exception as error:
            number, body = self._refusal(op, error)
            self._send(_HEADER.pack(abi.MAGIC, op, serial, number) + body)
        else:
            self._send(_HEADER.pack(abi.MAGIC, op, serial, 0) + answer)

    def _access(self) -> bool:
        """Answer a WINDOW_ACCESS that is in order; what is not goes the long way, from the start.

        Each access to a trapped register comes through here, so it does nothing twice.
        """
        magic, op, serial, errno, handle, how, position, value = _SINGLE.unpack_from(self._buffer)
        session = self.session
        if session is None or op != _ACCESS or magic != abi.MAGIC or errno:
            return False
        window = session.windows.get(handle)
        if window is None or how >= 32:
            return False
        try:
            if how < 16:
                value = window.read(position, how)
            else:
                window.write(position, how - 16, value)
        except Exception as error:
            number, body = self._refusal(op, error)
            self._send(_HEADER.pack(magic, op, serial, number) + body)
        else:
            self._send(_SINGLE.pack(magic, op, serial, 0, handle, how, position, value))
        return True

    def _answer(self, op: int, body: memoryview) -> bytes:
        session = self.session
        if session is None:
            raise NotPermitted(
                f"connecting as user {self.peer.uid}",
                "no rule of the server's policy names this user",
                "have one added (docs/serve.md)",
            )
        if len(body) != _SIZES.get(op):
            _check_form(op, len(body))
        if not session.greeted and op != abi.Op.VERSION:
            raise BadRequest(f"operation {op}", "VERSION was not asked yet", "send VERSION first")
        raw = RAW.get(op)
        if raw is not None:
            return raw(session, body)
        message = abi.STRUCTURES[abi.Op(op)].unpack(bytes(body))
        OPERATIONS[op](session, message)
        return message.pack()

    def _send(self, data: bytes) -> None:
        """Send an answer and the descriptors that belong to it, or end the connection."""
        session = self.session
        try:
            if session is not None and session.passed:
                socket.send_fds(self.sock, [data], list(session.passed))
                session.sent()
            else:
                self.sock.send(data)
        except BlockingIOError:
            raise Closed("it does not read its answers") from None

    def _refusal(self, op: int, error: Exception) -> tuple[int, bytes]:
        """The errno and the bytes of an Error; the log is told, for a while."""
        done = error.done if isinstance(error, BatchStopped) else 0
        told = _told(error.error if isinstance(error, BatchStopped) else error)
        self._refused += 1
        if self._refused <= _LOGGED:
            log.info("refuse %s op=%s %s", self.name, _name(op), told)
        if self.session is not None:
            self.session.passed = ()
        texts = [clip(text, abi.TEXT) for text in (told.tried, told.why, told.remedy)]
        name = type(told).__name__
        body = abi.Error(name=name, tried=texts[0], why=texts[1], remedy=texts[2], done=done)
        return told.errno, body.pack()

    def close(self) -> None:
        """Release what it holds, and close the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()
        if self.session is not None:
            self.session.end()
        if self._refused > _LOGGED:
            log.info("refused %s %d requests", self.name, self._refused)


def _told(error: Exception) -> RumpciError:
    """An error as a client is to be told it."""
    if isinstance(error, RumpciError):
        return error
    if isinstance(error, ValueError | OverflowError | struct.error):
        return BadRequest("reading a request", str(error), "send what docs/pci4-protocol.md says")
    if isinstance(error, OSError):
        number = error.errno
        why = os.strerror(number) if number else str(error)
        return RumpciError("serving a request", why, "try again later", errno=number)
    log.error("a request failed", exc_info=error)
    return RumpciError("serving a request", "the server failed", "see the server's log")


def _check_form(op: int, size: int) -> None:
    """Raise for an operation that there is not, or a structure that is not its."""
    if op not in _SIZES:
        raise NotSupported(
            f"operation {op}", "this server does not know it", "ask for what VERSION tells"
        )
    raise BadRequest(
        f"operation {_name(op)}", f"{size} bytes, not {_SIZES[op]}", "send its structure"
    )


def _name(op: int) -> str:
    return abi.Op(op).name if op in _SIZES else str(op)
