"""Many reads or writes at once, with one doorbell, in memory that the controller reaches.

    with NvmeBatch(disk, 32, blocks=8) as batch:
        batch.submit([lba, ...])        at most 32 of them
        batch.wait()
        batch.views[0]                  the data of the first

Everything that does not change (entries, PRPs, DMA map) is made once.  Two batches in turns
keep the controller busy while the data of one is looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Self

from rumpci.bus_dma import (
    BUS_DMA_READ,
    BUS_DMA_WRITE,
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_POSTWRITE,
    BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE,
)
from rumpci.drivers.nvmedma import DmaArea
from rumpci.drivers.nvmens import NvmeNamespace
from rumpci.drivers.nvmeprp import prp_entries
from rumpci.drivers.nvmeq import SQE_WORDS, QueuePair
from rumpci.drivers.nvmereg import NVME_SQE, NVME_SQE_LBA, NvmOp
from rumpci.errors import BadRange, DmaBusy


class NvmeBatch:
    """Up to `depth` transfers of `blocks` blocks each on one queue (None: the disk's next).

    `views[i]` is the memory of the i-th.  Raises BadRange (EINVAL) for more blocks than a
    command can move, DriverError (EAGAIN) for a depth that the queue has no slots for.
    """

    def __init__(
        self, disk: NvmeNamespace, depth: int, blocks: int, *,
        write: bool = False, queue: QueuePair | None = None,
    ) -> None:  # fmt: skip
        self.disk, self.depth, self.blocks, self.write = disk, depth, blocks, write
        self.queue = queue or disk.queue()
        size, page = blocks * disk.block_size, self.queue.size.page
        if not 0 < size <= disk.maxdata or depth < 1:
            raise BadRange(
                f"{disk.disk_name}: batch of {depth} times {blocks} blocks",
                f"a command moves {disk.block_size} to {disk.maxdata} bytes",
                "make them smaller, and more",
            )
        if write:
            disk.check_writable("batch")
        self._pre = BUS_DMASYNC_PREWRITE if write else BUS_DMASYNC_PREREAD
        self._post = BUS_DMASYNC_POSTWRITE if write else BUS_DMASYNC_POSTREAD
        self._stride = -(-size // page) * page
        self.low = self.queue.take_run(depth)
        try:
            flags = BUS_DMA_WRITE if write else BUS_DMA_READ
            name = f"{disk.disk_name} batch"
            self.area = DmaArea(self.queue.dmat, depth * self._stride, name, flags, page=page)
        except BaseException:
            self._give_slots_back()
            raise
        starts = range(0, depth * self._stride, self._stride)
        self.views = [self.area.view[at : at + size] for at in starts]
        entries = bytearray().join(self._entry(number, size) for number in range(depth))
        self._entries = memoryview(entries).cast("Q")
        self._submitted = 0

    def _entry(self, number: int, size: int) -> bytes:
        """The submission entry of the i-th transfer, but for its first block."""
        queue, cid = self.queue, self.low + number
        pages = self._stride // queue.size.page
        segments = self.area.segments[number * pages : (number + 1) * pages]
        left, cut = size, list[tuple[int, int]]()
        for address, length in segments:
            cut.append((address, min(left, length)))
            left -= length
        prps = queue.prps(cid, prp_entries(cut, queue.size.page))
        opcode, nsid, *dwords = self.disk.rw(
            NvmOp.WRITE if self.write else NvmOp.READ, 0, self.blocks
        )
        return NVME_SQE.pack(opcode, 0, cid, nsid, 0, 0, *prps, *dwords)

    def submit(self, lbas: Sequence[int]) -> None:
        """Start a transfer from each of these blocks on: the i-th uses `views[i]`.

        Raises BadRange (EINVAL), and nothing was started, for blocks the disk does not have
        or more than `depth`; DmaBusy (EBUSY) before the last ones were waited for.
        """
        count = len(lbas)
        if self._submitted or not 0 < count <= self.depth:
            raise self._refused(count)
        if min(lbas) < 0 or max(lbas) > self.disk.blocks - self.blocks:
            for lba in lbas:
                self.disk.check_range("batch", lba, self.blocks)
        self._submitted = count
        queue = self.queue
        self.area.sync(0, count * self._stride, self._pre)
        entries = self._entries[: count * SQE_WORDS]
        entries[NVME_SQE_LBA // 8 :: SQE_WORDS] = memoryview(array("Q", lbas))
        queue.put_many(entries, self.low)
        queue.ring()

    def _refused(self, count: int) -> BadRange | DmaBusy:
        tried = f"{self.disk.disk_name}: batch of {count}"
        if self._submitted:
            return DmaBusy(tried, f"{self._submitted} are outstanding", "wait for them first")
        return BadRange(tried, f"its depth is {self.depth}", "submit 1 to that many")

    def poll(self) -> int:
        """Take completions; how many transfers are outstanding."""
        self.queue.look()
        return self.queue.pending.count(1, self.low, self.low + self._submitted)

    def wait(self) -> None:
        """Return when all are done.  Raises DriverError for the first that failed."""
        low, count, queue = self.low, self._submitted, self.queue
        queue.wait(low, low + count, self.disk.controller.limits.command_us)
        self._submitted = 0
        self.area.sync(0, count * self._stride, self._post)
        if any(queue.status[low : low + count]):
            for cid in range(low, low + count):
                queue.check(cid, f"{self.disk.disk_name} batch, number {cid - low}")

    def close(self) -> None:
        """Wait for what is outstanding, and give the memory and the slots back."""
        try:
            if self._submitted:
                self.wait()
        finally:
            for view in self.views:
                view.release()
            self.area.free()
            self._give_slots_back()

    def _give_slots_back(self) -> None:
        self.queue.free += range(self.low, self.low + self.depth)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
