"""`rumpci bind` and `unbind`, on a kernel in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rumpci.binding.change import Kernel
from rumpci.binding.writes import DRIVERS
from rumpci.errors import DeviceBusy
from rumpci.tools import bind as tool, unbind
from tests.unit.fakekernel import FakeKernel

NVME = "0000:01:00.0"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel(tmp_path, DRIVERS)
    fake.add(NVME, "nvme", group=5)
    monkeypatch.setattr(tool, "Kernel", lambda force: Kernel(fake.root, fake.write, force))
    return fake


def bind(*arguments: str) -> Result:
    return CliRunner().invoke(tool.command, arguments)


def test_bind_says_what_is_next(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    assert bind("01:00.0", "vfio-pci").output.splitlines() == [
        "0000:01:00.0: vfio-pci",
        "IOMMU group 5 can be used:",
        "    0000:01:00.0  vfio-pci: ready",
        "let a user have it: chown ada /dev/vfio/5",
    ]
    assert CliRunner().invoke(unbind.command, ["01:00.0"]).output == "0000:01:00.0: nvme\n"
    assert fake.driver(NVME) == "nvme"


def test_bind_original_is_unbind(fake: FakeKernel) -> None:
    assert "spare" in bind("01:00.0", "uio_pci_generic", "--identity").output
    assert (fake.root / "sys/kernel/iommu_groups/5/type").read_text() == "identity\n"
    assert bind("01:00.0", "original").output == "0000:01:00.0: nvme\n"
    assert (fake.root / "sys/kernel/iommu_groups/5/type").read_text() == "DMA-FQ\n"


def test_a_dry_run_prints_the_writes_and_makes_none(fake: FakeKernel) -> None:
    before = fake.tree()
    printed = bind("01:00.0", "vfio-pci", "--dry-run").output
    assert (fake.tree(), fake.log) == (before, [])
    bind("01:00.0", "vfio-pci")
    assert printed.splitlines() == fake.log


def test_a_device_in_use_is_refused_by_a_dry_run_too(fake: FakeKernel) -> None:
    fake.file(f"sys/devices/pci0000:00/{NVME}/boot_vga", "1\n")
    refused = bind("01:00.0", "vfio-pci", "--dry-run")
    assert isinstance(refused.exception, DeviceBusy)
    forced = bind("01:00.0", "vfio-pci", "--force")
    assert "forced: the firmware's display is on it" in forced.output
    assert fake.driver(NVME) == "vfio-pci"


def test_another_driver_is_wrong_usage(fake: FakeKernel) -> None:
    assert bind("01:00.0", "nvme").exit_code == 2
    assert fake.log == []
