"""A child's end of the conversation with its supervisor (control.py)."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from rumpci.cpu import Cpu
from rumpci.supervisor import control

_ANSWERS = ("noted", "unit")
_LONG_SECONDS = 3600.0


class Talk:
    """What the child tells and asks, and what it is to do.

    Without a supervisor there is nothing to do: everything that waits for it raises SystemExit.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._orders: deque[dict[str, Any]] = deque()
        self._answers: deque[dict[str, Any]] = deque()

    def tell(self, kind: str, **message: object) -> None:
        """Say something.  Raises OSError if nobody is there."""
        control.send(self._sock, kind=kind, **message)

    def ask(self, kind: str, **message: object) -> dict[str, Any]:
        """Say something, and wait for the answer."""
        self.tell(kind, **message)
        while not self._answers:
            self._take(0)
        return self._answers.popleft()

    def order(self, cpu: Cpu | None = None) -> dict[str, Any]:
        """The next thing to do; `fd` is the descriptor that came with it.

        Handlers of `cpu` run until it comes.
        """
        while not self._orders:
            if cpu:
                cpu.poll(_LONG_SECONDS, self._sock.fileno())
            self._take(socket.MSG_DONTWAIT if cpu else 0)
        return self._orders.popleft()

    def unit(self, name: str) -> int:
        """A number for a device, which no other device of that name in the run has."""
        return int(self.ask("unit", name=name)["number"])

    def _take(self, flags: int) -> None:
        try:
            message, fd = control.receive_fd(self._sock, flags)
        except BlockingIOError:
            return
        if message is None:
            raise SystemExit(1)  # there is no host, and the supervisor says why
        (self._answers if message["kind"] in _ANSWERS else self._orders).append(
            message | {"fd": fd}
        )
