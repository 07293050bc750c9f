"""The main job, end to end: two drivers against QEMU's own device models.

edu is identified, shown to be alive and computes 10!; com sends a line through
a 16550's I/O ports to a Unix socket and reads it back from there.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import time
from pathlib import Path

from rumpci.autoconf import Autoconf, Console
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.hosts import open_host

LINE = b"hello from a driver that is a process\n"
LIMIT_US = 5_000_000


def echo_line(com: Com, far: socket.socket) -> bytes:
    """Send LINE through the driver, send back what the far end got; what the driver then reads."""
    com.write(LINE)
    received = b""
    while not received.endswith(b"\n"):
        received += far.recv(4096)
    far.sendall(received.upper())
    return com.read_until(b"\n", LIMIT_US)


def main() -> int:
    """Run the demonstration; 0 if everything was as it should be."""
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        wire = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "wire"
        url = f"qemu:edu+pci-serial,text={wire}"
        print(f"$ rumpci run edu com --on {url}")
        host = stack.enter_context(contextlib.closing(open_host(url)))
        autoconf = stack.enter_context(Autoconf(host, Console(sys.stdout.write)))
        autoconf.attach([Edu, Com])
        attached = time.perf_counter() - started
        edu, com = (d for d in autoconf.devices)
        assert isinstance(edu, Edu)
        assert isinstance(com, Com)
        far = stack.enter_context(socket.socket(socket.AF_UNIX))
        far.connect(str(wire))
        echoed = echo_line(com, far)
        print(f"com0: sent {LINE!r}, echoed as {echoed!r}")
        good = edu.factorial(10) == 3628800 and echoed == LINE.upper()
    print(f"{'ok' if good else 'FAILED'}: QEMU started and drivers attached in {attached:.3f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
