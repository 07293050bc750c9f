"""The drivers edu and nvme, as they are; when they run they print what their devices do.

rumpci run tests/qemu/told.py --on HOST
python tests/qemu/told.py DIRECTORY UID       HOST is pci4:DIRECTORY/pci0, for that user,
                                              for whom there are no other files at all
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sys

from rumpci.autoconf import Console
from rumpci.drivers.edu import Edu
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.hosts import open_host
from rumpci.supervisor.inside import Job, run

SERVER = "pci0"


class ToldEdu(Edu):
    """Prints results of every kind."""

    name = "edu"

    def run(self) -> None:
        self.console.line(f"edu: {[self.factorial(n) for n in (0, 1, 5, 13, 40)]}")
        self.console.line(f"edu: {self.alive(7)}")
        self.dma_write(3, b"abc" * 100)
        self.console.line(f"edu: {self.dma_read(0, 400).hex()}")


class ToldNvme(Nvme):
    """Writes, reads, batches and flushes; prints what it read, and how healthy the disk is."""

    name = "nvme"

    def run(self) -> None:
        dice, disk = random.Random(3), self.disks[0]  # noqa: S311
        for _ in range(12):
            count, lba = dice.choice([1, 7, 8, 255, 1100]), dice.randrange(4000)
            disk.write(lba, dice.randbytes(512 * count))
            self._print(disk.read(max(0, lba - 3), count + 3))
        with NvmeBatch(disk, 16, 8) as batch:
            batch.submit(range(0, 4000, 250))
            batch.wait()
            self._print(b"".join(batch.views))
        disk.flush()
        health = self.health()
        self.console.line(f"nvme: {health.HOST_WRITES} writes, {health.HOST_READS} reads")

    def _print(self, data: bytes) -> None:
        self.console.line(f"nvme: {len(data)} bytes {hashlib.sha256(data).hexdigest()}")


DRIVERS = [ToldEdu, ToldNvme]


def main() -> None:
    """Attach and run, with nothing to open but the socket in this directory."""
    directory, uid = sys.argv[1], int(sys.argv[2])
    load_all()
    os.chroot(directory)
    os.chdir("/")
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    assert os.listdir("/") == [SERVER]
    run(Job([], DRIVERS, f"pci4:/{SERVER}", {}), Console(sys.stdout.write), None)


def load_all() -> None:
    """Have Python read what it reads when something is used for the first time."""
    run(Job([], DRIVERS, "model:edu", {}), Console(lambda _text: None), None)
    with contextlib.suppress(Exception):
        open_host("pci4:/nowhere")


if __name__ == "__main__":
    main()
