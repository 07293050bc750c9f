"""What the unchanged drivers do in a guest, whichever host it is that has their functions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator

from rumpci import pcireg as pr
from rumpci.autoconf import Autoconf, Driver
from rumpci.cpu import own_cpu
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.nvme import Nvme
from rumpci.hosts import open_host
from tests.linux.binding import DEVICES, EDU

USER = 1000
CHUNK = 1 << 20
CHUNKS = 16


@contextlib.contextmanager
def attached(url: str, driver: type[Driver], **properties: str) -> Iterator[Driver]:
    """The driver, on the one function of a host that it matches."""
    name = driver.__name__.lower()
    with (
        own_cpu(),
        contextlib.closing(open_host(url)) as host,
        Autoconf(host, properties={name: properties}) as autoconf,
    ):
        (made,) = autoconf.attach([driver])
        yield made
        assert host.dma_check() == []


def factorials(edu: Edu) -> None:
    """By interrupt, or however else it waits."""
    for n in (1, 5, 10, 5, 10):
        assert edu.factorial(n) == {1: 1, 5: 120, 10: 3628800}[n]


def keeps_what_was_written(url: str, intr: str) -> None:
    """A part of an nvme disk."""
    chance = random.Random(intr)  # noqa: S311
    with attached(url, Nvme, intr=intr) as nvme:
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        data = chance.randbytes(CHUNK)
        first = chance.randrange(disk.blocks - CHUNK // disk.block_size)
        disk.write(first, data)
        read = disk.read(first, CHUNK // disk.block_size)
    assert hashlib.sha256(read).digest() == hashlib.sha256(data).digest()


def image_goes_there_and_back(url: str) -> None:
    """An image on an nvme disk, by its SHA-256: written polled, read with interrupts."""
    chance = random.Random(1)  # noqa: S311
    wrote, read = hashlib.sha256(), hashlib.sha256()
    with attached(url, Nvme, intr="poll") as nvme:
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        step = CHUNK // disk.block_size
        parts = range(0, min(disk.blocks, CHUNKS * step), step)
        for first in parts:
            data = chance.randbytes(CHUNK)
            wrote.update(data)
            disk.write(first, data)
    with attached(url, Nvme, intr="intx") as nvme:
        assert isinstance(nvme, Nvme)
        for first in parts:
            read.update(nvme.disks[0].read(first, step))
    assert read.hexdigest() == wrote.hexdigest()


def com_speaks_on_ports(url: str) -> None:
    """To its own loop, or to whoever listens."""
    with attached(url, Com) as com:
        assert isinstance(com, Com)
        assert not com.ioh.mapped, "ports are never memory"
        com.write(b"through I/O ports, with no privilege\r\n")


def bus_mastering_ends_with_the_process(url: str) -> None:
    """Killed, it cleans up nothing; the kernel closes the function of edu that it had."""

    def ends_as_bus_master() -> None:
        with attached(url, Edu) as edu:
            assert isinstance(edu, Edu)
            edu.dma_write(0, b"x")
            command = edu.pa.pa_pc.host.conf_read(edu.pa.pa_tag, pr.PCI_COMMAND_STATUS_REG)
            os._exit(0 if command & pr.PCI_COMMAND_MASTER_ENABLE else 1)

    child = os.fork()
    if not child:
        try:
            ends_as_bus_master()
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    command = (DEVICES / EDU / "config").read_bytes()[4]
    assert not command & pr.PCI_COMMAND_MASTER_ENABLE


def told_as_user(ask: Callable[[], str]) -> str:
    """What `ask` returns to a child that gave up being root; if it raises, errno and words."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            told = ask()
        except BaseException as error:  # it is the parent who has to see it
            told = f"{getattr(error, 'errno', '')} {type(error).__name__}: {error}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read().decode()
    os.waitpid(child, 0)
    return told
