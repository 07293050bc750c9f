"""Drivers of nvme that are killed while they work, and what their disk has to be then.

The disk is compared after every kill, once the guard has the function quiet: a block that no
write was under way to is what it was, the others are wholly old or wholly new (NVM Express 1.4,
6.4: a block is written whole).  What is found then is what stays: nothing may come later.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rumpci.guard import Guard
from rumpci.guard.recorder import Kind
from rumpci.hosts import open_host
from tests.pci4_served import served
from tests.qemu.killed_driver import BLOCK, BLOCKS, content
from tests.unit.pci4raw import resident

SECONDS = 60
NVME_CLASS = 0x0108
MASTER = 4
WARM = 2
"""Kills after which memory is counted for the first time."""


class Oracle:
    """What the image has to be, from what the drivers said."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.expected = bytearray(content(0, 0, BLOCKS))
        image.write_bytes(self.expected)
        self.under_way: dict[int, tuple[int, int]] = {}  # the extent of a write
        self.done = self.flushed = 0
        self.found = Counter[str]()  # of the writes that were under way

    def take(self, words: list[str]) -> None:
        """Note what a driver said."""
        if words[0] == "write":
            number, lba, count = map(int, words[1:])
            self.under_way[number] = (lba, count)
        elif words[0] == "done":
            for number in map(int, words[1:]):
                lba, count = self.under_way.pop(number)
                self._expect(lba, content(number, lba, count))
                self.done += 1
        elif words[0] == "flushed":
            self.flushed += 1

    def _expect(self, lba: int, data: bytes) -> None:
        self.expected[lba * BLOCK : lba * BLOCK + len(data)] = data

    def check(self) -> None:
        """The image is what it has to be; what was under way is settled by what is found."""
        found = self.image.read_bytes()
        for number, (lba, count) in self.under_way.items():
            fresh = {self._settle(number, at, found) for at in range(lba, lba + count)}
            self.found["in part" if len(fresh) > 1 else "there" if True in fresh else "not"] += 1
        self.under_way.clear()
        wrong = [at for at in range(BLOCKS) if _block(found, at) != _block(self.expected, at)]
        assert not wrong, f"blocks {wrong[:20]} changed that nobody wrote"

    def _settle(self, number: int, lba: int, found: bytes) -> bool:
        """Whether a block that was being written is new; it must be old otherwise."""
        data, new = _block(found, lba), content(number, lba, 1)
        assert data in (new, _block(self.expected, lba)), (
            f"block {lba} is neither old nor what write {number} writes: {data[:32].hex()}"
        )
        self._expect(lba, data)
        return data == new


def _block(data: bytes | bytearray, lba: int) -> bytes:
    return bytes(data[lba * BLOCK : (lba + 1) * BLOCK])


