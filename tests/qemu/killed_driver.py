"""A driver of nvme that is there to be killed: it says what it is about to do, and what was done.

    python -m tests.qemu.killed_driver HOST

For each line of its input, `RUN DETACHES`, it forks a driver, which detaches with this chance
after each thing it does, and attaches again.  It prints lines that begin with RUN:

    RUN pid PID
    RUN attached
    RUN write NUMBER LBA COUNT      about to write these blocks of `content(NUMBER, LBA, COUNT)`
    RUN done NUMBER...              the controller says that these writes are done
    RUN flushed                     and all that were done before have reached the medium
    RUN reset                       about to reset the controller
    RUN detach                      about to detach, and to attach again
    RUN failed TEXT                 an error: it must never be said

A line is one write(2) of fewer bytes than a pipe takes at once, so a kill leaves no half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys

from rumpci.autoconf import Autoconf, Driver
from rumpci.cpu import own_cpu
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmens import NvmeNamespace
from rumpci.errors import DeviceBusy
from rumpci.hosts import open_host

BLOCK = 512
BLOCKS = 4096
"""Blocks of the disk; a few, so that a run writes where the one before was writing."""
DEPTH = 16
NUMBERS = 1 << 32
"""Numbers of writes that one run may use."""
PIPE_BUF = 4096


def content(number: int, lba: int, count: int) -> bytes:
    """What write `number` leaves in `count` blocks from `lba` on; 0 is what was there before."""
    blocks = range(lba, lba + count)
    return b"".join(hashlib.shake_128(b"%d %d" % (number, at)).digest(BLOCK) for at in blocks)


class Load:
    """Writes, flushes, reads and resets by chance, and what the disk has to read as."""

    nvme: Nvme
    disk: NvmeNamespace

    def __init__(self, run: int, detaches: float) -> None:
        self.run, self.detaches = run, detaches
        self.random = random.Random(f"{run} {os.getpid()}")  # noqa: S311
        self.number = run * NUMBERS
        self.known: dict[int, int] = {}  # which write a block is from

    def work(self, nvme: Nvme) -> None:
        """Do so until it is time to detach."""
        self.nvme, self.disk = nvme, nvme.disks[0]
        while self.random.random() >= self.detaches:
            self.step()

    def step(self) -> None:
        """One of them."""
        chance = self.random.random()
        if chance < 0.35:
            self.write_together(self.random.choice([1, 8]))
        elif chance < 0.75:
            self.write_one(self.random.choice([1, 1, 8, 64, 255, 1100]))
        elif chance < 0.85:
            self.read()
        elif chance < 0.98:
            self.disk.flush()
            self.say("flushed")
        else:
            self.say("reset")
            self.nvme.controller.reset()

    def say(self, *lines: str) -> None:
        tell(self.run, *lines)

    def write_one(self, count: int) -> None:
        """A write of any length: more than the controller takes at once are several commands."""
        number, lba = self._next(self.random.randrange(BLOCKS - count + 1), count)
        self.say(f"write {number} {lba} {count}")
        self.disk.write(lba, content(number, lba, count))
        self._done([(number, lba)], count)

    def write_together(self, blocks: int) -> None:
        """Many short ones at once; none of them meets another, for no order is promised."""
        starts = self.random.sample(range(0, BLOCKS, blocks), DEPTH)
        extents = [self._next(lba, blocks) for lba in starts]
        with NvmeBatch(self.disk, DEPTH, blocks, write=True) as batch:
            for view, (number, lba) in zip(batch.views, extents, strict=True):
                view[:] = content(number, lba, blocks)
            self.say(*(f"write {number} {lba} {blocks}" for number, lba in extents))
            batch.submit(starts)
            batch.wait()
        self._done(extents, blocks)

    def _next(self, lba: int, count: int) -> tuple[int, int]:
        self.number += 1
        for at in range(lba, lba + count):
            self.known.pop(at, None)
        return self.number, lba

    def _done(self, extents: list[tuple[int, int]], count: int) -> None:
        for number, lba in extents:
            self.known.update(dict.fromkeys(range(lba, lba + count), number))
        self.say("done " + " ".join(str(number) for number, _ in extents))

    def read(self) -> None:
        """Some blocks that this run wrote read as it wrote them."""
        for lba in self.random.sample(sorted(self.known), min(4, len(self.known))):
            if self.disk.read(lba, 1) != content(self.known[lba], lba, 1):
                raise AssertionError(f"block {lba} is not that of write {self.known[lba]}")


def tell(run: int, *lines: str) -> None:
    """Print lines with one write(2)."""
    data = "".join(f"{run} {line}\n" for line in lines).encode()
    assert len(data) <= PIPE_BUF
    os.write(1, data)


def attach(autoconf: Autoconf) -> Nvme:
    """Attach, as soon as the one before is off the books: it was killed a moment ago."""
    found: list[Driver] = []
    while not found:
        with contextlib.suppress(DeviceBusy):
            found = autoconf.attach([Nvme])
    assert isinstance(found[0], Nvme)
    return found[0]


def drive(run: int, detaches: float, url: str) -> None:
    """Attach, work and detach until killed."""
    tell(run, f"pid {os.getpid()}")
    load = Load(run, detaches)
    properties = {"nvme": {"intr": load.random.choice(["msix", "poll"])}}
    with contextlib.closing(open_host(url)) as host:
        while True:
            with Autoconf(host, None, properties) as autoconf:
                nvme = attach(autoconf)
                tell(run, "attached")
                load.work(nvme)
                tell(run, "detach")


def child(run: int, detaches: float, url: str) -> None:
    """What a fork does; it does not come back."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with own_cpu():
            drive(run, detaches, url)
    except BaseException as error:
        tell(run, f"failed {type(error).__name__} {error}".replace("\n", " ")[:1000])
    finally:
        os._exit(1)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        run, detaches = line.split()
        if not os.fork():
            child(int(run), float(detaches), sys.argv[1])


if __name__ == "__main__":
    main()
