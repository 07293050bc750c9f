"""Interrupts of a function that a guard in another process holds for us.

A driver waits for it in poll(2), at the connection's `Source`, and reads it without a question.
"""

from __future__ import annotations

from typing import Any

from rumpci.errors import BadShim
from rumpci.guard.held import Allocated
from rumpci.host import Address, Event, IntrType
from rumpci.pci4 import abi
from rumpci.pci4.abi import Control, Op
from rumpci.pci4.client_link import Connection, Source, packable

_RECORD = abi.Event.LAYOUT


class Pci4Interrupt(Allocated):
    """The seam's Interrupt; `events` is where its events come from."""

    def __init__(
        self,
        connection: Connection,
        address: Address,
        type_: IntrType,
        place: tuple[int, int, str],
        events: Source,
    ) -> None:
        self._handle, index, name = place
        super().__init__(address, index, name)
        self.type = type_
        self._connection, self._events = connection, events
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
        return self._events.ready()  # the end of the connection too, for `read` to tell

    def arm(self) -> bool:
        """See host.Interrupt.  A descriptor of ours needs no arming."""
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
        """Let its events go: it was released."""
        self.released, self.established = True, False
        self._events.close()

    def _control(self, what: Control) -> int:
        request = abi.IntrControl(intr=self._handle, what=what)
        return int(self._connection.call(Op.INTR_CONTROL, request).value)

    def _take(self) -> list[Event]:
        try:
            data = self._events.take()
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
    sources = connection.sources(indices, descriptors)
    made = list[Pci4Interrupt]()
    for handle, index, events in zip(answer.intr, indices, sources, strict=False):
        name = answer.unit if type_ is IntrType.INTX else f"{answer.unit} vec {index}"
        made.append(Pci4Interrupt(connection, address, type_, (handle, index, name), events))
    return made


def _event(fields: tuple[Any, ...]) -> Event:
    """A record; how many words it has is bounded by what there is."""
    sequence, count, vector, words, *status = fields
    return Event(sequence, vector, count, tuple(status[:words]))
