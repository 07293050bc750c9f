"""Functions behind ports of their own, on a real /dev/vfio: a bus is reset, an error is told."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
import tty
from collections.abc import Iterator

import pytest

from rumpci import pcireg as pr
from rumpci.errors import DeadWindow
from rumpci.guard.config import capabilities
from rumpci.host import Address, IntrType
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.container import Type1Container
from rumpci.hosts.vfio.host import VfioHost
from rumpci.machines import sysfs
from tests.linux.binding import COM, DEVICES
from tests.waiting import LIMIT_S, until

pytestmark = pytest.mark.machine("ports")
AT = "0000:01:00.0", "0000:02:00.0"
NVME, E1000E = "0x1b36", "0x8086"
NVME_VS, NVME_CC = 0x08, 0x14
CC_SIZES = 0x0046_0000  # entries of 64 and 16 bytes; the controller is not enabled
SERR, BRIDGE_CONTROL, BRIDGE_SERR = 1 << 8, 0x3E, 1 << 1
AGAIN_S = 10
"""After so long without an answer, QEMU is told again."""
DEVCTL, REPORTING = 8, 0xF  # PCI Express 4.0, 7.5.3.4


def of_vendor(vendor: str) -> str:
    """Which of the two it is: the kernel numbers the buses."""
    return next(at for at in AT if (DEVICES / at / "vendor").read_text().strip() == vendor)


@contextlib.contextmanager
def claimed(vendor: str) -> Iterator[tuple[VfioHost, VfioClaim]]:
    at = of_vendor(vendor)
    with contextlib.closing(open_host(f"vfio:{at}")) as host:
        assert isinstance(host, VfioHost)
        yield host, host.claim(Address.parse(at), "test0")


def test_a_bus_is_reset_when_all_on_it_is_ours() -> None:
    with claimed(NVME) as (host, claim):
        window = claim.window(0, 0, 0x2000)
        window.write(NVME_CC, 4, CC_SIZES)
        assert window.read(NVME_CC, 4) == CC_SIZES
        groups = dict[int, int]()
        for name, group in host._groups.items():
            assert isinstance(group.container, Type1Container)
            groups[int(name)] = group.container.group
        command = claim.conf_read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        assert claim.reset(groups) == "hot reset of its bus"
        with pytest.raises(DeadWindow, match="was reset"):
            window.read(NVME_VS, 4)
        assert claim.conf_read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF == command
        again = claim.window(0, 0, 0x2000)
        assert again.read(NVME_CC, 4) == 0, "the function was reset"
        assert again.read(NVME_VS, 4) not in (0, 0xFFFF_FFFF)


# ---- errors --------------------------------------------------------------------------


def has_errors_reported(port: str) -> None:
    """What firmware does, and QEMU's does not: let a port tell of its errors."""
    found = sysfs.find(Address.parse(port))
    assert found is not None
    express = dict(capabilities(found.conf_read))[pr.PCI_CAP_PCIEXPRESS]
    for reg, bits in ((4, SERR), (BRIDGE_CONTROL, BRIDGE_SERR), (express + DEVCTL, REPORTING)):
        with (DEVICES / port / "config").open("r+b", buffering=0) as file:
            fd = file.fileno()
            value = int.from_bytes(os.pread(fd, 2, reg), "little") | bits
            os.pwrite(fd, value.to_bytes(2, "little"), reg)


def tell_qemu(command: str) -> None:
    """Have QEMU's monitor, at the other end of a serial line, do something."""
    (line,) = (DEVICES / COM / "tty").iterdir()
    request = {"execute": "human-monitor-command", "arguments": {"command-line": command}}
    fd = os.open(f"/dev/{line.name}", os.O_RDWR | os.O_NOCTTY)
    anew = b"\xff"  # for QEMU's parser: what the line echoed before it was raw is no request
    lines = [json.dumps(one).encode() for one in ({"execute": "qmp_capabilities"}, request)]
    answer, end = b"", time.monotonic() + LIMIT_S
    try:
        tty.setraw(fd)
        while b"OK id" not in answer:
            assert time.monotonic() < end, answer
            os.write(fd, anew + b"\n".join(lines) + b"\n")
            while b"OK id" not in answer and select.select([fd], [], [], AGAIN_S)[0]:
                answer += os.read(fd, 4096)
    finally:
        os.close(fd)


def test_an_error_that_cannot_be_corrected_ends_the_claim(caplog: pytest.LogCaptureFixture) -> None:
    """The port's own, as QEMU's e1000e cannot be told to report any: the bus below it is told."""
    has_errors_reported((DEVICES / of_vendor(E1000E)).resolve().parent.name)
    with claimed(E1000E) as (_, claim):
        window = claim.window(0, 0, 0x1000)
        (interrupt,) = claim.intr_alloc(IntrType.MSIX, [0])
        command = claim.conf_read(pr.PCI_COMMAND_STATUS_REG) & 0xFFFF
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, command | pr.PCI_COMMAND_MASTER_ENABLE)
        interrupt.establish()
        assert window.read(8, 4) != 0xFFFF_FFFF  # STATUS
        tell_qemu("pcie_aer_inject_error port2 DLP")
        until(lambda: "cannot be corrected (AER)" in caplog.text, "nobody is told of the error")
        with pytest.raises(DeadWindow, match="reported an error that cannot be corrected"):
            window.read(8, 4)
        until(interrupt.ready, "who waits for an interrupt looks at the device")
        with pytest.raises(DeadWindow, match="AER"):
            claim.window(0, 0, 0x1000)
