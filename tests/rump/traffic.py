"""Traffic of a rump kernel's network, as scenes do it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time
from typing import Any

from rumpci.rump import netbsd
from rumpci.rump.syscalls import Syscalls
from tests.rump.stage import Stage
from tests.rump.wires import ADDRESS, ECHO, PEER
from tests.waiting import LIMIT_S

PORT = 9000
CHUNK = 1 << 16
NET = {"components": ["rumpnet_netinet", "rumpnet_config"]}


def up(sys: Syscalls, interface: str) -> int:
    """Bring an interface up, and wait until the peer answers; a socket for echoes.

    A driver waits for its device for some milliseconds: where QEMU does not get to run, too short.
    """
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            sys.ifconfig(interface, ADDRESS)
        except TimeoutError:
            assert time.monotonic() < end, "it never came up"
        else:
            return warm(sys)


def warm(sys: Syscalls) -> int:
    """A socket for echoes, once the peer answers."""
    fd = sys.socket(netbsd.SOCK_DGRAM)
    sys.setsockopt(fd, netbsd.SO_RCVTIMEO, netbsd.timeval(0.2))
    end = time.monotonic() + LIMIT_S
    while True:
        with contextlib.suppress(OSError):
            sys.sendto(fd, b"warm", PEER, ECHO)
            sys.recvfrom(fd, 100)
            break
        assert time.monotonic() < end, "the peer never answered"
    with contextlib.suppress(BlockingIOError):
        while True:
            sys.recvfrom(fd, 100)
    sys.setsockopt(fd, netbsd.SO_RCVTIMEO, netbsd.timeval(10.0))
    return fd


def echo(sys: Syscalls, fd: int, times: int, seed: int = 1) -> int:
    """Datagrams of any length there and back; how many came back as they went."""
    dice, good = random.Random(seed), 0  # noqa: S311
    for i in range(times):
        head = b"%d " % i
        data = head + dice.randbytes(dice.choice((1, 30, 700, 1400)))
        sys.sendto(fd, data, PEER, ECHO)
        with contextlib.suppress(BlockingIOError):
            while not (got := sys.recvfrom(fd, 2000)[0]).startswith(head):
                pass  # an earlier one, that was late
            good += got == data
    return good


def echoes(stage: Stage, interface: str, times: int) -> dict[str, Any]:
    """Bring up, echo: what a test of a driver of Ethernet looks at."""
    sys = stage.kernel.sys
    fd = up(sys, interface)
    start = time.monotonic()
    good = echo(sys, fd, times)
    return {
        "good": good,
        "rate": good / (time.monotonic() - start),
        "findings": stage.findings(),
        "unused": stage.kernel.unused(),
        "pid": os.getpid(),
    }


# ---- TCP ---------------------------------------------------------------------------------------


def content(size: int) -> bytes:
    """What is sent."""
    return random.Random(size).randbytes(size)  # noqa: S311


def receive(stage: Stage, interface: str) -> dict[str, Any]:
    """Listen, take one connection, read to its end."""
    sys = stage.kernel.sys
    sys.ifconfig(interface, PEER)
    fd = sys.socket(netbsd.SOCK_STREAM)
    sys.bind(fd, PEER, PORT)
    sys.listen(fd)
    taken, (who, _) = sys.accept(fd)
    digest, size, start = hashlib.sha256(), 0, time.monotonic()
    while data := sys.read(taken, CHUNK):
        digest.update(data)
        size += len(data)
    rate = size / (time.monotonic() - start)
    sys.write(taken, b"done")
    sys.close(taken)
    return {"digest": digest.hexdigest(), "size": size, "rate": rate, "who": who,
            "findings": stage.findings()}  # fmt: skip


def send(stage: Stage, interface: str, size: int) -> dict[str, Any]:
    """Connect as soon as somebody listens, and send."""
    sys = stage.kernel.sys
    sys.ifconfig(interface, ADDRESS)
    fd = connected(sys)
    data = content(size)
    at = 0
    while at < size:
        at += sys.write(fd, data[at : at + CHUNK])
    sys.call("shutdown", fd, 1)
    return {"done": sys.read(fd, 100).decode(), "findings": stage.findings()}


def connected(sys: Syscalls) -> int:
    end = time.monotonic() + LIMIT_S
    while True:
        fd = sys.socket(netbsd.SOCK_STREAM)
        with contextlib.suppress(OSError):  # nobody there, or nobody listens, yet
            sys.connect(fd, PEER, PORT)
            return fd
        assert time.monotonic() < end, "nobody ever listened"
        sys.close(fd)
        time.sleep(0.05)
