"""DMA by raw register writes, with no guard between: what any device could try."""

from __future__ import annotations

import mmap
import time

from rumpci.host import Address
from rumpci.machines.machine import IommuFault
from rumpci.machines.qemu.machine import QemuMachine
from tests.waiting import LIMIT_S

PAGE = 4096
EDU_BUFFER = 0x40000


class Pages:
    """A PageSource: pages of the machine's memory in [start, end)."""

    def __init__(self, machine: QemuMachine, start: int, end: int) -> None:
        self.memory = mmap.mmap(machine.memory.fd, machine.memory.size)
        self.free = list(range(end - PAGE, start - 1, -PAGE))
        self.used: set[int] = set()

    def take(self) -> int:
        page = self.free.pop()
        self.used.add(page)
        self.memory[page : page + PAGE] = bytes(PAGE)
        return page

    def give(self, page: int) -> None:
        self.used.remove(page)
        self.free.append(page)


class RawEdu:
    """The edu device at an address: 100 ms a transfer."""

    def __init__(self, machine: QemuMachine, address: Address) -> None:
        self.bar = machine.bar(address, 0)
        machine.conf_write(address, 4, 6)

    def start(self, source: int, target: int, size: int, command: int) -> None:
        for reg, value in ((0x80, source), (0x88, target), (0x90, size), (0x98, command)):
            self.bar.write(reg, 8, value)

    def finish(self) -> None:
        late = time.monotonic() + LIMIT_S
        while self.bar.read(0x98, 8) & 1:
            assert time.monotonic() < late
            time.sleep(0.005)

    def read(self, addr: int, size: int = 64) -> None:
        """The device reads memory into its buffer."""
        self.start(addr, EDU_BUFFER, size, 1)
        self.finish()

    def write(self, addr: int, size: int = 64) -> None:
        """The device writes its buffer to memory."""
        self.start(EDU_BUFFER, addr, size, 3)
        self.finish()


class RawNvme:
    """An NVMe controller; `queues` is memory at bus address `base`: 64 commands, 64 completions."""

    def __init__(
        self, machine: QemuMachine, address: Address, base: int, queues: memoryview
    ) -> None:
        self.bar, self.queues, self.tail, self.head = machine.bar(address, 0), queues, 0, 0
        machine.conf_write(address, 4, 6)
        self.bar.write(0x24, 4, 63 << 16 | 63)
        self.bar.write(0x28, 8, base)
        self.bar.write(0x30, 8, base + PAGE)
        self.bar.write(0x14, 4, 4 << 20 | 6 << 16 | 1)
        while not self.bar.read(0x1C, 4) & 1:
            pass

    def post(self, prp: int, count: int) -> None:
        """Have the controller write 4096 bytes to `prp`, this often."""
        for _ in range(count):
            at = 64 * (self.tail % 64)
            self.queues[at : at + 64] = identify(prp)
            self.tail += 1
        self.bar.write(0x1000, 4, self.tail % 64)

    def take(self, count: int) -> None:
        """Wait for this many completions."""
        late = time.monotonic() + LIMIT_S
        for _ in range(count):
            phase = 1 - self.head // 64 % 2
            while self.queues[PAGE + 16 * (self.head % 64) + 14] & 1 != phase:
                assert time.monotonic() < late
            self.head += 1
        self.bar.write(0x1004, 4, self.head % 64)

    def identify(self, prp: int) -> None:
        """Have the controller write 4096 bytes to `prp`, and wait until it says it has."""
        self.post(prp, 1)
        self.take(1)


def identify(prp: int) -> bytes:
    """A command that has the controller write 4096 bytes to `prp`."""
    return (
        (6).to_bytes(4, "little") + bytes(20) + prp.to_bytes(8, "little") + bytes(8)
        + (1).to_bytes(4, "little") + bytes(20)
    )  # fmt: skip


def faults(machine: QemuMachine, want: int = 1) -> list[IommuFault]:
    """At least `want` faults; the event takes its way through the relay."""
    assert machine.iommu is not None
    found: list[IommuFault] = []
    late = time.monotonic() + LIMIT_S
    while len(found) < want:
        assert time.monotonic() < late, f"{found}"
        found += machine.iommu.faults()
    return found
