"""What one client holds of the guard: handles to claims, and what belongs to each claim.

A handle is a number of this connection's, and never used again.  Everything
that a session holds is released through the guard when it ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from rumpci.errors import BadRequest, NotSupported, RumpciError
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.guard.holding import Holding
from rumpci.guard.served import Served
from rumpci.guard.window import GuardWindow
from rumpci.host import Function
from rumpci.host_dma import Fault
from rumpci.pci4.account import Account
from rumpci.pci4.deliver import Delivery
from rumpci.pci4.policy import Rights

log = logging.getLogger("rumpci.serve")
_HANDLES = (1 << 32) - 1
T = TypeVar("T")


class Watcher(Protocol):
    """The part of a server that a session needs."""

    guard: Served

    def sessions(self) -> Iterable[Session]:
        """Those of all connections."""

    def watch(self, fd: int, events: int, ready: Any) -> None:
        """Call `ready(events)` when a descriptor has one of these events."""

    def unwatch(self, fd: int) -> None:
        """Stop doing so."""

    def look_at(self, looked: Any, *, on: bool) -> None:
        """Look at an interrupt (`look`, then `arm`) before every sleep, or stop doing so."""


@dataclass
class Held:
    """A claim of a session's, and the handles of what belongs to it."""

    handle: int
    claim: Holding[Any]
    windows: set[int] = field(default_factory=set)
    interrupts: dict[int, Delivery] = field(default_factory=dict)
    memories: dict[int, GuardMemory] = field(default_factory=dict)
    maps: dict[int, GuardMap] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    bytes: int = 0


class Session:
    """A client of the server's guard; `name` is for the log.

    `private`: the machine has memory for processes that get its descriptor.  `windows` is
    looked up at every access, so it has the windows themselves.
    """

    def __init__(
        self, watcher: Watcher, name: str, account: Account, rights: Rights, pid: int = 0
    ) -> None:
        self.watcher, self.guard, self.name = watcher, watcher.guard, name
        self.account, self.rights, self.pid = account, rights, pid
        self.private = watcher.guard.private
        self.greeted = False
        self.passed: Sequence[int] = ()  # descriptors that go with the answer
        self.handed: Sequence[Delivery] = ()  # whose descriptors are the client's alone then
        self.claims: dict[int, Held] = {}
        self.windows: dict[int, GuardWindow] = {}
        self.interrupts: dict[int, tuple[Held, Delivery]] = {}
        self.memories: dict[int, tuple[Held, GuardMemory]] = {}
        self.maps: dict[int, tuple[Held, GuardMap]] = {}
        self.rows: tuple[Any, Sequence[Any]] = (None, ())  # the listing that is being told
        self._last = 0

    def new_handle(self) -> int:
        """A number that was never a handle here."""
        if self._last >= _HANDLES:
            raise NotSupported("taking a handle", "all 4294967295 were used", "connect again")
        self._last += 1
        return self._last

    def claim(self, function: Function, who: str) -> Held:
        """Claim a function, with DMA memory of a file of its own where the guard has that."""
        self.account.take("claims", self.rights.limits)
        try:
            # the user's, not the connection's: a bank is its owner's for good
            owner = self.rights.owner or f"user {self.account.uid}"
            private = owner if self.private else None
            claim = self.guard.claim(function.address, who, private=private)
        except BaseException:
            self.account.give("claims")
            raise
        held = Held(self.new_handle(), claim)
        self.claims[held.handle] = held
        log.info("claim %s %s as %r", self.name, function.address, who)
        return held

    def release(self, held: Held) -> None:
        """Give a function back: the guard quiets it, and all that belongs to it is gone."""
        address = held.claim.function.address
        del self.claims[held.handle]
        self.drop_interrupts(held)
        for table, handles in (
            (self.windows, held.windows), (self.memories, held.memories), (self.maps, held.maps),
        ):  # fmt: skip
            for handle in handles:
                table.pop(handle, None)
        try:
            held.claim.release()
        finally:
            self.account.give("claims")
            self.account.give("objects", len(held.windows) + len(held.memories) + len(held.maps))
            self.account.give("bytes", held.bytes)
            log.info("release %s %s", self.name, address)

    def drop_interrupts(self, held: Held) -> None:
        """Stop delivering, before the guard takes the interrupts' descriptors away."""
        self.account.give("interrupts", len(held.interrupts))
        for handle, delivery in held.interrupts.items():
            del self.interrupts[handle]
            delivery.close()
        held.interrupts = {}

    def end(self) -> None:
        """Release everything, whatever one of them raises."""
        for held in list(self.claims.values()):
            try:
                self.release(held)
            except RumpciError as error:
                log.warning("release %s failed: %s", self.name, error)
            except Exception:
                log.exception("release %s failed", self.name)

    def sent(self) -> None:
        """The answer is sent: who has closed what it was handed can be told from here on."""
        self.passed = ()
        for delivery in self.handed:
            delivery.theirs.close()
        self.handed = ()

    # ---- handles ---------------------------------------------------------------------

    def held(self, handle: int) -> Held:
        """The claim of a handle.  Raises BadRequest (EINVAL)."""
        return _find(self.claims, handle, "claim")

    def window(self, handle: int) -> GuardWindow:
        """The window of a handle.  Raises BadRequest (EINVAL)."""
        return _find(self.windows, handle, "window")

    def interrupt(self, handle: int) -> Delivery:
        """The interrupt of a handle.  Raises BadRequest (EINVAL)."""
        return _find(self.interrupts, handle, "interrupt")[1]

    def memory(self, handle: int) -> tuple[Held, GuardMemory]:
        """The claim and memory of a handle.  Raises BadRequest (EINVAL)."""
        return _find(self.memories, handle, "memory")

    def map(self, handle: int) -> tuple[Held, GuardMap]:
        """The claim and map of a handle.  Raises BadRequest (EINVAL)."""
        return _find(self.maps, handle, "map")


def _find(table: dict[int, T], handle: int, kind: str) -> T:
    found = table.get(handle)
    if found is None:
        raise BadRequest(
            f"using {kind} {handle}", f"this connection has no such {kind}",
            "use handles that this connection was given, until they are given back",
        )  # fmt: skip
    return found
