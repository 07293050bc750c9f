"""NVMe without anything: the machine's raw registers and memory, physical addresses, no checks.

What the driver is measured beside: no guard, no mirror, no IOMMU, one queue that is polled.
Source: NVM Express 1.4, 3.1 (registers), 4.2 and 4.6 (entries), 5.3, 5.4, 6.9 (commands).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from typing import Self

from rumpci.hosts.url import DeviceSpec
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine

_CC, _CSTS, _AQA, _ASQ, _ACQ = 0x14, 0x1C, 0x24, 0x28, 0x30
_CREATE_SQ, _CREATE_CQ, _READ = 0x01, 0x05, 0x02
_BASE, _PAGE = 1 << 20, 4096  # of memory: admin queues, I/O queues, lists, data
_ENTRIES = 64
_COMMAND = struct.Struct("<IIQQQQIIIIII")


class NakedNvme:
    """A controller with one I/O queue of 64 entries; `read` reads `depth` times `size` bytes."""

    def __init__(self, disk: dict[str, str], depth: int, size: int) -> None:
        spec = DeviceSpec("nvme", {"serial": "1", **disk})
        self._machine = QemuMachine([spec], Options(memory="128M", iommu="off"))
        at = next(f.address for f in self._machine.functions() if f.class_ >> 16 == 0x0108)
        self._machine.conf_write(at, 4, 6)
        self._bar = self._machine.bar(at, 0)
        memory = self._machine.memory
        self._ram = memoryview(mmap.mmap(memory.fd, memory.size))
        self._words = self._ram.cast("I")
        self._next, self._tail, self._head, self._phase = _BASE, 0, 0, 1
        self._enable()
        self._entries = [self._entry(cid, size) for cid in range(depth)]

    def _page(self, count: int = 1) -> int:
        at, self._next = self._next, self._next + count * _PAGE
        return at

    def _enable(self) -> None:
        asq, acq, self._sq, self._cq = (self._page() for _ in range(4))
        for register, width, value in ((_AQA, 4, 3 << 16 | 3), (_ASQ, 8, asq), (_ACQ, 8, acq),
                                       (_CC, 4, 4 << 20 | 6 << 16 | 1)):  # fmt: skip
            self._bar.write(register, width, value)
        while not self._bar.read(_CSTS, 4) & 1:
            time.sleep(0.0001)
        for number, (opcode, queue, flags) in enumerate(
            ((_CREATE_CQ, self._cq, 1), (_CREATE_SQ, self._sq, 1 << 16 | 1))
        ):
            size = (_ENTRIES - 1) << 16 | 1
            command = _COMMAND.pack(opcode, 0, 0, 0, queue, 0, size, flags, 0, 0, 0, 0)
            self._ram[asq + 64 * number : asq + 64 * number + 64] = command
            self._bar.write(0x1000, 4, number + 1)
            while not self._ram[acq + 16 * number + 14] & 1:
                time.sleep(0.0001)

    def _entry(self, cid: int, size: int) -> bytes:
        pages = [self._page() for _ in range(size // _PAGE)]
        second = pages[1] if len(pages) == 2 else 0
        if len(pages) > 2:
            second = self._page()
            rest = struct.pack(f"<{len(pages) - 1}Q", *pages[1:])
            self._ram[second : second + len(rest)] = rest
        blocks = size // 512 - 1
        return _COMMAND.pack(cid << 16 | _READ, 1, 0, 0, pages[0], second, 0, 0, blocks, 0, 0, 0)

    def read(self, lbas: list[int]) -> None:
        """Read from each block on, with one doorbell, and look until all are done."""
        ram, words, sq, cq = self._ram, self._words, self._sq, self._cq
        tail, head, phase, yield_ = self._tail, self._head, self._phase, os.sched_yield
        for entry, lba in zip(self._entries, lbas, strict=False):
            at = sq + 64 * tail
            ram[at : at + 64] = entry
            words[at // 4 + 10] = lba
            tail = (tail + 1) % _ENTRIES
        self._bar.write(0x1008, 4, tail)
        for _ in lbas:
            word = (cq + 16 * head + 12) // 4
            while words[word] >> 16 & 1 != phase:
                yield_()
            head = (head + 1) % _ENTRIES
            if not head:
                phase ^= 1
        self._bar.write(0x100C, 4, head)
        self._tail, self._head, self._phase = tail, head, phase

    def data(self, number: int, size: int) -> bytes:
        """What the read of that number brought, for one page."""
        prp = struct.unpack_from("<Q", self._entries[number], 24)[0]
        return bytes(self._ram[prp : prp + size])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._words.release()
        self._ram.release()
        with contextlib.suppress(BufferError):
            self._machine.memory.close()
        self._machine.close()
