"""The main job, end to end: three drivers against QEMU's own device models.

edu is identified, shown to be alive and computes 10!; com sends a line through
a 16550's I/O ports to a Unix socket and reads it back from there; nvme reads a
disk by DMA, through an IOMMU, and what it reads is what is in the disk's image.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import sys
import tempfile
import time
from pathlib import Path

from rumpci.autoconf import Autoconf, Console
from rumpci.disk import Disk
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.nvme import Nvme
from rumpci.hosts import open_host

LINE = b"hello from a driver that is a process\n"
LIMIT_US = 5_000_000
DISK_MIB = 4


def echo_line(com: Com, far: socket.socket) -> bytes:
    """Send LINE through the driver, send back what the far end got; what the driver then reads."""
    com.write(LINE)
    received = b""
    while not received.endswith(b"\n"):
        received += far.recv(4096)
    far.sendall(received.upper())
    return com.read_until(b"\n", LIMIT_US)


def make_image(path: Path) -> str:
    """An image of bytes that are not alike; its SHA-256."""
    data = random.randbytes(DISK_MIB << 20)  # noqa: S311
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_disk(disk: Disk) -> str:
    """The SHA-256 of all that is on a disk."""
    return hashlib.sha256(disk.read(0, disk.blocks)).hexdigest()


def main() -> int:
    """Run the demonstration; 0 if everything was as it should be."""
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wire, image = place / "wire", place / "image"
        digest = make_image(image)
        url = f"qemu:edu+pci-serial,text={wire}+nvme,serial=1,file={image}"
        print(f"$ rumpci run edu com nvme --on {url}")
        host = stack.enter_context(contextlib.closing(open_host(url)))
        autoconf = stack.enter_context(Autoconf(host, Console(sys.stdout.write)))
        autoconf.attach([Edu, Com, Nvme])
        attached = time.perf_counter() - started
        edu, com, nvme = autoconf.devices
        assert isinstance(edu, Edu)
        assert isinstance(com, Com)
        assert isinstance(nvme, Nvme)
        far = stack.enter_context(socket.socket(socket.AF_UNIX))
        far.connect(str(wire))
        echoed = echo_line(com, far)
        print(f"com0: sent {LINE!r}, echoed as {echoed!r}")
        same = read_disk(nvme.disks[0]) == digest and not host.dma_check()
        verdict = "as the image's" if same else "is another than the image's"
        print(f"ld0: read {DISK_MIB} MiB behind the IOMMU, SHA-256 {verdict}")
        good = edu.factorial(10) == 3628800 and echoed == LINE.upper() and same
    print(f"{'ok' if good else 'FAILED'}: QEMU started and drivers attached in {attached:.3f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