class Drivers:
    """The process that forks drivers, and what they say."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.qemu.killed_driver", url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        )  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.fd = self.process.stdin, self.process.stdout.fileno()
        os.set_blocking(self.fd, False)
        self.said: list[tuple[int, list[str]]] = []
        self._rest = b""

    def start(self, run: int, detaches: float) -> None:
        """Have a driver forked, which detaches with this chance after each thing it does."""
        self.stdin.write(f"{run} {detaches}\n".encode())
        self.stdin.flush()

    def listen(self, seconds: float) -> bool:
        """Take what was said until now, or wait so long for something; whether there was."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            while True:
                self._hear(os.read(self.fd, 1 << 16))
        return True

    def _hear(self, data: bytes) -> None:
        assert data, "the process that forks drivers has ended"
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            run, *words = line.decode().split()
            assert words[0] != "failed", line
            self.said.append((int(run), words))

    def wait_for(self, run: int, word: str) -> list[str]:
        """The words of the first such line of this run."""
        end = time.monotonic() + SECONDS
        while not (found := [words for r, words in self.said if r == run and words[0] == word]):
            assert self.listen(max(0.0, end - time.monotonic())), f"no {word} of run {run}"
        return found[0]

    def close(self) -> None:
        """End the process, and the driver that a test may have left when it failed."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class Kills:
    """One machine with a disk, its guard behind a socket, and drivers that come and are killed."""

    def __init__(self, guard: Guard, url: str, oracle: Oracle) -> None:
        self.guard, self.url, self.oracle = guard, url, oracle
        self.drivers = Drivers(url)
        self.random = random.Random(1)  # noqa: S311
        self.run = 0
        self.pid = 0
        self.place = next(f.address for f in guard.functions() if f.class_ >> 16 == NVME_CLASS)
        self.killed_at = self.started_at = self.kills = self._noted = 0
        self.memory: list[int] = []  # KiB of the guard's process, after each kill
        self.to_quiet: list[float] = []  # milliseconds from a kill to: no bus master
        self.to_released: list[float] = []
        self.to_attached: list[float] = []

    def start(self, detaches: float = 0.0) -> int:
        """Fork a driver; its process id, at once, whatever it comes to."""
        self.run += 1
        self.started_at = time.monotonic_ns()
        self.drivers.start(self.run, detaches)
        self.pid = int(self.drivers.wait_for(self.run, "pid")[1])
        return self.pid

    def attached(self) -> None:
        """Wait until the last driver has its disk."""
        self.drivers.wait_for(self.run, "attached")
        self.to_attached.append(_since(self.started_at))

    def work(self, seconds: float) -> None:
        """Let it work."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.drivers.listen(left)

    def kill(self, pid: int) -> None:
        """Kill a driver, which must be alive."""
        self._noted = self.guard.recorder.total
        gone = os.pidfd_open(pid)
        self.killed_at = time.monotonic_ns()
        signal.pidfd_send_signal(gone, signal.SIGKILL)
        assert select.select([gone], [], [], SECONDS)[0]
        os.close(gone)
        self.kills += 1

    def settle(self) -> None:
        """Wait until the guard has taken everything back; then the disk has to be right."""
        end = time.monotonic() + SECONDS
        while self._claimed():
            assert time.monotonic() < end, "it is still claimed"
            time.sleep(0.0005)
        self.to_released.append(_since(self.killed_at))
        self._look_when_quiet()
        assert not self.guard.conf_read(self.place, 4) & MASTER
        while self.drivers.listen(0):
            pass
        for _, words in self.drivers.said:
            self.oracle.take(words)
        self.drivers.said.clear()
        self.oracle.check()
        assert not self.guard.dma_check()
        self.memory.append(resident())

    def _claimed(self) -> bool:
        return any(f.claimed_by for f in self.guard.functions() if f.address == self.place)

    def _look_when_quiet(self) -> None:
        """Note when the guard turned bus mastering off."""
        recorder = self.guard.recorder
        for note in recorder.last(recorder.total - self._noted):
            off = note.kind is Kind.GUARD_WRITE and note.where == 4 and not note.value & MASTER
            if off and note.device == self.place:
                self.to_quiet.append((note.when - self.killed_at) / 1e6)
                return

    def grown(self) -> int:
        """KiB that the guard's process has taken since the first kills."""
        return self.memory[-1] - self.memory[WARM] if len(self.memory) > WARM else 0

    def figures(self) -> str:
        """What was measured."""
        parts = [
            f"{name} {statistics.median(values):.1f} ms (most {max(values):.1f}, {len(values)})"
            for name, values in (
                ("from a kill to bus mastering off", self.to_quiet),
                ("to released", self.to_released),
                ("from a driver's start to attached", self.to_attached),
            ) if values
        ]  # fmt: skip
        oracle = self.oracle
        return (
            f"{self.kills} kills, {oracle.done} writes done, {oracle.flushed} flushes, "
            f"{self.grown()} KiB of memory more, "
            f"writes under way {dict(oracle.found)}; median " + ", ".join(parts)
        )


def _since(when: int) -> float:
    return (time.monotonic_ns() - when) / 1e6


@contextlib.contextmanager
def kills(image: Path, *more: str, iommu: str = "on") -> Iterator[Kills]:
    """A machine with `image` as its disk, and `more` devices."""
    oracle = Oracle(image)
    host = "+".join([f"qemu:nvme,serial=1,file={image}", *more])
    with contextlib.closing(open_host(f"{host}?banks=4&iommu={iommu}")) as guard:
        assert isinstance(guard, Guard)
        with served(guard) as url:
            made = Kills(guard, url, oracle)
            try:
                yield made
            finally:
                made.drivers.close()
