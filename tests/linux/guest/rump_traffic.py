"""A rump kernel's wm(4) on a URL: `python -m tests.linux.guest.rump_traffic URL ECHOES BYTES`.

Sends UDP to be echoed by 10.0.0.2 port 7, and BYTES over TCP to its port 8, which answers with
their SHA-256.  Prints how many came back, the two digests, and what the checker found, as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import random
import sys
import time
from typing import Any

from rumpci.hosts import open_host
from rumpci.rump import netbsd
from rumpci.rump.kernel import Kernel

OURS, PEER = "10.0.0.1", "10.0.0.2"
_LINK_SECONDS = 60
_CHUNK = 1 << 16


def echoes(kernel: Kernel, count: int) -> int:
    """How many of `count` datagrams came back."""
    call, came = kernel.sys, 0
    fd = call.socket(netbsd.SOCK_DGRAM)
    call.setsockopt(fd, netbsd.SO_RCVTIMEO, netbsd.timeval(5))
    for i in range(count):
        call.sendto(fd, b"%d" % i, PEER, 7)
        with contextlib.suppress(BlockingIOError):
            came += call.recvfrom(fd, 100)[0] == b"%d" % i
    call.close(fd)
    return came


def wait_for_link(kernel: Kernel) -> None:
    """Until one datagram comes back."""
    end = time.monotonic() + _LINK_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if echoes(kernel, 1):
                return
    raise TimeoutError(f"nothing came back from {PEER} in {_LINK_SECONDS} s")


def transfer(kernel: Kernel, size: int) -> tuple[str, str]:
    """The digests of what was sent over TCP, ours and the peer's."""
    call, data = kernel.sys, random.Random(1).randbytes(size)  # noqa: S311
    fd = call.socket(netbsd.SOCK_STREAM)
    call.connect(fd, PEER, 8)
    whole = size.to_bytes(8, "big") + data
    at = 0
    while at < len(whole):
        at += call.write(fd, whole[at : at + _CHUNK])
    told = b""
    while len(told) < 64 and (more := call.read(fd, 64)):
        told += more
    call.close(fd)
    return hashlib.sha256(data).hexdigest(), told.decode()


def main(url: str, count: str, size: str) -> dict[str, Any]:
    host = open_host(url)
    kernel = Kernel(host, ["wm"], components=["rumpnet_netinet", "rumpnet_config"])
    kernel.sys.ifconfig("wm0", OURS)
    wait_for_link(kernel)
    came = echoes(kernel, int(count))
    ours, theirs = transfer(kernel, int(size))
    found = [str(finding) for finding, _ in kernel.findings.all()]
    maps = len(host.dma())
    said = [*kernel.close(), *host.dma_check()]
    host.close()
    return {
        "echoed": came,
        "ours": ours,
        "theirs": theirs,
        "found": found,
        "maps": maps,
        "said": said,
    }


if __name__ == "__main__":
    ctypes.CDLL(None).fflush(None)  # what NetBSD said comes before
    print(f"\nresult: {json.dumps(main(*sys.argv[1:]))}", flush=True)
    os._exit(0)
