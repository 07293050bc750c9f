"""What a rump kernel lives through, as scenes do it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from typing import Any

from rumpci.rump import netbsd
from tests.rump import traffic
from tests.rump.stage import Stage
from tests.rump.wires import ADDRESS

DRVCTL_MAJOR = 167
"""sys/conf/majors."""
DRVDETACHDEV = netbsd.iow("D", 123, 16)
DRVRESCANBUS = netbsd.iow("D", 124, 48)


def reattached(stage: Stage, interface: str, times: int) -> dict[str, Any]:
    """Detach and attach by drvctl(4); echoes before and after each."""
    sys, good, threads, held = stage.kernel.sys, [], [], []
    device = ctypes.c_uint64(DRVCTL_MAJOR << 8)
    with contextlib.suppress(FileExistsError):  # the librumpdev_drvctl of NetBSD 7 does not
        sys.call("mknod50", b"/dev/drvctl", stat.S_IFCHR | 0o600, device)
    control = sys.open("/dev/drvctl")
    for i in range(times + 1):
        if i:
            sys.ioctl(control, DRVDETACHDEV, bytearray(interface.encode().ljust(16, b"\0")))
            threads.append(len(os.listdir("/proc/self/task")))
            held.append(len(stage.host.dma()))
            assert not _is_there(stage, interface)
            bus = struct.pack("<16s16sI4xQ", b"pci0", b"", 0, 0)
            sys.ioctl(control, DRVRESCANBUS, bytearray(bus))
        fd = traffic.up(sys, interface)
        good.append(traffic.echo(sys, fd, 20, seed=i))
        sys.close(fd)
    return {"good": good, "findings": stage.findings(), "threads": threads, "held": held}


def _is_there(stage: Stage, interface: str) -> bool:
    try:
        stage.kernel.sys.ifconfig(interface, ADDRESS)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True
