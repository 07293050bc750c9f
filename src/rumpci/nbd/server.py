"""The sockets of the NBD server, and its loop.

A driver process has one thread, and its interrupt handlers run when it waits.  So the
server waits in `Cpu.poll`, and each client has a turn when it has something to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from rumpci.cpu import curcpu
from rumpci.disk import Disk
from rumpci.listen import Listener
from rumpci.nbd.session import Session

log = logging.getLogger("rumpci.nbd")

MAX_CLIENTS = 16
"""Connections at a time, as each may hold a request's data; more wait until one ends."""
STALL_SECONDS = 30.0
"""A client that is silent this long in the middle of a message is dropped."""
TICK_SECONDS = 0.5
"""How often stalled clients are looked for."""
RECV_BYTES = 256 << 10


def listener(path: str | os.PathLike[str]) -> Listener:
    """What NBD clients connect to.  Raises ServerError (EADDRINUSE or what the system says)."""
    return Listener(path, socket.SOCK_STREAM, 0o600, MAX_CLIENTS, f"unix:{path}")


class Client:
    """A connection: bytes from the socket to its session, and back."""

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.sock = sock
        self.session = session
        self.closed = False
        self.spoke = False
        self._steps = session.run()
        self._in = bytearray()
        self._wanted: int | None = next(self._steps)  # None: to be closed when all is sent
        self._heard = time.monotonic()

    def runnable(self) -> bool:
        """Whether `step` has something to do that needs no more from the socket."""
        wanted = self._wanted
        return wanted is not None and not self.session.out and len(self._in) >= wanted

    def events(self) -> int:
        """What to wait for: it is not listened to before it takes what is said to it."""
        if self.session.out:
            return selectors.EVENT_WRITE
        return 0 if self.runnable() else selectors.EVENT_READ

    def stalled(self, seconds: float) -> bool:
        """Whether it is in the middle of a message, or on its way out, and silent for long."""
        listens = self.session.out and self._wanted is not None  # it may be stopped for a while
        quiet = self.session.idle and not self._in
        return (
            not (listens or quiet or self.runnable()) and time.monotonic() - self._heard > seconds
        )

    def receive(self) -> None:
        """Take what has come."""
        try:
            data = self.sock.recv(RECV_BYTES)
        except BlockingIOError:
            return
        self._heard = time.monotonic()
        self._in += data
        self.closed = not data
        self.spoke = self.spoke or bool(data)

    def step(self) -> None:
        """Let the session go on once, and send what it says; close when it is over."""
        if self.runnable():
            self._advance()
        self._send()
        self.closed = self.closed or (self._wanted is None and not self.session.out)

    def _advance(self) -> None:
        wanted = self._wanted or 0
        with memoryview(self._in) as view:
            data = bytes(view[:wanted])
        del self._in[:wanted]
        try:
            self._wanted = self._steps.send(data)
        except StopIteration:
            self._wanted = None

    def _send(self) -> None:
        out = self.session.out
        with contextlib.suppress(BlockingIOError):
            while out:
                sent = self.sock.send(out[0])
                self._heard = time.monotonic()
                out[0] = out[0][sent:]
                if not out[0]:
                    out.popleft()

    def close(self) -> None:
        """Close its socket."""
        self._steps.close()
        self.sock.close()


class Server:
    """Serves disks, by name, at a Unix socket; a context manager that removes the socket.

    `path` is its file's, or a listener that is there already.

    `once` ends `serve` when the last client has left; who is silent for `stall_seconds` in
    the middle of a message is dropped.  Raises ServerError (EADDRINUSE
    or what the system says) if the socket cannot be had.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Listener,
        disks: Mapping[str, Disk],
        *,
        once: bool = False,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._listener = listener(path) if isinstance(path, str | os.PathLike) else path
        self.path = self._listener.path
        self._disks, self._once, self.stall_seconds = disks, once, stall_seconds
        self._clients: list[Client] = []
        self._served = self._stopping = False
        self._refill = 0.0
        self._selector = selectors.EpollSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._bell, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def stop(self) -> None:
        """End `serve` after what it is doing now; for signal handlers and other threads."""
        self._stopping = True
        os.eventfd_write(self._bell, 1)

    def serve(self) -> None:
        """Serve until `stop`, or until the last client has left if it is for once."""
        while not self._stopping and not (self._once and self._served and not self._clients):
            self._wait()
            for key, events in self._selector.select(0):
                self._happened(key, events)
            for client in list(self._clients):
                self._turn(client)

    def _wait(self) -> None:
        """Sleep until a client or an interrupt has something; handlers run here."""
        self._watch(self._listener, selectors.EVENT_READ if self._accepting() else 0)
        for client in self._clients:
            self._watch(client.sock, client.events(), client)
        if any(client.runnable() for client in self._clients):
            curcpu().poll(0)
        else:
            curcpu().poll(TICK_SECONDS, self._selector.fileno())

    def _accepting(self) -> bool:
        return len(self._clients) < MAX_CLIENTS and time.monotonic() >= self._refill

    def _watch(
        self, sock: socket.socket | Listener, events: int, client: Client | None = None
    ) -> None:
        """Have the selector tell about these events of the socket, and no others."""
        key = self._selector.get_map().get(sock)
        if key is None and events:
            self._selector.register(sock, events, client)
        elif key is not None and not events:
            self._selector.unregister(sock)
        elif key is not None and key.events != events:
            self._selector.modify(sock, events, client)

    def _happened(self, key: selectors.SelectorKey, events: int) -> None:
        if isinstance(key.data, Client):
            if events & selectors.EVENT_READ:
                self._guarded(key.data, key.data.receive)
        elif key.fileobj is self._listener:
            self._accept()

    def _accept(self) -> None:
        try:
            sock = self._listener.accept()
        except OSError as error:  # no descriptors, no memory: try again later
            log.warning("%s: no more clients for now: %s", self.path, error.strerror)
            self._refill = time.monotonic() + TICK_SECONDS
            return
        if sock is None:
            return
        sock.setblocking(False)
        self._clients.append(Client(sock, Session(self._disks)))

    def _turn(self, client: Client) -> None:
        self._guarded(client, client.step)
        if client.closed or client.stalled(self.stall_seconds):
            self._drop(client)

    def _guarded(self, client: Client, do: Callable[[], None]) -> None:
        """Do something for a client; what it raises ends this client only."""
        try:
            do()
        except OSError:  # it went away
            client.closed = True
        except Exception:
            log.exception("%s: a client's session failed", self.path)
            client.closed = True

    def _drop(self, client: Client) -> None:
        self._watch(client.sock, 0)
        self._clients.remove(client)
        self._served = self._served or client.spoke  # who only looks whether we are here is none
        client.close()

    def close(self) -> None:
        """Drop every client and remove the socket.  Closing twice does nothing."""
        if self._listener.fileno() < 0:
            return
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        os.close(self._bell)
        self._listener.close()
