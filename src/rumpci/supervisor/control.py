"""What a supervisor and its child tell each other: one JSON object a message, both ways.

    to the child     job (what to run), go (the host is there; what was kept), attach (a device),
                     run (or serve disks, at a descriptor), detach; noted and unit, which answer
    from the child   loaded, matched (what its drivers match, how well), attached, ran, kept, done;
                     it waits for the answer of unit (a number for a device), failed and debug
                     (it wants the terminal, until it says debugged or, if it failed, has ended)

The child runs somebody's driver, so nothing that it says is believed to be more than text.
"""

from __future__ import annotations

import json
import socket
from typing import Any

LIMIT = 1 << 16
"""Bytes of a message."""
KEPT_MOST = LIMIT // 2
"""Bytes of what the drivers of one child hand to the next, as JSON."""


def send(sock: socket.socket, **message: object) -> None:
    """Send a message.  Raises OSError if nobody is there."""
    sock.send(json.dumps(message).encode()[:LIMIT])


def send_fd(sock: socket.socket, fd: int, **message: object) -> None:
    """Send a message, with a descriptor.  Raises OSError if nobody is there."""
    socket.send_fds(sock, [json.dumps(message).encode()[:LIMIT]], [fd])


def receive_fd(sock: socket.socket, flags: int = 0) -> tuple[dict[str, Any] | None, int | None]:
    """As `receive`, with the descriptor that came with it."""
    data, fds, _, _ = socket.recv_fds(sock, LIMIT + 1, 1, flags)
    return _message(data), fds[0] if fds else None


def receive(sock: socket.socket, flags: int = 0) -> dict[str, Any] | None:
    """The next message; None at the end, and for what is none.  `flags` as recv(2).

    Raises OSError: BlockingIOError if there is none and the socket does not wait.
    """
    return _message(sock.recv(LIMIT + 1, flags))


def _message(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data) if 0 < len(data) <= LIMIT else None
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def text(value: object, most: int = 2000) -> str:
    """What a child said, so that it can be shown on a terminal: one line of printable text."""
    words = " ".join(str(value).split())[:most]
    return "".join(c if c.isprintable() else "?" for c in words)
