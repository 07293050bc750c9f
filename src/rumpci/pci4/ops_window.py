"""The operations of the protocol on windows; single accesses are the hot path.

WINDOW_ACCESS, _BATCH, _READ and _WRITE work on the message's bytes: a structure
with hundreds of elements is not taken apart for the few that are used.
"""

from __future__ import annotations

import fcntl
import mmap
import struct
from typing import Any

from rumpci.errors import BadRequest, RumpciError
from rumpci.guard.holding import Holding
from rumpci.guard.window import GuardWindow
from rumpci.pci4 import abi
from rumpci.pci4.checks import count
from rumpci.pci4.session import Session

_ACCESS = abi.WindowAccess.LAYOUT
_DATA_HEAD = struct.Struct("<IIQII")
_BATCH = abi.WindowBatch.OFFSETS
_WRITE = 16
_HOW_END = 32


class BatchStopped(Exception):
    """An access of a batch was refused: the error, and how many were made before."""

    def __init__(self, error: Exception, done: int) -> None:
        super().__init__(str(error))
        self.error, self.done = error, done


def map_(session: Session, message: abi.WindowMap) -> None:
    """WINDOW_MAP: take a window; its memory, if it is memory that can be passed."""
    held = session.held(message.claim)
    if message.flags & ~1:
        raise BadRequest(f"mapping with flags {message.flags:#x}", "unknown", "use 0 or 1")
    session.account.take("objects", session.rights.limits)
    try:
        window = held.claim.window(
            message.bar, message.offset, message.size, writable=bool(message.flags)
        )
    except BaseException:
        session.account.give("objects")
        raise
    message.window = session.new_handle()
    session.windows[message.window] = window
    held.windows.add(message.window)
    message.map_start = message.map_end = message.fd_offset = 0
    message.closed_start, message.closed_end = window.closed
    if shareable(held.claim, window):
        _pass(session, message, window)


def _pass(session: Session, message: abi.WindowMap, window: GuardWindow) -> None:
    mapping = window.mapping
    if mapping is not None:
        message.map_start, message.map_end = mapping.start, mapping.end
        message.fd_offset = mapping.fd_offset
        session.passed = [mapping.fd]


def shareable(claim: Holding[Any], window: GuardWindow) -> bool:
    """Whether a client may have the window's descriptor: it can do no more with it than here.

    The descriptor is of the whole BAR, and for writing, whatever the window is.
    So all of the BAR has to be the client's, in whole pages; the file must not
    shrink under us; and the machine must be able to take the memory back.
    """
    mapping = window.mapping
    if mapping is None or mapping.fd < 0 or not window.writable:
        return False
    bounds = (mapping.fd_offset, mapping.end - mapping.start)
    whole = not any(bound % mmap.PAGESIZE for bound in bounds)
    return whole and sealed(mapping.fd) and claim.lend(window.bar)


def sealed(fd: int) -> bool:
    """Whether a file can never shrink: else who has it could end who has it mapped."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:  # no file in memory
        return False


def unmap(session: Session, message: abi.Handle) -> None:
    """WINDOW_UNMAP: give a window back."""
    session.window(message.handle).unmap()
    del session.windows[message.handle]
    for held in session.claims.values():
        if message.handle in held.windows:
            held.windows.discard(message.handle)
            session.account.give("objects")


def present(session: Session, message: abi.Handle) -> None:
    """WINDOW_PRESENT: whether the function answers."""
    message.value = int(session.window(message.handle).present())


def barrier(session: Session, message: abi.Handle) -> None:
    """WINDOW_BARRIER: return when all writes have arrived."""
    session.window(message.handle).barrier()


def access(session: Session, body: memoryview) -> bytes:
    """WINDOW_ACCESS: one access."""
    handle, how, position, value = _ACCESS.unpack(body)
    window = session.windows.get(handle) or session.window(handle)
    if how < _WRITE:
        value = window.read(position, how)
    elif how < _HOW_END:
        window.write(position, how - _WRITE, value)
    else:
        raise _bad_how(how)
    return _ACCESS.pack(handle, how, position, value)


def batch(session: Session, body: memoryview) -> bytes:
    """WINDOW_BATCH: single accesses in order, up to the first that is refused."""
    total = count("accesses", int.from_bytes(body[:4], "little"), abi.ACCESSES)
    words, quads = struct.Struct(f"<{total}I"), struct.Struct(f"<{total}Q")
    windows = words.unpack_from(body, _BATCH["window"])
    hows = words.unpack_from(body, _BATCH["how"])
    positions = quads.unpack_from(body, _BATCH["position"])
    values = list(quads.unpack_from(body, _BATCH["value"]))
    for number in range(total):
        how, position = hows[number], positions[number]
        try:
            window = session.window(windows[number])
            if how < _WRITE:
                values[number] = window.read(position, how)
            elif how < _HOW_END:
                window.write(position, how - _WRITE, values[number])
            else:
                raise _bad_how(how)
        except RumpciError as error:
            raise BatchStopped(error, number) from error
    answer = bytearray(body)
    struct.pack_into("<II", answer, 0, total, total)
    quads.pack_into(answer, _BATCH["value"], *values)
    return bytes(answer)


def read(session: Session, body: memoryview) -> bytes:
    """WINDOW_READ: accesses that are alike, one after the other."""
    handle, width, position, number, step = _DATA_HEAD.unpack_from(body)
    count("bytes of data", width * number, abi.DATA)
    data = session.window(handle).read_many(position, width, number, step)
    return bytes(body[: _DATA_HEAD.size]) + data.ljust(abi.DATA, b"\0")


def write(session: Session, body: memoryview) -> bytes:
    """WINDOW_WRITE: accesses that are alike, one after the other."""
    handle, width, position, number, step = _DATA_HEAD.unpack_from(body)
    size = count("bytes of data", width * number, abi.DATA)
    data = bytes(body[_DATA_HEAD.size : _DATA_HEAD.size + size])
    session.window(handle).write_many(position, width, step, data)
    return bytes(body)


def _bad_how(how: int) -> BadRequest:
    return BadRequest(f"access of kind {how}", "unknown", "use a width, and 16 more for a write")
