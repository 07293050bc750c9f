"""The drivers, unchanged, through a guard in a process of its own: the same as in process."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf
from rumpci.cpu import curcpu
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.nvme import Nvme
from rumpci.errors import MachineDied, RumpciError
from rumpci.host import Host, IntrType
from rumpci.host_dma import MemorySpec
from rumpci.hosts import open_host
from rumpci.wrap.preempt import Preempting
from tests.pci4_served import CHILD, served_apart
from tests.waiting import LIMIT_S

from .needs import qemu

pytestmark = qemu
EDU_ID = 0x11E8_1234
MIB = 1 << 20


@contextlib.contextmanager
def client(url: str) -> Iterator[Host]:
    """A client of a server process over `url`."""
    with (
        served_apart(f"{url}?banks=2") as there,
        contextlib.closing(open_host(there)) as host,
    ):
        yield host


@contextlib.contextmanager
def either(url: str, *, apart: bool) -> Iterator[Host]:
    with client(url) if apart else contextlib.closing(open_host(url)) as host:
        yield host


def edu_results(host: Host, **properties: str) -> list[object]:
    with Autoconf(host, None, {"edu": properties}) as autoconf:
        (edu,) = autoconf.attach([Edu])
        assert isinstance(edu, Edu)
        found: list[object] = [edu.factorial(n) for n in (0, 1, 5, 13, 40)]
        found.append(edu.alive(7))
        edu.dma_write(3, b"abc" * 100)
        found.append(edu.dma_read(0, 400))
        return found


@pytest.mark.parametrize("intr", ["intx", "msi"])
def test_edu(intr: str) -> None:
    results = []
    for apart in (False, True):
        with either("qemu:edu", apart=apart) as host:
            results.append(edu_results(host, intr=intr))
    assert results[0] == results[1]
    assert results[0][:2] == [1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_edu_with_handlers_at_any_access(seed: int) -> None:
    with client("qemu:edu") as host:
        curcpu().seed(seed)
        assert edu_results(Preempting(host))[:3] == [1, 1, 120]


def test_com(tmp_path: Path) -> None:
    line = f"{os.path.relpath(tmp_path)}/l"
    with (
        client(f"qemu:pci-serial,text={line}") as host,
        socket.socket(socket.AF_UNIX) as far,
        Autoconf(host) as autoconf,
    ):
        far.settimeout(LIMIT_S)
        far.connect(line)
        (com,) = autoconf.attach([Com])
        assert isinstance(com, Com)
        data = bytes(range(0, 256, 4))
        com.write(data)
        got = b""
        while len(got) < len(data):
            got += far.recv(4096)
        assert got == data
        far.sendall(b"login: ")
        assert com.read_until(b": ", 20_000_000) == b"login: "


def nvme_results(host: Host, image: Path, intr: str) -> list[bytes]:
    """Random writes and reads, one at a time and in batches; and the image at the end."""
    dice, found = random.Random(3), list[bytes]()  # noqa: S311
    with Autoconf(host, None, {"nvme": {"intr": intr}}) as autoconf:
        (nvme,) = autoconf.attach([Nvme])
        assert isinstance(nvme, Nvme)
        disk = nvme.disks[0]
        for _ in range(12):
            count, lba = dice.choice([1, 7, 8, 255, 256]), dice.randrange(4000)
            disk.write(lba, dice.randbytes(512 * count))
            found.append(bytes(disk.read(max(0, lba - 3), count + 3)))
        disk.flush()
    return [*found, image.read_bytes()]


@pytest.mark.parametrize("intr", ["msix", "poll"])
def test_nvme(tmp_path: Path, intr: str) -> None:
    results = []
    for apart in (False, True):
        image = tmp_path / f"image{apart}"
        image.write_bytes(random.Random(1).randbytes(4 * MIB))  # noqa: S311
        with either(f"qemu:nvme,serial=1,file={image}", apart=apart) as host:
            results.append(nvme_results(host, image, intr))
    assert results[0] == results[1]


def test_two_clients_have_a_function_each() -> None:
    with served_apart("qemu:edu+edu?banks=2") as there:
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(contextlib.closing(open_host(there))) for _ in range(2)]
            edus = [f.address for f in hosts[0].functions() if f.id == EDU_ID]
            windows = [
                host.claim(at, f"client{i}").window(0, 0, 0x100)
                for i, (host, at) in enumerate(zip(hosts, edus, strict=True))
            ]
            for i, window in enumerate(windows):
                window.write(4, 4, i)
            assert [window.read(4, 4) for window in windows] == [0xFFFF_FFFF, 0xFFFF_FFFE]
            with pytest.raises(RumpciError, match="client1 has it"):
                hosts[0].claim(edus[1], "thief")
        with contextlib.closing(open_host(there)) as host:  # what they held is free again
            for at in edus:
                host.claim(at, "next")


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """Every operation after it says so, no wait is for ever, and memory is no trap."""
    path = os.path.relpath(tmp_path / "p")
    command = [sys.executable, "-c", CHILD, "qemu:edu?banks=1", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        host = open_host(f"pci4:{path}?limit={LIMIT_S}")
        claim = host.claim(next(f.address for f in host.functions() if f.id == EDU_ID), "one")
        window, memory = claim.window(0, 0, 0x100), claim.dma_alloc(MemorySpec(4096))
        (intr,) = claim.intr_alloc(IntrType.INTX, [0])
        intr.establish()
        server.send_signal(signal.SIGKILL)
        server.wait()
    memoryview(memory.view)[0] = 1
    start = time.monotonic()
    for use in (lambda: window.read(0, 4), lambda: window.write(0, 4, 0), window.barrier,
                intr.read, intr.unmask, host.functions, memory.free):  # fmt: skip
        with pytest.raises(MachineDied):
            use()
    assert intr.ready()
    claim.release()
    host.close()
    assert time.monotonic() - start < LIMIT_S, "nobody is left to wait for"
