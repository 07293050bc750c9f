"""Interrupts of a function that a guard in another process holds for us.

The guard sends each event to a socket of the interrupt's own, so that a driver waits
for it in poll(2) and reads it without a question.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from rumpci.errors import BadShim
from rumpci.guard.held import Allocated
from rumpci.host import Address, Event, IntrType
from rumpci.pci4 import abi
from rumpci.pci4._events import Events
from rumpci.pci4.abi import Control, Op
from rumpci.pci4.client_link import Connection, packable

_RECORD = abi.Event.LAYOUT
_MOST = 1024
"""Messages that one `read` takes: whoever sends without end does not hold it for ever."""


class Pci4Interrupt(Allocated):
    """The seam's Interrupt; `events` is the socket that its events come from."""

    def __init__(
        self,
        connection: Connection,
        address: Address,
        type_: IntrType,
        place: tuple[int, int, str],
        events: socket.socket,
    ) -> None:
        self._handle, index, name = place
        super().__init__(address, index, name)
        self.type = type_
        self._connection, self._events = connection, events
        self._records = Events(events.fileno(), _RECORD.size)
        self._unmask = abi.IntrControl(intr=self._handle, what=Control.UNMASK).pack()

    def fileno(self) -> int:
        """See host.Interrupt."""
        self._check_allocated("fileno")
        return self._events.fileno()

    def establish(self, shim: bytes | None = None) -> None:
        """See host.Interrupt."""
        self._check_allocated("establishing")
        program = shim or b""
        request = abi.IntrEstablish(intr=self._handle, length=len(program), shim=program)
        with packable(lambda why: BadShim.at(None, why, "see docs/shim.md")):
            request.pack()
        self._connection.call(Op.INTR_ESTABLISH, request)
        self.established = True

    def read(self) -> list[Event]:
        """See host.Interrupt."""
        self._check_allocated("reading")
        return self._take() if self.established else []

    def ready(self) -> bool:
        """See host.Interrupt."""
        if not self.established:
            return False
        return self._records.ready()  # the end of the connection too, for `read` to tell

    def arm(self) -> bool:
        """See host.Interrupt.  A socket needs no arming."""
        return self.ready()

    def unmask(self) -> None:
        """See host.Interrupt.  It is posted, as a write is: a handler need not wait for it."""
        self._check_established("unmasking")
        self._connection.channel.post_request(Op.INTR_CONTROL, self._unmask)

    def mask(self) -> None:
        """See host.Interrupt."""
        self._check_established("masking")
        self._control(Control.MASK)

    def pending(self) -> bool:
        """See host.Interrupt."""
        self._check_allocated("asking")
        return bool(self._control(Control.PENDING))

    def disestablish(self) -> None:
        """See host.Interrupt."""
        if not self.established:
            return
        self.established = False
        self._control(Control.DISESTABLISH)
        self._take()

    def end(self) -> None:
        """Close its socket: it was released."""
        self.released, self.established = True, False
        self._events.close()

    def _control(self, what: Control) -> int:
        request = abi.IntrControl(intr=self._handle, what=what)
        return int(self._connection.call(Op.INTR_CONTROL, request).value)

    def _take(self) -> list[Event]:
        try:
            data = self._records.take(_MOST)
        except EOFError:
            why = "the guard closed it"
        except ValueError as error:
            why = f"what arrived is no event ({error})"
        except OSError as error:
            why = str(error)
        else:
            return [_event(fields) for fields in _RECORD.iter_unpack(data)]
        raise self._connection.lost(f"reading {self}", why)


def take_interrupts(
    connection: Connection,
    address: Address,
    type_: IntrType,
    indices: list[int],
    answer: Any,
    descriptors: list[int],
) -> list[Pci4Interrupt]:
    """The interrupts that INTR_ALLOC gave; it takes the descriptors.  Raises MachineDied (EIO)."""
    if len(descriptors) != len(indices):
        raise connection.garbage(Op.INTR_ALLOC, f"{len(descriptors)} descriptors of {len(indices)}")
    made = list[Pci4Interrupt]()
    with contextlib.ExitStack() as failed:
        for handle, index in zip(answer.intr, indices, strict=False):
            name = answer.unit if type_ is IntrType.INTX else f"{answer.unit} vec {index}"
            events = _socket(connection, descriptors)
            failed.callback(events.close)
            made.append(Pci4Interrupt(connection, address, type_, (handle, index, name), events))
        failed.pop_all()
    return made


def _socket(connection: Connection, descriptors: list[int]) -> socket.socket:
    """The first descriptor as a socket that keeps messages apart."""
    try:
        events = socket.socket(fileno=descriptors[0])
    except OSError as error:
        raise connection.garbage(Op.INTR_ALLOC, f"no socket: {error}") from error
    descriptors.pop(0)
    if events.type not in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        events.close()
        raise connection.garbage(Op.INTR_ALLOC, "a socket that does not keep messages apart")
    return events


def _event(fields: tuple[Any, ...]) -> Event:
    """A record; how many words it has is bounded by what there is."""
    sequence, count, vector, words, *status = fields
    return Event(sequence, vector, count, tuple(status[:words]))
