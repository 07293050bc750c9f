"""The guard in a process of its own: a socket, a loop in one thread, connections.

    with Server(guard, "/run/rumpci/pci0") as server:
        server.run()                    until server.stop()

While clients are busy the loop looks again for a moment before it sleeps: waking
it would cost more than an access to a register.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from rumpci.errors import TooMany
from rumpci.guard.served import Served
from rumpci.listen import Listener
from rumpci.pci4.account import Account, Accounts
from rumpci.pci4.connection import BUFFER, Closed, Connection
from rumpci.pci4.policy import Limits, Peer, Policy, Rights
from rumpci.pci4.session import Session

log = logging.getLogger("rumpci.serve")

CONNECTIONS = 256
"""Connections at a time, of all users."""
SPIN_NS = 100_000
"""How long after a request the loop looks for the next before it sleeps."""
PAUSE_SECONDS = 0.2
"""How long nobody is let in after the descriptors ran out."""
_STRANGER = Limits(connections=4)  # it only gets the reason why it gets nothing
_KIND, _BACKLOG = socket.SOCK_SEQPACKET, 64
_PEERGROUPS = 59
_GROUPS = 1024
_ENDED = select.EPOLLHUP | select.EPOLLERR


class Looked(Protocol):
    """An interrupt that the loop looks at while somebody is busy; neither raises."""

    def look(self) -> None:
        """Deliver it if it fired; from here on its descriptor may stay silent."""

    def arm(self) -> None:
        """Let its descriptor tell again; deliver it if it has fired."""


class Keeper(Protocol):
    """Who looks after a client."""

    def leaving(self) -> None:
        """It is gone; all that it held is still held."""

    def left(self) -> None:
        """All of that was released."""


class Server:
    """Serves `guard` at the socket `path` (none: only `adopt`), as `policy` allows.

    The guard stays its owner's to close.  `failed` is told what a watcher, or what the loop was
    asked to call, raised; it is logged in any case.  Raises ServerError if the socket cannot be
    had.
    """

    def __init__(
        self,
        guard: Served,
        path: str | os.PathLike[str] | None = None,
        policy: Policy | None = None,
        *,
        mode: int = 0o660,
    ) -> None:
        self.guard, self.policy = guard, policy or Policy()
        self.failed: Callable[[Exception], None] | None = None
        self._listener = None if path is None else Listener(path, _KIND, mode, _BACKLOG)
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready: dict[int, Callable[[int], None]] = {}
        self._connections: dict[int, Connection] = {}
        self._keepers: dict[int, Keeper] = {}
        self._accounts = Accounts()
        self._buffer = bytearray(BUFFER)
        self._calls: deque[Callable[[], None]] = deque()
        self._number, self._stopping, self._waiting = 0, False, False
        self._spin_until = self._open_at = 0
        self._looked_at: set[Looked] = set()
        self._looking = False
        self.watch(self._bell, select.EPOLLIN, self._rung)
        if self._listener:
            self.watch(self._listener.fileno(), select.EPOLLIN, self._knocked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def sessions(self) -> Iterator[Session]:
        """Those of all connections."""
        return (one.session for one in self._connections.values() if one.session)

    # ---- from other threads and signal handlers -------------------------------------------

    def stop(self) -> None:
        """End `run` after what it is doing now."""
        self._stopping = True
        os.eventfd_write(self._bell, 1)

    def call(self, what: Callable[[], None]) -> None:
        """Have the loop call `what`."""
        self._calls.append(what)
        os.eventfd_write(self._bell, 1)

    def turns(self, sock: socket.socket) -> int:
        """How many requests the client behind an adopted socket has made; 0 once it left."""
        connection = self._connections.get(sock.fileno())
        return connection.turns if connection else 0

    def adopt(
        self, sock: socket.socket, rights: Rights | None = None, keeper: Keeper | None = None
    ) -> None:
        """Serve the client at the other end of a SOCK_SEQPACKET pair, with these rights.

        Without them it has those of who made the pair: all, if that is this process.
        `keeper` is told its end.
        """
        self.call(lambda: self._admit(sock, rights, keeper))

    # ---- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`."""
        poll = self._poll.poll
        while not self._stopping:
            spinning = time.monotonic_ns() < self._spin_until
            if self._looking and not spinning:
                self._end_look()
            events = poll(0 if spinning else self._patience())
            for fd, what in events:
                self._happened(fd, what)
            if self._waiting:
                self._accept()
            elif self._open_at:
                self._reopen()
            elif spinning and not events:
                self._look()
                os.sched_yield()

    def _happened(self, fd: int, what: int) -> None:
        if (happened := self._ready.get(fd)) is not None:
            try:
                happened(what)
            except Exception as error:  # of an interrupt: the others go on
                log.exception("descriptor %d is not watched any more", fd)
                self.unwatch(fd)
                self._tell_failure(error)

    def _look(self) -> None:
        """While somebody is busy, look at the interrupts: to be woken for one takes longer."""
        self._looking = bool(self._looked_at)
        for looked in tuple(self._looked_at):
            looked.look()

    def _end_look(self) -> None:
        self._looking = False
        for looked in tuple(self._looked_at):
            looked.arm()

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready(events)` when a descriptor has one of these events."""
        self._poll.register(fd, events)
        self._ready[fd] = ready

    def look_at(self, looked: Looked, *, on: bool) -> None:
        """Look at an interrupt before every sleep, or stop doing so."""
        (self._looked_at.add if on else self._looked_at.discard)(looked)

    def unwatch(self, fd: int) -> None:
        """Stop doing so; nothing happens where nobody watches."""
        if self._ready.pop(fd, None):
            with contextlib.suppress(OSError):  # the descriptor is closed already
                self._poll.unregister(fd)

    def _patience(self) -> float:
        return PAUSE_SECONDS if self._open_at else -1

    def _rung(self, _events: int) -> None:
        os.eventfd_read(self._bell)
        while self._calls:
            try:
                self._calls.popleft()()
            except Exception as error:
                log.exception("what the server was asked to call failed")
                self._tell_failure(error)

    def _tell_failure(self, error: Exception) -> None:
        if self.failed:
            self.failed(error)

    # ---- connections ---------------------------------------------------------------------------

    def _knocked(self, _events: int) -> None:
        """Note it: a number that the events at hand still speak of must not be used again yet."""
        self._waiting = True

    def _accept(self) -> None:
        self._waiting = False
        if self._listener is None:
            return
        try:
            sock = self._listener.accept()
        except OSError as error:  # no descriptors, no memory: whoever knocks stays there
            log.warning("no more connections for now: %s", error)
            self.unwatch(self._listener.fileno())
            self._open_at = time.monotonic_ns() + int(PAUSE_SECONDS * 1e9)
        else:
            if sock is not None:
                self._admit(sock)

    def _reopen(self) -> None:
        """Listen again once the pause is over."""
        if self._listener and time.monotonic_ns() >= self._open_at:
            self._open_at = 0
            self.watch(self._listener.fileno(), select.EPOLLIN, self._knocked)

    def _admit(
        self, sock: socket.socket, rights: Rights | None = None, keeper: Keeper | None = None
    ) -> None:
        """Take a client, or close its connection."""
        sock.setblocking(False)
        self._number += 1
        peer = peer_of(sock)
        name = f"client={self._number} pid={peer.pid} uid={peer.uid}"
        rights = rights or self.policy.rights(peer)
        account = self._accounts.of(peer.uid)
        try:
            self._take_place(account, rights)
        except TooMany as error:
            log.warning("refuse %s %s", name, error)
            sock.close()
            self._accounts.forget_idle(account)
            return
        session = Session(self, name, account, rights, peer.pid) if rights else None
        connection = Connection(sock, peer, session, name, self._buffer)
        self._connections[sock.fileno()] = connection
        if keeper:
            self._keepers[sock.fileno()] = keeper
        fd = sock.fileno()
        self.watch(fd, select.EPOLLIN, lambda events: self._turn(connection, fd, events))
        log.info("connect %s", name)

    def _take_place(self, account: Account, rights: Rights | None) -> None:
        if len(self._connections) >= CONNECTIONS:
            raise TooMany("connecting", f"{CONNECTIONS} are connected", "try again later")
        account.take("connections", rights.limits if rights else _STRANGER)

    def _turn(self, connection: Connection, fd: int, events: int) -> None:
        """A request came, or the client has gone: then nothing of it is waited for."""
        if events & _ENDED:
            self._drop(connection, fd, "it left")
            return
        connection.turns += 1
        try:
            connection.turn()
        except Closed as why:
            self._drop(connection, fd, str(why))
        except OSError as error:
            self._drop(connection, fd, str(error))
        except Exception:
            log.exception("%s: its connection failed", connection.name)
            self._drop(connection, fd, "the server failed")
        else:
            self._spin_until = time.monotonic_ns() + SPIN_NS

    def _drop(self, connection: Connection, fd: int, why: str) -> None:
        self.unwatch(fd)
        del self._connections[fd]
        keeper = self._keepers.pop(fd, None)
        if keeper:
            keeper.leaving()
        connection.close()
        account = self._accounts.of(connection.peer.uid)
        account.give("connections")
        self._accounts.forget_idle(account)
        log.info("disconnect %s: %s", connection.name, why)
        if keeper:
            keeper.left()

    def close(self) -> None:
        """Drop every client, which releases all that they hold, and remove the socket."""
        if self._poll.closed:
            return
        if self._listener:
            self.unwatch(self._listener.fileno())
            self._listener.close()
        for fd, connection in list(self._connections.items()):
            self._drop(connection, fd, "the server ends")
        self._poll.close()
        os.close(self._bell)


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end of a Unix socket, as it was when it connected (unix(7))."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    pid, uid, gid = struct.unpack("iII", data)
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, 4 * _GROUPS)
    except OSError:  # a kernel that does not tell, or too many
        groups = b""
    return Peer(pid, uid, gid, frozenset(group for (group,) in struct.iter_unpack("I", groups)))
