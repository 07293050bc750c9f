"""From vectors to the interrupts of claims (rule 5): nothing is lost, nothing storms.

The router runs when somebody reads an interrupt: it collects what fired,
whoever it is for, and leaves it with its owner.  No thread is needed: each
interrupt's descriptor polls readable when the controller has something, or
when another reader left an event for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from rumpci import pcireg as pr
from rumpci.errors import NoVectors
from rumpci.guard.recorder import Recorder
from rumpci.host import Address
from rumpci.machines.machine import Machine

log = logging.getLogger("rumpci.guard")

STRAY_LIMIT = 100
"""After so many interrupts in a row that are nobody's, a line stays masked."""


class Member(Protocol):
    """An established INTx interrupt, as its line sees it."""

    name: str
    address: Address

    def take(self, count: int) -> bool:
        """Quiet the device if the interrupt is its; whether it was."""

    def holds(self) -> bool:
        """Whether the line must stay masked until this one's handler is done."""

    def give_up(self) -> bool:
        """Quiet the device by itself if it asserts the line all the same; whether it did."""


@dataclass
class Line:
    """One pin, its members, and what happened on it.

    `open` is whether it was unmasked and has not fired since, as far as was collected.
    """

    pin: int
    open: bool = False
    members: list[Member] = field(default_factory=list)
    fired: int = 0
    strays: int = 0
    stuck: bool = False
    unclaimed: dict[Address, int] = field(default_factory=dict)


class Router:
    """The vectors and lines of one machine, for the guard's claims."""

    def __init__(self, machine: Machine) -> None:
        self.lock = threading.RLock()
        self.controller = machine.interrupts
        self._machine = machine
        self._targets: dict[int, Callable[[int], None]] = {}
        self.lines: dict[int, Line] = {}
        self._units: dict[str, int] = {}
        self.recorder = Recorder(1)
        self.on_collect: Callable[[], None] = _nothing  # the IOMMU's faults wake us too

    def service(self) -> None:
        """Collect what fired and hand it to its owners."""
        with self.lock:
            for vector, count in self.controller.collect():
                if target := self._targets.get(vector):
                    target(count)
        self.on_collect()

    def unit(self, kind: str) -> int:
        """A number for the next function that uses MSI or MSI-X, as in "msix0 vec 1"."""
        number = self._units.get(kind, 0)
        self._units[kind] = number + 1
        return number

    # ---- messages -------------------------------------------------------------------

    def allocate(self, count: int, align: int = 1) -> int:
        """The first of `count` free consecutive vectors.  Raises NoVectors (ENOSPC)."""
        vectors = self.controller.vectors
        first = (vectors.start + align - 1) // align * align
        for start in range(first, vectors.stop - count + 1, align):
            if not any(v in self._targets for v in range(start, start + count)):
                for vector in range(start, start + count):
                    self._targets[vector] = lambda _count: None
                return start
        raise NoVectors(
            f"allocating {count} vectors",
            "the machine has none left",
            "release some, or ask for fewer",
        )

    def connect(self, vector: int, target: Callable[[int], None]) -> None:
        """Call `target(count)` when a vector fires."""
        with self.lock:
            self._targets[vector] = target
            self.controller.watch(vector, True)

    def disconnect(self, vector: int) -> None:
        """Forget what fires; the vector stays allocated."""
        with self.lock:
            self.controller.watch(vector, False)
            self._targets[vector] = lambda _count: None

    def free(self, vector: int) -> None:
        """Give a vector back."""
        with self.lock:
            self.controller.watch(vector, False)
            self._targets.pop(vector, None)

    # ---- lines ------------------------------------------------------------------------

    def join(self, pin: int, member: Member) -> None:
        """Add an established interrupt to its line, and let the line fire."""
        with self.lock:
            line = self.lines.setdefault(pin, Line(pin))
            if not line.members:
                line.stuck, line.strays = False, 0
                self.connect(self.controller.line_vector(pin), lambda n: self._fire(line, n))
            line.members.append(member)
            self._end(line)

    def leave(self, pin: int, member: Member) -> None:
        """Take an interrupt off its line; an empty line is masked."""
        with self.lock:
            line = self.lines[pin]
            if member in line.members:
                line.members.remove(member)
            if line.members:
                self._end(line)
            else:
                self.hold(pin)
                self.disconnect(self.controller.line_vector(pin))

    def is_alone(self, pin: int, address: Address) -> bool:
        """Whether no other function is wired to a line, claimed or not."""
        others = (f.address for f in self._machine.functions() if not f.header)
        return not any(self._wired(at) == pin for at in others if at != address)

    def hold(self, pin: int) -> None:
        """Mask a line, until `end` finds that no member holds it."""
        with self.lock:
            self.lines[pin].open = False
            self.controller.mask_line(pin)

    def end(self, pin: int) -> None:
        """A handler is done: let the line fire again unless another member holds it."""
        with self.lock:
            self._end(self.lines[pin])

    def _fire(self, line: Line, count: int) -> None:
        line.fired += count
        line.open = False
        ours = [member for member in list(line.members) if member.take(count)]
        if ours:
            line.strays = 0
        elif not self._quiet_unclaimed(line):
            self._stray(line)
        self._end(line)

    def _end(self, line: Line) -> None:
        held = line.stuck or any(member.holds() for member in line.members)
        if line.members and not held and not line.open:
            line.open = True  # if it is, and fired by now, it would fire twice
            self.controller.unmask_line(line.pin)

    def _quiet_unclaimed(self, line: Line) -> bool:
        """Disable INTx of functions on this line that assert it and that nobody established."""
        established, found = {member.address for member in line.members}, False
        for function in self._machine.functions():
            at = function.address
            if at in established or function.header:
                continue
            if self._wired(at) == line.pin and self._asserts(at):
                found = True
                self._disable(at)
                line.unclaimed[at] = line.unclaimed.get(at, 0) + 1
                log.warning(
                    "%s interrupts on %s pin %d and no driver handles it: its INTx is disabled",
                    at, self.controller.name, line.pin,
                )  # fmt: skip
        return found

    def _wired(self, address: Address) -> int | None:
        pin = self._machine.conf_read(address, pr.PCI_INTERRUPT_REG) >> 8 & 0xFF
        return self.controller.pin(address, pin - 1) if 1 <= pin <= 4 else None

    def _asserts(self, address: Address) -> bool:
        status = self._machine.conf_read(address, pr.PCI_COMMAND_STATUS_REG)
        return bool(
            status & pr.PCI_STATUS_INT_STATUS and not status & pr.PCI_COMMAND_INTERRUPT_DISABLE
        )

    def _disable(self, address: Address) -> None:
        command = self._machine.conf_read(address, pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        command |= pr.PCI_COMMAND_INTERRUPT_DISABLE
        self._machine.conf_write(address, pr.PCI_COMMAND_STATUS_REG, command)

    def _stray(self, line: Line) -> None:
        line.strays += 1
        if line.strays < STRAY_LIMIT or line.stuck:
            return
        quieted = [member for member in line.members if member.give_up()]
        if quieted:
            line.strays = 0  # the others go on
        else:
            line.stuck = True
            log.warning(
                "%s pin %d fired %d times in a row and is nobody's: it is masked",
                self.controller.name, line.pin, line.strays,
            )  # fmt: skip


def _nothing() -> None:
    """What is called when nobody else wants to know."""
