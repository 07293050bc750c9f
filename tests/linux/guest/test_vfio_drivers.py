"""The other unchanged drivers on a real /dev/vfio: nvme, com on I/O ports, MSI-X of e1000e."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf, Driver
from rumpci.cpu import own_cpu
from rumpci.drivers.com import Com
from rumpci.drivers.nvme import Nvme
from rumpci.hosts import open_host
from rumpci.load import load_classes
from tests.linux.binding import COM, E1000E, NVME
from tests.linux.guest import nvme_image
from tests.linux.guest.urls import vfio

pytestmark = pytest.mark.machine("vfio")
EXAMPLES = Path(__file__).parents[3] / "examples"
CHUNK = 1 << 20


@contextlib.contextmanager
def attached(address: str, driver: type[Driver], **properties: str) -> Iterator[Driver]:
    name = driver.__name__.lower()
    with (
        own_cpu(),
        contextlib.closing(open_host(vfio(address))) as host,
        Autoconf(host, properties={name: properties}) as autoconf,
    ):
        (made,) = autoconf.attach([driver])
        yield made
        assert host.dma_check() == []


@pytest.mark.parametrize("intr", ["poll", "intx", "msix"])
def test_nvme_keeps_what_was_written(intr: str) -> None:
    chance = random.Random(intr)  # noqa: S311
    with attached(NVME, Nvme, intr=intr) as nvme:
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        data = chance.randbytes(CHUNK)
        first = chance.randrange(disk.blocks - CHUNK // disk.block_size)
        disk.write(first, data)
        read = disk.read(first, CHUNK // disk.block_size)
    assert hashlib.sha256(read).digest() == hashlib.sha256(data).digest()


def test_the_image_by_its_sha256() -> None:
    nvme_image.goes_there_and_back(attached)


def test_com_echoes_in_its_own_loop() -> None:
    with attached(COM, Com) as com:
        assert isinstance(com, Com)
        assert not com.ioh.mapped, "ports are never memory"
        com.write(b"through I/O ports, with no privilege\r\n")


def test_five_vectors_of_msix() -> None:
    (driver,) = load_classes(str(EXAMPLES / "msix.py"), Driver)
    with attached(E1000E, driver) as made:
        made.run()
