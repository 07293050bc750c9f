"""The registers of the unit: a BarAccess.  Source: VT-d specification 3.x, 10.4."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rumpci.machines.model.access import Registers
from rumpci.machines.model.memory import ModelMemory
from rumpci.machines.model.vtd import spec
from rumpci.machines.model.vtd.faults import EventMessage, FaultLog, Send
from rumpci.machines.model.vtd.queue import BadDescriptor, Queue
from rumpci.machines.model.vtd.spec import FECTL, FSTS, GCMD, GSTS, ICS, IECTL, IQA, IQH, IQT
from rumpci.machines.model.vtd.tables import Blocked, Tables

SIZE = 0x1000
_LOG = logging.getLogger(__name__)
_EVENT_SIZE = 16
_RECORDS_END = spec.RECORD_BASE + 16 * spec.RECORDS
_CONSTANTS = {register.offset: register for register in (
    spec.VER(MAX=1), spec.CAPABILITIES, spec.EXTENDED)}  # fmt: skip
_IOTLB = spec.EXTENDED.IRO * 16


class ModelVtd(Registers):
    """One unit in front of every function; `send` writes the messages of its own events.

    `misuse` collects what software did that the specification forbids or leaves
    undefined.  `faults.recorded` moves with every fault.
    """

    def __init__(self, memory: ModelMemory, send: Send) -> None:
        self.misuse: list[str] = []
        self._lock = threading.RLock()
        self._fault_event = EventMessage(FECTL.offset, send)
        self._done_event = EventMessage(IECTL.offset, send)
        self.faults = FaultLog(self._fault_event)
        self._tables = Tables(memory)
        self._queue = Queue(memory, self._tables, self._completed)
        self._status = self._root = self._complete = 0
        self._stored: dict[int, int] = {}  # requests that never complete
        self._writers: dict[int, Callable[[int], None]] = {
            GCMD.offset: self._command, FSTS.offset: self._clear, ICS.offset: self._clear_complete,
            IQT.offset: self._set_tail,
        }  # fmt: skip

    # ---- what a device does --------------------------------------------------------------

    def translate(self, requester: int, addr: int, write: bool) -> int | None:
        """The address of the page of memory that a request reaches, or None, and a fault."""
        with self._lock:
            if not self._status & GSTS.TES.mask:
                return addr & -4096
            try:
                return self._tables.page(requester, addr, write)
            except Blocked as blocked:
                if not blocked.quiet:
                    self.faults.record(requester, addr, write, blocked.reason)
                return None

    # ---- what software does: BarAccess -----------------------------------------------------

    def read(self, offset: int, width: int) -> int:
        """See BarAccess."""
        with self._lock:
            if not self._allowed("read", offset, width):
                return (1 << 8 * width) - 1
            words = (self._read(at) for at in range(offset, offset + width, 4))
            return sum(word << 32 * i for i, word in enumerate(words))

    def write(self, offset: int, width: int, value: int) -> None:
        """See BarAccess."""
        with self._lock:
            if self._allowed("write", offset, width):
                for at in range(offset, offset + width, 4):
                    self._write(at, value >> 8 * (at - offset) & 0xFFFF_FFFF)

    def _allowed(self, verb: str, offset: int, width: int) -> bool:
        """Software accesses registers whole and aligned, or a wide one by its halves (10.1)."""
        good = width in (4, 8) and offset % width == 0 and 0 <= offset <= SIZE - width
        if not good:
            self._forbidden(f"{verb} of {width} bytes at {offset:#x}")
        return good

    def _forbidden(self, what: str) -> None:
        self.misuse.append(what)
        _LOG.warning("VT-d unit: %s: not as the specification has it", what)

    # ---- registers, by 32 bits -------------------------------------------------------------

    def _event(self, at: int) -> EventMessage | None:
        for event in (self._fault_event, self._done_event):
            if event.base <= at < event.base + _EVENT_SIZE:
                return event
        return None

    def _read(self, at: int) -> int:
        if event := self._event(at):
            return event.read(at)
        if spec.RECORD_BASE <= at < _RECORDS_END:
            return self.faults.read(at)
        base = at & ~7
        wide = _CONSTANTS.get(base, self._wide().get(base))
        if wide is not None:
            return int(wide) >> 8 * (at - base) & 0xFFFF_FFFF
        narrow = {GSTS.offset: self._status, FSTS.offset: self.faults.status,
                  ICS.offset: self._complete}  # fmt: skip
        return narrow.get(at, self._stored.get(at, 0))

    def _wide(self) -> dict[int, int]:
        queue = self._queue
        return {
            spec.RTADDR.offset: self._root, IQA.offset: int(queue.address),
            IQH.offset: int(IQH(QH=queue.head)), IQT.offset: int(IQT(QT=queue.tail)),
        }  # fmt: skip

    def _write(self, at: int, value: int) -> None:
        if event := self._event(at):
            event.write(at, value)
        elif at in self._writers:
            self._writers[at](value)
        elif spec.RECORD_BASE <= at < _RECORDS_END:
            self.faults.write(at, value)
        elif at & ~7 == spec.RTADDR.offset:
            self._root = _half(self._root, at, value)
        elif at & ~7 == IQA.offset:
            self._set_queue(_half(int(self._queue.address), at, value))
        elif at & ~7 in (spec.CCMD.offset, _IOTLB, _IOTLB + 8):
            self._stored[at] = value
            if value >> 31 and at & 4:
                self._forbidden(f"invalidation by register {at & ~7:#x}, not by the queue")

    # ---- commands ----------------------------------------------------------------------------

    def _command(self, value: int) -> None:
        """GCMD (10.4.4): levels for TE and QIE, one-shot for SRTP."""
        levels = GCMD.TE.mask | GCMD.QIE.mask
        changed = (value ^ self._status) & levels | value & GCMD.SRTP.mask
        if changed.bit_count() > 1 or value & ~(levels | GCMD.SRTP.mask):
            self._forbidden(f"global command {value:#x} with status {self._status:#x}")
        if value & GCMD.SRTP.mask:
            self._set_root()
        if changed & GCMD.QIE.mask:
            self._enable_queue(value)
        if changed & value & GCMD.TE.mask and not self._status & GSTS.RTPS.mask:
            self._forbidden("translation without a root table")
        self._status = self._status & ~levels | value & levels

    def _set_root(self) -> None:
        root = spec.RTADDR(self._root)
        if root.TTM:
            self._forbidden(f"root table {self._root:#x} of a mode that is not legacy")
        self._tables.root = root.RTA << 12
        self._status |= GSTS.RTPS.mask

    def _enable_queue(self, value: int) -> None:
        if value & GCMD.QIE.mask:
            self._queue.head = 0
            if self._queue.tail:
                self._forbidden("a queue that is enabled with a tail")

    def _set_queue(self, value: int) -> None:
        if self._status & GSTS.QIES.mask:
            self._forbidden("the queue's address while it is enabled")
        self._queue.address = IQA(value)

    def _set_tail(self, value: int) -> None:
        self._queue.tail = IQT(value & IQT.QT.mask).QT
        self._run_queue()

    def _run_queue(self) -> None:
        if not self._status & GSTS.QIES.mask or self.faults.status & FSTS.IQE.mask:
            return
        try:
            self._queue.run()
        except BadDescriptor:
            self._forbidden(f"descriptor {self._queue.head} of the queue")
            self.faults.queue_error()

    def _clear(self, value: int) -> None:
        """FSTS; the queue goes on when its error is cleared (6.5.2.10)."""
        self.faults.clear(value)
        self._run_queue()

    def _clear_complete(self, value: int) -> None:
        self._complete &= ~value
        if not self._complete:
            self._done_event.settle()

    def _completed(self) -> None:
        if not self._complete:
            self._complete = ICS.IWC.mask
            self._done_event.fire()


def _half(old: int, at: int, value: int) -> int:
    """A 64-bit register with 32 of its bits replaced."""
    shift = 8 * (at & 4)
    return old & ~(0xFFFF_FFFF << shift) | value << shift
