"""An NVMe controller: reset and enable, admin commands, I/O queues, recovery, shutdown.

Source: NVM Express 1.4, 7.6.1 (initialization), 7.6.2 (shutdown), 9.6 (errors and resets).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from rumpci.bus_dma import BUS_DMA_READ, BusDmaTag
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.drivers.nvmedata import (
    HealthLog,
    IdentifyController,
    IdentifyNamespace,
    active_namespaces,
)
from rumpci.drivers.nvmeq import Command, Doorbells, QueuePair, QueueSize
from rumpci.drivers.nvmereg import (
    NVME_ABORT_10,
    NVME_ABORT_RESULT,
    NVME_ACQ,
    NVME_AQA,
    NVME_ASQ,
    NVME_CAP,
    NVME_CC,
    NVME_CNS_ACTIVE,
    NVME_CNS_CONTROLLER,
    NVME_CNS_NAMESPACE,
    NVME_CQE_SHIFT,
    NVME_CSTS,
    NVME_CSTS_GONE,
    NVME_FEAT_NUM_QUEUES,
    NVME_IDENTIFY_10,
    NVME_INTMS,
    NVME_IOCQ_11,
    NVME_IOQ_10,
    NVME_IOSQ_11,
    NVME_LOG_10,
    NVME_LOG_HEALTH,
    NVME_NSID_ALL,
    NVME_NUM_QUEUES,
    NVME_SQE_SHIFT,
    AdminOp,
)
from rumpci.errors import DriverError, RumpciError, WaitTimeout
from rumpci.kern import deadline, delay

if TYPE_CHECKING:
    from typing_extensions import Buffer

PAGE = 4096
MAXDATA = 1 << 20
"""The largest transfer that we ask for in one command: a PRP list stays inside one page."""
ADMIN_ENTRIES = 16
TO_US = 500_000
"""The unit of CAP.TO."""
SHUTDOWN_US = 5_000_000
"""How long a controller may take to shut down; 7.6.2 leaves it to the controller."""


class Registers(NamedTuple):
    """The windows of a controller: its registers, and its doorbells."""

    iot: BusSpaceTag
    ioh: BusSpaceHandle
    dbh: BusSpaceHandle


class Limits(NamedTuple):
    """What the user set: a command's time in microseconds, entries of a queue."""

    command_us: int
    entries: int


