"""A namespace as a disk: blocks read and written, one at a time or many at once.

Source: NVM Express 1.4, 6 (NVM commands), 5.15.2.1 (sizes and formats).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rumpci.bus_dma import BUS_DMA_READ, BUS_DMA_WRITE
from rumpci.drivers.nvmectl import Controller
from rumpci.drivers.nvmedata import (
    DSM_RANGE,
    DSM_RANGE_BLOCKS,
    IdentifyController,
    IdentifyNamespace,
)
from rumpci.drivers.nvmeq import Command, QueuePair
from rumpci.drivers.nvmereg import NVME_DSM_11, NVME_RW_12, NvmOp
from rumpci.errors import BadRange, DriverError, NotSupported, RumpciError

if TYPE_CHECKING:
    from typing_extensions import Buffer

AT_ONCE = 8
"""How many commands of one long transfer are outstanding at most: each bounces on its own."""
NLB_MAX = 1 << 16
"""The most blocks that a command can name."""


class NvmeNamespace:
    """A disk (disk.Disk): an active namespace of a controller whose I/O queues exist."""

    def __init__(self, controller: Controller, identity: IdentifyController, nsid: int) -> None:
        """Identify it.  Raises DriverError, and NotSupported for a format with metadata."""
        self.controller, self.nsid, self.disk_name = (
            controller,
            nsid,
            f"{controller.name} nsid {nsid}",
        )
        self.identity: IdentifyNamespace = controller.identify_namespace(nsid)
        lbaf = self.identity.lbaf()
        if lbaf.MS or not 9 <= lbaf.LBADS <= 16:
            raise NotSupported(
                f"{controller.name} namespace {nsid}",
                f"blocks of 2 ** {lbaf.LBADS} bytes with {lbaf.MS} of metadata",
                "format it without metadata",
            )
        self.block_size, self.blocks = 1 << lbaf.LBADS, self.identity.NSZE
        self.disk_readonly = self.identity.write_protected
        self.maxdata = controller.ioqs[0].size.maxdata
        self.oncs, self.cache = identity.ONCS, bool(identity.VWC & 1)
        self._next = 0

    def queue(self) -> QueuePair:
        """The next I/O queue, in turn."""
        ioqs = self.controller.ioqs
        self._next = (self._next + 1) % len(ioqs)
        return ioqs[self._next]

    # ---- disk.Disk ------------------------------------------------------------

    def read(self, lba: int, count: int) -> bytes:
        """`count` blocks from `lba` on.  Raises BadRange (EINVAL), DriverError."""
        self.check_range("read", lba, count)
        data = bytearray(count * self.block_size)
        if count:
            self._transfer(NvmOp.READ, lba, memoryview(data), BUS_DMA_READ)
        return bytes(data)

    def readinto(self, lba: int, buffer: Buffer) -> None:
        """Fill a writable buffer of whole blocks from `lba` on.  Raises as `read`, DmaError.

        Memory from bus_dmamem_map is read into directly if it starts at a multiple of four.
        """
        view = memoryview(buffer).cast("B")
        self.check_range("read", lba, self._blocks_of(view))
        self._transfer(NvmOp.READ, lba, view, BUS_DMA_READ)

    def write(self, lba: int, data: Buffer) -> None:
        """Write whole blocks from `lba` on.  Raises BadRange (EINVAL), DriverError (EROFS, EIO)."""
        view = memoryview(data).cast("B")
        self.check_range("write", lba, self._blocks_of(view))
        self.check_writable("write")
        self._transfer(NvmOp.WRITE, lba, view, BUS_DMA_WRITE)

    def flush(self) -> None:
        """Return when everything written has reached the medium.  6.8."""
        self._do("flush", Command(NvmOp.FLUSH, self.nsid))

    def discard(self, lba: int, count: int) -> None:
        """Deallocate blocks (Dataset Management, 6.7).  Raises NotSupported (EOPNOTSUPP)."""
        self.check_range("discard", lba, count)
        self.check_writable("discard")
        self._demand(IdentifyController.ONCS_DSM, "discard")
        while count:
            some = min(count, DSM_RANGE_BLOCKS)
            command = Command(NvmOp.DSM, self.nsid, 0, int(NVME_DSM_11(AD=1)))
            self._do(f"discard of {some} blocks from {lba}", command, DSM_RANGE.pack(0, some, lba))
            lba, count = lba + some, count - some

    # ---- more ------------------------------------------------------------

    def write_zeroes(self, lba: int, count: int) -> None:
        """Write zeros without transferring them.  6.16.  Raises NotSupported (EOPNOTSUPP)."""
        self.check_range("write zeroes", lba, count)
        self.check_writable("write zeroes")
        self._demand(IdentifyController.ONCS_WRITE_ZEROES, "write zeroes")
        most = min(NLB_MAX, self.maxdata // self.block_size)
        for first in range(lba, lba + count, most):
            some = min(most, lba + count - first)
            command = self.rw(NvmOp.WRITE_ZEROES, first, some)
            self._do(f"write zeroes to {some} blocks from {first}", command)

    def rw(self, opcode: NvmOp, lba: int, count: int) -> Command:
        """The command for blocks.  6.9, 6.15, 6.16."""
        cdw12 = int(NVME_RW_12(NLB=count - 1))
        return Command(opcode, self.nsid, lba & 0xFFFF_FFFF, lba >> 32, cdw12)

    def check_range(self, what: str, lba: int, count: int) -> None:
        """Raise BadRange (EINVAL) for blocks that the disk does not have."""
        if lba < 0 or count < 0 or lba + count > self.blocks:
            raise BadRange(
                f"{self.disk_name}: {what} of {count} blocks from {lba}",
                f"it has {self.blocks}",
                "stay inside them",
            )

    def check_writable(self, what: str) -> None:
        """Raise DriverError (EROFS) if it is write protected."""
        if self.disk_readonly:
            raise DriverError(
                f"{self.disk_name}: {what}", "it is write protected", "write elsewhere",
                errno=errno.EROFS,
            )  # fmt: skip

    def _blocks_of(self, view: memoryview) -> int:
        count, rest = divmod(len(view), self.block_size)
        if rest:
            raise BadRange(
                f"{self.disk_name}: transfer of {len(view)} bytes",
                f"blocks have {self.block_size}",
                "transfer whole blocks",
            )
        return count

    def _demand(self, bit: int, what: str) -> None:
        if not self.oncs & bit:
            raise NotSupported(
                f"{self.disk_name}: {what}", f"ONCS is {self.oncs:#x}", "the controller has none"
            )

    # ---- transfers ------------------------------------------------------------

    def _do(self, what: str, command: Command, data: Buffer | None = None) -> None:
        """One command, to its end."""
        queue = self.queue()
        cid = queue.start(command, data, BUS_DMA_WRITE)
        queue.ring()
        queue.wait(cid, cid + 1, self.controller.limits.command_us)
        queue.finish(cid, f"{self.disk_name} {what}")

    def _transfer(self, opcode: NvmOp, lba: int, view: memoryview, flags: int) -> None:
        """Read or write as many commands as it takes, AT_ONCE with one doorbell."""
        queue = self.queue()
        parts = list(self._parts(opcode, lba, view))
        for at in range(0, len(parts), AT_ONCE):
            self._together(queue, parts[at : at + AT_ONCE], flags)

    def _parts(
        self, opcode: NvmOp, lba: int, view: memoryview
    ) -> Iterator[tuple[Command, memoryview]]:
        most = min(NLB_MAX * self.block_size, self.maxdata)
        for at in range(0, len(view), most):
            part = view[at : at + most]
            blocks = len(part) // self.block_size
            yield self.rw(opcode, lba + at // self.block_size, blocks), part

    def _together(
        self, queue: QueuePair, parts: list[tuple[Command, memoryview]], flags: int
    ) -> None:
        """Start all, then finish all: the first error is raised when every one has ended."""
        started, error = list[tuple[int, Command]](), None
        try:
            for command, part in parts:
                started.append((queue.start(command, part, flags), command))
        except RumpciError as refused:
            error = refused
        queue.ring()
        for cid, command in started:
            what = f"{self.disk_name} {NvmOp(command.opcode).name.lower()} from {command.cdw10}"
            queue.wait(cid, cid + 1, self.controller.limits.command_us)
            try:
                queue.finish(cid, what)
            except DriverError as failed:
                error = error or failed
        if error:
            raise error
