"""A pair of NVMe queues: put entries, ring once for many, take completions.

    cid = q.start(Command(NvmOp.READ, nsid, lba), buffer, BUS_DMA_READ)
    q.ring()
    q.wait(cid, cid + 1)
    q.finish(cid)

A command's id is the number of its slot; a slot has a DMA map and room for a PRP list, made
once.  `pending[cid]` is 1 from `put` until its completion was taken.  Source: NVM Express 1.4,
4.1 (queues), 4.6 (completions, phase tag), 7.2 (what software does).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rumpci.bus_dma import (
    BUS_DMA_NOWAIT,
    BUS_DMA_READ,
    BUS_DMA_WRITE,
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_POSTWRITE,
    BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE,
    BusDmamap,
    BusDmaTag,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
)
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag, bus_space_write_4
from rumpci.drivers.nvmedma import DmaArea
from rumpci.drivers.nvmeprp import PRP_SIZE, prp_entries, prp_pair
from rumpci.drivers.nvmereg import (
    NVME_CQE,
    NVME_CQHDBL,
    NVME_SC_ABORT_REQUESTED,
    NVME_SQE,
    NVME_SQTDBL,
    status_text,
)
from rumpci.errors import DriverError, WaitTimeout
from rumpci.kern import (
    IPL_BIO,
    cv_broadcast,
    cv_init,
    cv_timedwait,
    deadline,
    delay,
    mstohz,
    mutex_enter,
    mutex_exit,
    mutex_init,
    yield_,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

SPIN_US = 2000
"""How long a polled wait looks again and again before it only looks now and then."""
PAUSE_US = 100
"""How often it looks then."""
SQE_WORDS = NVME_SQE.size // 8
_SYNCS = {
    BUS_DMA_READ: (BUS_DMASYNC_PREREAD, BUS_DMASYNC_POSTREAD),
    BUS_DMA_WRITE: (BUS_DMASYNC_PREWRITE, BUS_DMASYNC_POSTWRITE),
}
STATUS_RESET = 1 << 15
"""The status of a command that a reset of the controller ended: no controller reports it."""


class Command(NamedTuple):
    """A command but for its data and id.  Section 4.2."""

    opcode: int
    nsid: int = 0
    cdw10: int = 0
    cdw11: int = 0
    cdw12: int = 0
    cdw13: int = 0
    cdw14: int = 0
    cdw15: int = 0


class Doorbells(NamedTuple):
    """Where the doorbells are: a window from the first one on, and CAP.DSTRD."""

    iot: BusSpaceTag
    ioh: BusSpaceHandle
    dstrd: int


class QueueSize(NamedTuple):
    """`entries` of the submission queue, `cqentries` (no fewer) of the completion queue.

    `maxdata` is the largest transfer, `page` the controller's page, in bytes.
    """

    entries: int
    cqentries: int
    maxdata: int
    page: int


class QueuePair:
    """Submission and completion queue `qid`.

    `healthy` says whether the controller is; when a command is late,
    `recover(queue, low, high)` has to end those with ids from `low` to `high`.  It is polled
    while `polled` is set; `locked` says that a handler takes completions too.  Raises DmaError.
    """

    def __init__(
        self, dmat: BusDmaTag, name: str, qid: int, size: QueueSize, doorbells: Doorbells
    ) -> None:
        self.dmat, self.name, self.qid, self.size = dmat, f"{name} queue {qid}", qid, size
        self._iot, self._dbh = doorbells.iot, doorbells.ioh
        self._sqtdbl = NVME_SQTDBL(qid, doorbells.dstrd)
        self._cqhdbl = NVME_CQHDBL(qid, doorbells.dstrd)
        self.slots = size.entries - 1
        self.healthy: Callable[[], bool] = lambda: True
        self.recover: Callable[[QueuePair, int, int], None] = lambda _q, _low, _high: None
        self.polled, self.locked, self.vector = True, False, 0
        self.lock, self.cv = mutex_init(IPL_BIO), cv_init(f"nvmeq{qid}")
        with contextlib.ExitStack() as stack:
            self._allocate(stack)
            self._release = stack.pop_all()
        self.lazy = size.cqentries - size.entries
        self.unexpected = self.lost = 0  # completions nobody waited for, interrupts
        self.free = list(range(self.slots))
        self.pending = bytearray(self.slots)
        self._post = [0] * self.slots
        self.restart()

    def _allocate(self, stack: contextlib.ExitStack) -> None:
        size, name = self.size, self.name
        self.sq = DmaArea(self.dmat, size.entries * NVME_SQE.size, f"{name} SQ", BUS_DMA_WRITE)
        stack.callback(self.sq.free)
        self.cq = DmaArea(self.dmat, size.cqentries * NVME_CQE.size, f"{name} CQ", BUS_DMA_READ)
        stack.callback(self.cq.free)
        segments = size.maxdata // size.page + 1
        self._stride = PRP_SIZE << (segments - 1).bit_length()  # a power of two: in one page
        self.lists = DmaArea(self.dmat, self.slots * self._stride, f"{name} PRPs", BUS_DMA_WRITE)
        stack.callback(self.lists.free)
        self.maps = list[BusDmamap]()
        for cid in range(self.slots):
            dmam = bus_dmamap_create(
                self.dmat, size.maxdata, segments, size.page, size.page, name=f"{name} slot {cid}"
            )
            stack.callback(bus_dmamap_destroy, self.dmat, dmam)
            self.maps.append(dmam)
        self._sqwords, self._cqwords = self.sq.view.cast("Q"), self.cq.view.cast("I")
        self._prps = [self.prp_list(cid) for cid in range(self.slots)]

    def prp_list(self, cid: int) -> memoryview:
        """A slot's room for PRP entries."""
        return self.lists.view[cid * self._stride : (cid + 1) * self._stride].cast("Q")

    def destroy(self) -> None:
        """Give back all memory; the controller must not use the queues any more."""
        for dmam in self.maps:
            if dmam.dm_mapsize:  # of a command that nothing could end before
                bus_dmamap_unload(self.dmat, dmam)
        for view in (self._sqwords, self._cqwords, *self._prps):
            view.release()
        self._release.close()

    def restart(self) -> None:
        """Begin with empty queues, as the controller does; what was outstanding has failed."""
        self.tail = self.rung = self.unacknowledged = 0
        self._at, self._phase = 3, 1  # the last dword of the next completion entry
        self.sq.view[:] = bytes(self.sq.size)
        self.cq.view[:] = bytes(self.cq.size)
        self.cq.sync(0, self.cq.size, BUS_DMASYNC_PREREAD)
        self.status, self.result = [STATUS_RESET] * self.slots, [0] * self.slots
        self.pending[:] = bytes(self.slots)

    # ---- slots ------------------------------------------------------------

    def take(self) -> int:
        """A free slot.  Raises DriverError (EAGAIN) if there is none."""
        if not self.free:
            raise self._no_slot(1)
        return self.free.pop()

    def take_run(self, count: int) -> int:
        """`count` free slots with successive ids; the first.  Raises DriverError (EAGAIN)."""
        free = set(self.free)
        for low in sorted(free):
            run = range(low, low + count)
            if free.issuperset(run):
                self.free = [cid for cid in self.free if cid not in run]
                return low
        raise self._no_slot(count)

    def _no_slot(self, count: int) -> DriverError:
        return DriverError(
            f"{self.name}: {count} commands more",
            f"{len(self.free)} of its {self.slots} slots are free",
            "finish some first, close a batch, or set nvme.entries",
            errno=errno.EAGAIN,
        )

    # ---- submission: 7.2.1 ------------------------------------------------------------

    def start(self, command: Command, data: Buffer | None = None, flags: int = 0) -> int:
        """Put a command in a free slot, with its data loaded; its id.  `ring` submits it.

        `flags`: BUS_DMA_READ (the controller writes the data) or BUS_DMA_WRITE.  Raises
        DriverError (EAGAIN), BadRange (EINVAL) for data PRPs cannot name, DmaError.
        """
        cid = self.take()
        try:
            prp1, prp2 = (0, 0) if data is None else self.load(cid, data, flags)
        except BaseException:
            self.free.append(cid)
            raise
        self.put(command, cid, prp1, prp2)
        return cid

    def load(self, cid: int, data: Buffer, flags: int) -> tuple[int, int]:
        """Load data into a slot's map: PRP1 and PRP2."""
        dmam = self.maps[cid]
        bus_dmamap_load(self.dmat, dmam, data, None, None, BUS_DMA_NOWAIT | flags)
        try:
            pair = self.prps(cid, prp_entries(dmam.dm_segs, self.size.page))
            pre, self._post[cid] = _SYNCS[flags]
            bus_dmamap_sync(self.dmat, dmam, 0, dmam.dm_mapsize, pre)
        except BaseException:
            bus_dmamap_unload(self.dmat, dmam)
            raise
        return pair

    def prps(self, cid: int, entries: list[int]) -> tuple[int, int]:
        """PRP1 and PRP2 for entries, with the slot's list if need be."""
        at = cid * self._stride
        pair = prp_pair(entries, self._prps[cid], self.lists.address + at)
        if len(entries) > 2:
            self.lists.sync(at, PRP_SIZE * (len(entries) - 1), BUS_DMASYNC_PREWRITE)
        return pair

    def put(self, command: Command, cid: int, prp1: int, prp2: int) -> None:
        """Write a command's entry at the tail."""
        opcode, nsid, *dwords = command
        NVME_SQE.pack_into(
            self.sq.view, self.tail * 64, opcode, 0, cid, nsid, 0, 0, prp1, prp2, *dwords
        )
        self.pending[cid] = 1
        self.tail = (self.tail + 1) % self.size.entries

    def put_many(self, entries: memoryview, low: int) -> None:
        """Put prepared entries, as 64-bit words, at the tail; their ids run from `low` on."""
        ring, tail, end = self._sqwords, self.tail, self.size.entries
        count = len(entries) // SQE_WORDS
        here = min(count, end - tail)
        ring[tail * SQE_WORDS : (tail + here) * SQE_WORDS] = entries[: here * SQE_WORDS]
        if here < count:
            ring[: (count - here) * SQE_WORDS] = entries[here * SQE_WORDS :]
        self.tail = (tail + count) % end
        self.pending[low : low + count] = b"\1" * count

    def ring(self) -> None:
        """Submit what was put since the last time: one write of the doorbell.  3.1.24."""
        start, tail, sq = self.rung, self.tail, self.sq
        if start < tail:
            sq.sync(start * 64, (tail - start) * 64, BUS_DMASYNC_PREWRITE)
        elif start > tail:
            sq.sync(start * 64, sq.size - start * 64, BUS_DMASYNC_PREWRITE)
            if tail:
                sq.sync(0, tail * 64, BUS_DMASYNC_PREWRITE)
        self.rung = tail
        bus_space_write_4(self._iot, self._dbh, self._sqtdbl, tail)

    # ---- completion: 7.2.3 ------------------------------------------------------------

    def complete(self) -> int:
        """Take every completion there is; how many.  The phase tag tells which are new.  4.6."""
        cq, words, at, phase, taken = self.cq, self._cqwords, self._at, self._phase, 0
        bus_dmamap_sync(self.dmat, cq.map, 0, cq.size, BUS_DMASYNC_POSTREAD)
        word = words[at]
        if word >> 16 & 1 != phase:
            return 0
        pending, status, result, end = self.pending, self.status, self.result, len(words)
        while word >> 16 & 1 == phase:
            cid = word & 0xFFFF
            if cid < self.slots and pending[cid]:
                status[cid], result[cid], pending[cid] = word >> 17, words[at - 3], 0
            else:
                self.unexpected += 1
            taken += 1
            at += 4
            if at > end:
                at, phase = 3, phase ^ 1
            word = words[at]
        self._at, self._phase = at, phase
        self._acknowledge(taken)
        return taken

    def _acknowledge(self, taken: int) -> None:
        """Tell the controller how far we are, where nothing depends on it now and then only."""
        self.unacknowledged += taken
        if self.unacknowledged >= self.lazy:
            self.unacknowledged = 0
            self.cq.sync(0, self.cq.size, BUS_DMASYNC_PREREAD)
            bus_space_write_4(self._iot, self._dbh, self._cqhdbl, self._at >> 2)

    def look(self) -> None:
        """Take completions beside a handler that takes them too."""
        if not self.locked:
            self.complete()
            return
        mutex_enter(self.lock)
        try:
            self.complete()
        finally:
            mutex_exit(self.lock)

    def intr(self) -> bool:
        """The interrupt handler's part; whether there were completions."""
        mutex_enter(self.lock)
        try:
            taken = self.complete()
            cv_broadcast(self.cv)
        finally:
            mutex_exit(self.lock)
        return taken > 0

    # ---- waiting ------------------------------------------------------------

    def wait(self, low: int, high: int, limit: int) -> None:
        """Return when no command with an id from `low` up to `high` is outstanding.

        After `limit` microseconds `recover` ends them: they have failed then, unless they
        completed meanwhile.  Raises what it raises.
        """
        if not (self.spin if self.polled else self._sleep)(low, high, limit):
            self.recover(self, low, high)

    def spin(self, low: int, high: int, limit: int) -> bool:
        """Look until none is outstanding; False after `limit` us or if the controller failed."""
        outstanding, until, soon = self.pending.find, deadline(limit), deadline(SPIN_US)
        while True:
            self.look()
            if outstanding(1, low, high) < 0:
                return True
            if not soon.passed():
                yield_()
            elif until.passed() or not self.healthy():
                return False
            else:
                delay(PAUSE_US)

    def _sleep(self, low: int, high: int, limit: int) -> bool:
        """Sleep until a handler took their completions; False after `limit` microseconds."""
        until = deadline(limit)
        mutex_enter(self.lock)
        try:
            while self.pending.find(1, low, high) >= 0:
                cv_timedwait(self.cv, self.lock, max(1, mstohz(int(until.remaining() * 1000))))
        except WaitTimeout:
            self.lost += self.complete() > 0  # the interrupt was, the completion not
            return self.pending.find(1, low, high) < 0
        finally:
            mutex_exit(self.lock)
        return True

    def finish(self, cid: int, what: str) -> int:
        """Give a slot back after `wait`; dword 0 of the completion.  Raises DriverError."""
        dmam = self.maps[cid]
        if dmam.dm_mapsize:
            bus_dmamap_sync(self.dmat, dmam, 0, dmam.dm_mapsize, self._post[cid])
            bus_dmamap_unload(self.dmat, dmam)
        self.free.append(cid)
        self.check(cid, what)
        return self.result[cid]

    def check(self, cid: int, what: str) -> None:
        """Raise DriverError if a command failed: EIO, or ETIMEDOUT for one that was ended."""
        status = self.status[cid]
        if not status:
            return
        number, why, remedy = errno.EIO, status_text(status), "see NVM Express 1.4, 4.6.1.2"
        if status == STATUS_RESET:
            number, why = errno.ETIMEDOUT, "the controller was reset before it completed"
            remedy = "try again; the controller works"
        elif status & 0x7FF == NVME_SC_ABORT_REQUESTED:
            number, why = errno.ETIMEDOUT, "it took too long and was aborted"
            remedy = "try again, or set nvme.timeout (ms)"
        raise DriverError(f"{self.name}: {what}", why, remedy, errno=number)