class Controller:
    """A controller, from reset to shutdown.  `say` takes messages for its user."""

    def __init__(
        self, name: str, regs: Registers, dmat: BusDmaTag, limits: Limits,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Allocate the admin queues; nothing is written to the controller.  Raises DriverError."""
        self.name, self.dmat, self.limits, self.say = name, dmat, limits, say
        self.iot, self.ioh, self.dbh = regs
        self.cap = NVME_CAP.read(self.iot, self.ioh)
        if not self.cap.CSS_NVM:
            raise self.error("attaching", "it has no NVM command set", "no driver here can use it")
        self.page = max(PAGE, 1 << 12 + self.cap.MPSMIN)
        self.ready_us = max(1, self.cap.TO) * TO_US
        self.doorbells = Doorbells(self.iot, self.dbh, self.cap.DSTRD)
        self.ioqs = list[QueuePair]()
        self.resets = self.aborts = 0
        self.asked = 0
        self.adminq = self._queue(0, ADMIN_ENTRIES, self.page)

    def error(self, tried: str, why: str, remedy: str, number: int = errno.EIO) -> DriverError:
        """An error that names the controller."""
        return DriverError(f"{self.name}: {tried}", why, remedy, errno=number)

    def _queue(self, qid: int, entries: int, maxdata: int) -> QueuePair:
        entries = min(entries, self.cap.MQES + 1)
        size = QueueSize(entries, min(2 * entries, self.cap.MQES + 1), maxdata, self.page)
        queue = QueuePair(self.dmat, self.name, qid, size, self.doorbells)
        queue.healthy, queue.recover = self.healthy, self.recover
        return queue

    def free(self) -> None:
        """Give back the queues' memory, after `disable`."""
        for queue in reversed(self.queues):
            queue.destroy()
        self.ioqs = []

    @property
    def queues(self) -> list[QueuePair]:
        """The admin queue, then the I/O queues."""
        return [self.adminq, *self.ioqs]

    @contextlib.contextmanager
    def polling(self) -> Iterator[None]:
        """Completions are polled for meanwhile, whoever else may be told of them."""
        before = [(queue, queue.polled) for queue in self.queues]
        for queue in self.queues:
            queue.polled = True
        try:
            yield
        finally:
            for queue, polled in before:
                queue.polled = polled

    # ---- reset, enable, disable: 3.1.5, 7.6.1 ------------------------------------------------

    def healthy(self) -> bool:
        """Whether it answers and reports no fatal status."""
        csts = NVME_CSTS.read(self.iot, self.ioh)
        return not csts.CFS  # reads as 1 too where nobody answers

    def enable(self) -> None:
        """Enable it with the admin queues.  Raises DriverError, WaitTimeout."""
        self.disable()
        size = self.adminq.size
        NVME_AQA.write(self.iot, self.ioh, ASQS=size.entries - 1, ACQS=size.cqentries - 1)
        NVME_ASQ.write(self.iot, self.ioh, self.adminq.sq.address)
        NVME_ACQ.write(self.iot, self.ioh, self.adminq.cq.address)
        mps = self.page.bit_length() - 13
        NVME_CC.write(
            self.iot, self.ioh, EN=1, MPS=mps, IOSQES=NVME_SQE_SHIFT, IOCQES=NVME_CQE_SHIFT
        )
        self._ready(1)

    def disable(self) -> None:
        """Reset it: it forgets all queues and touches memory no more.  Raises as `enable`."""
        cc = NVME_CC.read(self.iot, self.ioh)
        if cc.EN:
            NVME_CC.write(self.iot, self.ioh, cc.replace(EN=0, SHN=0))
        self._ready(0)

    def _ready(self, wanted: int) -> None:
        """Wait until CSTS.RDY is as wanted, at most CAP.TO."""
        until = deadline(self.ready_us)
        while True:
            late = until.passed()
            csts = NVME_CSTS.read(self.iot, self.ioh)
            if csts == NVME_CSTS_GONE:
                raise self._gone()
            if wanted == csts.RDY:
                return
            if wanted and csts.CFS:
                raise self.error("enabling", f"fatal status, CSTS {csts}", "reset the function")
            if late:
                raise WaitTimeout(
                    f"{self.name}: waiting for CSTS.RDY = {wanted}",
                    f"CSTS is {csts} after {self.ready_us} us (CAP.TO)",
                    "is bus mastering on? reset the function",
                )
            delay(10)

    def _gone(self) -> DriverError:
        return self.error(
            "reading CSTS", "no controller answers", "is it plugged in and powered?", errno.ENXIO
        )

    def shutdown(self) -> None:
        """Delete the I/O queues, have everything written to the medium, disable.  7.6.2.

        Raises WaitTimeout, DriverError if it does not get to rest.
        """
        with self.polling():
            try:
                for queue in reversed(self.ioqs):
                    self.delete_queue(queue)
                NVME_CC.modify(self.iot, self.ioh, SHN=1)
                NVME_CSTS.wait(self.iot, self.ioh, SHUTDOWN_US, SHST=2)
            finally:
                self.disable()

    def mask(self) -> None:
        """Mask its INTx and MSI: nobody takes them."""
        NVME_INTMS.write(self.iot, self.ioh, 0xFFFF_FFFF)

    # ---- admin commands: 5 ------------------------------------------------------------

    def admin(self, what: str, command: Command, data: Buffer | None = None) -> int:
        """Do an admin command that reads `data` or has none; dword 0 of its completion.

        Raises DriverError: EIO if the controller refused, ETIMEDOUT if it was reset.
        """
        queue = self.adminq
        cid = queue.start(command, data, BUS_DMA_READ)
        queue.ring()
        queue.wait(cid, cid + 1, self.limits.command_us)
        return queue.finish(cid, what)

    def identify(self, cns: int, nsid: int = 0) -> bytes:
        """A data structure of Identify.  5.15."""
        data = bytearray(4096)
        cdw10 = int(NVME_IDENTIFY_10(CNS=cns))
        self.admin(f"Identify {cns:#x}", Command(AdminOp.IDENTIFY, nsid, cdw10), data)
        return bytes(data)

    def identify_controller(self) -> IdentifyController:
        """Who it is and what it can do.  5.15.2.2."""
        return IdentifyController(self.identify(NVME_CNS_CONTROLLER))

    def identify_namespace(self, nsid: int) -> IdentifyNamespace:
        """A namespace's size and formats.  5.15.2.1."""
        return IdentifyNamespace(self.identify(NVME_CNS_NAMESPACE, nsid))

    def namespaces(self) -> list[int]:
        """The active namespaces' ids, in order.  5.15.2.3."""
        found = list[int]()
        while True:
            some = active_namespaces(self.identify(NVME_CNS_ACTIVE, found[-1] if found else 0))
            found += some
            if len(some) < 1024:
                return found

    def health(self, nsid: int = NVME_NSID_ALL) -> HealthLog:
        """The SMART / Health Information log page.  5.14.1.2."""
        data = bytearray(HealthLog.size)
        cdw10 = int(NVME_LOG_10(LID=NVME_LOG_HEALTH, NUMDL=HealthLog.size // 4 - 1))
        self.admin("Get Log Page (health)", Command(AdminOp.GET_LOG_PAGE, nsid, cdw10), data)
        return HealthLog(data)

    def set_queue_count(self, count: int) -> int:
        """Ask for `count` I/O queue pairs; how many it gives.  5.21.1.7."""
        self.asked = count
        cdw11 = int(NVME_NUM_QUEUES(NCQ=count - 1, NSQ=count - 1))
        command = Command(AdminOp.SET_FEATURES, 0, NVME_FEAT_NUM_QUEUES, cdw11)
        given = NVME_NUM_QUEUES(self.admin("Set Features (number of queues)", command))
        return min(count, given.NCQ + 1, given.NSQ + 1)

    # ---- I/O queues: 5.3 to 5.6 ------------------------------------------------------------

    def add_queue(self, maxdata: int) -> QueuePair:
        """Allocate one more I/O queue pair, for transfers of at most `maxdata` bytes."""
        queue = self._queue(len(self.ioqs) + 1, self.limits.entries, maxdata)
        self.ioqs.append(queue)
        return queue

    def create_queue(self, queue: QueuePair) -> None:
        """Tell the controller of a queue pair; it interrupts unless it is polled for good."""
        iv = {"IEN": 1, "IV": queue.vector} if queue.locked else {}
        size, qid = queue.size, queue.qid
        cq10, cq11 = NVME_IOQ_10(QID=qid, QSIZE=size.cqentries - 1), NVME_IOCQ_11(PC=1, **iv)
        self._create(AdminOp.CREATE_IOCQ, queue.cq.address, int(cq10), int(cq11))
        sq10, sq11 = NVME_IOQ_10(QID=qid, QSIZE=size.entries - 1), NVME_IOSQ_11(PC=1, CQID=qid)
        self._create(AdminOp.CREATE_IOSQ, queue.sq.address, int(sq10), int(sq11))

    def _create(self, opcode: AdminOp, address: int, cdw10: int, cdw11: int) -> None:
        """A command whose PRP1 is a queue's address, not data."""
        queue, cid = self.adminq, self.adminq.take()
        queue.put(Command(opcode, 0, cdw10, cdw11), cid, address, 0)
        queue.ring()
        queue.wait(cid, cid + 1, self.limits.command_us)
        queue.finish(cid, f"{opcode.name} {cdw10 & 0xFFFF}")

    def delete_queue(self, queue: QueuePair) -> None:
        """Delete a queue pair, the submission queue first.  7.6.2."""
        for opcode in (AdminOp.DELETE_IOSQ, AdminOp.DELETE_IOCQ):
            cdw10 = int(NVME_IOQ_10(QID=queue.qid))
            self.admin(f"{opcode.name} {queue.qid}", Command(opcode, 0, cdw10))

    # ---- recovery: 5.1, 9.6 ------------------------------------------------------------

    def recover(self, queue: QueuePair, low: int, high: int) -> None:
        """End late commands: abort each, and if that fails reset the controller.

        What was outstanding has failed then.  Raises DriverError (ENXIO) if no controller
        answers, and what `enable` raises; its queues stay out of use then.
        """
        with self.polling():
            if NVME_CSTS.read(self.iot, self.ioh) == NVME_CSTS_GONE:
                raise self._gone()
            if queue is not self.adminq and self.healthy() and self._aborted(queue, low, high):
                return
            self.reset()

    def _aborted(self, queue: QueuePair, low: int, high: int) -> bool:
        """Whether aborting ended them."""
        for cid in range(low, high):
            if queue.pending[cid]:
                self.say(f"{queue.name}: command {cid} is late, aborting it")
                try:
                    if not self.abort(queue, cid):
                        return False
                except DriverError:  # the abort itself was late, and brought a reset
                    break
        return queue.spin(low, high, self.limits.command_us)

    def abort(self, queue: QueuePair, cid: int) -> bool:
        """Ask the controller to abort a command; whether it did.  5.1."""
        self.aborts += 1
        cdw10 = int(NVME_ABORT_10(SQID=queue.qid, CID=cid))
        result = self.admin(f"Abort {cid}", Command(AdminOp.ABORT, 0, cdw10))
        return not NVME_ABORT_RESULT(result).NOT_ABORTED

    def reset(self) -> None:
        """Disable and enable it, with the queues it had; what was outstanding has failed."""
        self.resets += 1
        self.say("resetting the controller")
        self.disable()
        for queue in self.queues:
            queue.restart()
        try:
            self.enable()
            if self.asked:
                self.set_queue_count(self.asked)
            for queue in self.ioqs:
                self.create_queue(queue)
        except RumpciError:
            self.say("it did not come back from the reset")
            raise
