"""The interrupts of a claim (rules 5 and 6): the seam's Interrupt, in process.

held.py     the life of one, which other hosts' interrupts share
intx.py     a line, shared with others: masked while it is acknowledged
msi.py      a message: nothing has to be masked for one to be handled
claim.py    hands them out; router.py brings them what fired
"""

from __future__ import annotations

import os
import select
from abc import abstractmethod
from collections import deque

from rumpci.guard.held import HeldInterrupt
from rumpci.guard.recorder import Kind, source_of
from rumpci.guard.router import Router
from rumpci.host import Address, Event

QUEUE = 256
"""Events kept apart; beyond that they are merged into the last one's count."""


class GuardInterrupt(HeldInterrupt):
    """What all types share: the queue and the descriptor."""

    def __init__(self, router: Router, address: Address, index: int, name: str) -> None:
        super().__init__(address, index, name, router.lock)
        self._router = router
        self._events: deque[Event] = deque()
        self._reading = self._looked = self._signalled = False
        self._left = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._poll = select.epoll()
        except OSError:  # no descriptors left
            os.close(self._left)
            raise
        self._poll.register(router.controller.fileno(), select.EPOLLIN)
        self._poll.register(self._left, select.EPOLLIN)

    def fileno(self) -> int:
        """See host.Interrupt."""
        self._check_allocated("fileno")
        return self._poll.fileno()

    def read(self) -> list[Event]:
        """See host.Interrupt."""
        self._check_allocated("reading")
        with self._router.lock:
            self._reading = True  # what comes now needs no waking: it is being read
            try:
                self._collect()
            finally:
                self._reading = self._looked = False
            events = self._take_all()
            if not events:
                self._quiet()
            return events

    def _collect(self) -> None:
        """Collect what fired, unless `ready` did and nothing has come since."""
        if not (self._looked and self._events) or self._router.controller.arm():
            self._router.service()

    def _take_all(self) -> list[Event]:
        """The queue, and the descriptor no longer readable."""
        events = list(self._events)
        self._events.clear()
        if self._signalled:
            self._signalled = False
            os.eventfd_read(self._left)
        return events

    def ready(self) -> bool:
        """See host.Interrupt."""
        if not self.established:
            return False
        self._looked = True
        if not self._events and self._router.controller.fired():
            self._router.service()  # it may be another's: then nobody else has to be asked
        return bool(self._events)

    def arm(self) -> bool:
        """See host.Interrupt."""
        if not self.established:
            return False
        self._looked = False
        if self._router.controller.arm():
            self._router.service()
        return bool(self._events)

    def post(self, count: int, status: tuple[int, ...] = ()) -> None:
        """Add an event; called with the router's lock held."""
        self.total += count
        self._router.recorder.note(Kind.INTERRUPT, source_of(self.address), self.index, 0, 0, count)
        self._sequence += 1
        if len(self._events) >= QUEUE:
            last = self._events.pop()
            count += last.count
        elif not (self._signalled or self._reading or self._looked):
            self._signalled = True
            os.eventfd_write(self._left, 1)
        self._events.append(Event(self._sequence, self.index, count, status))

    def _discard(self) -> None:
        self._take_all()

    def _close(self) -> None:
        self._poll.close()
        os.close(self._left)

    @abstractmethod
    def _quiet(self) -> None:
        """Take note that nothing had fired when it was read."""
