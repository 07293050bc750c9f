"""What is at the other end of a wire: a peer that answers, or another machine."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from pathlib import Path
from typing import Self

ADDRESS, PEER = "10.0.0.1", "10.0.0.2"
ECHO = 7
_MAC = b"\x02\0\0\0\0\x02"
_ARP, _IP, _ICMP, _UDP = b"\x08\x06", b"\x08\0", 1, 17


def answer(frame: bytes) -> bytes | None:
    """The answer of a machine with PEER's address: to ARP, ping(8), and UDP's echo."""
    own, kind = socket.inet_aton(PEER), frame[12:14]
    if kind == _ARP and frame[20:22] == b"\0\1" and frame[38:42] == own:
        head = frame[6:12] + _MAC + _ARP + frame[14:20] + b"\0\2"
        return (head + _MAC + own + frame[22:32]).ljust(60, b"\0")
    if kind != _IP or frame[30:34] != own or frame[23] not in (_ICMP, _UDP):
        return None
    length = 4 * (frame[14] & 15)
    ip, asked = frame[14 : 14 + length], frame[14 + length :]
    back = frame[6:12] + _MAC + _IP + ip[:12] + ip[16:20] + ip[12:16] + ip[20:]
    return back + (_pong(asked) if frame[23] == _ICMP else _echo(asked))


def _echo(udp: bytes) -> bytes:
    (size,) = struct.unpack_from("!H", udp, 4)
    return udp[2:4] + udp[:2] + udp[4:6] + b"\0\0" + udp[8:size]


def _pong(icmp: bytes) -> bytes:
    """Type 8 becomes 0, so the checksum of 16 bits grows by as much (RFC 1624)."""
    (check,) = struct.unpack_from("!H", icmp, 2)
    check += 0x0800
    return b"\0" + icmp[1:2] + struct.pack("!H", (check & 0xFFFF) + (check >> 16)) + icmp[4:]


class Wires:
    """A thread with the ends of wires; `ends` are the `wire=` of devices.

    With one end it is a peer that answers.  Two are joined.
    """

    def __init__(self, *ends: Path) -> None:
        self._ends = ends
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.frames = 0

    def __enter__(self) -> Self:
        self._sockets = {}
        for end in self._ends:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.bind(str(end))
            self._sockets[made.fileno()] = (made, end)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        for made, _ in self._sockets.values():
            made.close()

    def _run(self) -> None:
        poll = select.poll()
        for fd in (self._stop, *self._sockets):
            poll.register(fd, select.POLLIN)
        while (ready := [fd for fd, _ in poll.poll()]) and self._stop not in ready:
            for fd in ready:
                self._take(*self._sockets[fd])

    def _take(self, taken: socket.socket, end: Path) -> None:
        frame: bytes | None = taken.recv(1 << 16)
        self.frames += 1
        others = [other for other in self._ends if other != end]
        if not others:
            frame, others = answer(frame or b""), [end]
        # a machine that has gone, or does not take what comes, loses frames as on any wire
        with contextlib.suppress(OSError):
            if frame:
                taken.sendto(frame, f"{others[0]}.qemu")
