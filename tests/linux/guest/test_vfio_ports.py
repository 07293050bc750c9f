"""Functions behind ports of their own, on a real /dev/vfio: a bus is reset, an error is told."""

from __future__ import annotations

import contextlib
import os
import tty
from collections.abc import Iterator

import pytest

from rumpci import pcireg as pr
from rumpci.errors import DeadWindow
from rumpci.host import Address, IntrType
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.container import Type1Container
from rumpci.hosts.vfio.host import VfioHost
from tests.linux.binding import COM, DEVICES
from tests.waiting import until

pytestmark = pytest.mark.machine("ports")
AT = "0000:01:00.0", "0000:02:00.0"
NVME_CC, NVME_VS = 0x14, 0x08
NVME_EN = 0x0046_0000  # entries of 64 and 16 bytes, and not enabled


def of_vendor(vendor: str) -> str:
    """Which of the two it is: the kernel numbers the buses."""
    return next(at for at in AT if (DEVICES / at / "vendor").read_text().strip() == vendor)


@contextlib.contextmanager
def claimed(vendor: str) -> Iterator[tuple[VfioHost, VfioClaim]]:
    at = of_vendor(vendor)
    with contextlib.closing(open_host(f"vfio:{at}")) as host:
        assert isinstance(host, VfioHost)
        yield host, host.claim(Address.parse(at), "test0")


def monitor(command: str) -> None:
    """Tell QEMU's monitor, which is at the other end of a serial line."""
    (line,) = (DEVICES / COM / "tty").iterdir()
    fd = os.open(f"/dev/{line.name}", os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(fd)
        os.write(fd, f"{command}\n".encode())
    finally:
        os.close(fd)


def test_a_bus_is_reset_when_all_on_it_is_ours() -> None:
    with claimed("0x1b36") as (host, claim):
        window = claim.window(0, 0, 0x2000)
        window.write(NVME_CC, 4, NVME_EN)
        assert window.read(NVME_CC, 4) == NVME_EN
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


def test_an_error_that_cannot_be_corrected_ends_the_claim(caplog: pytest.LogCaptureFixture) -> None:
    with claimed("0x8086") as (_, claim):
        window = claim.window(0, 0, 0x1000)
        (interrupt,) = claim.intr_alloc(IntrType.MSIX, [0])
        claim.conf_write(
            pr.PCI_COMMAND_STATUS_REG,
            claim.conf_read(pr.PCI_COMMAND_STATUS_REG) | pr.PCI_COMMAND_MASTER_ENABLE,
        )
        interrupt.establish()
        assert window.read(8, 4) != 0xFFFF_FFFF  # STATUS
        monitor("pcie_aer_inject_error nic DLP")
        until(lambda: "cannot be corrected (AER)" in caplog.text, "nobody is told of the error")
        with pytest.raises(DeadWindow, match="reported an error that cannot be corrected"):
            window.read(8, 4)
        assert interrupt.ready(), "who waits for an interrupt looks at the device"
        with pytest.raises(DeadWindow, match="AER"):
            claim.window(0, 0, 0x1000)
