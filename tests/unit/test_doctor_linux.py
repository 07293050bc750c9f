"""`rumpci doctor` on machines in a folder: each finding, and its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rumpci.tools import doctor, doctor_iommu, doctor_linux
from rumpci.tools.finding import Check, Finding
from tests.unit.fakekernel import BRIDGE, FakeKernel

ABOUT_LINUX: tuple[Check, ...] = tuple(
    check
    for check in doctor.CHECKS
    if check.__module__ in (doctor_iommu.__name__, doctor_linux.__name__)
)
INTEL, AMD = "vendor_id : GenuineIntel", "vendor_id : AuthenticAMD"


@pytest.fixture
def fake(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


def findings(root: Path) -> dict[str, Finding]:
    return {finding.what: finding for check in ABOUT_LINUX for finding in check(root)}


def test_a_machine_without_any_of_it_is_told_so_too(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert set(found) == {"IOMMU", "modules", "VFIO", "UIO"}
    assert all(finding.remedy and not finding.ok for finding in found.values())
    assert "no PCI" in found["IOMMU"].found


def test_whatever_is_not_ok_has_a_remedy(fake: FakeKernel) -> None:
    fake.add("0000:01:00.0", "nvme", group=None)
    assert all(finding.ok or finding.remedy for finding in findings(fake.root).values())


@pytest.mark.parametrize(
    ("table", "command", "cpu", "found", "remedy"),
    [
        ("DMAR", "quiet", INTEL, "VT-d on, the kernel does not use", "intel_iommu=on in GRUB"),
        ("DMAR", "intel_iommu=on", INTEL, "could not use", "dmesg"),
        ("DMAR", "intel_iommu=off", INTEL, "intel_iommu=off", "take that out of GRUB"),
        ("IVRS", "quiet", AMD, "AMD-Vi on", "dmesg"),
        ("IVRS", "amd_iommu=off quiet", AMD, "amd_iommu=off", "take that out of GRUB"),
        ("", "iommu=off", AMD, "booted with iommu=off", "take that out"),
        ("", "quiet", INTEL, "tells of none", "switch VT-d on"),
        ("", "quiet", AMD, "tells of none", "AMD-Vi"),
        ("", "quiet", "", "tells of none", "SMMU"),
    ],
)
def test_why_the_iommu_is_off(
    fake: FakeKernel, table: str, command: str, cpu: str, found: str, remedy: str
) -> None:
    fake.file("proc/cmdline", f"root=/dev/sda1 {command}\n")
    fake.file("proc/cpuinfo", f"{cpu}\n")
    if table:
        fake.file(f"sys/firmware/acpi/tables/{table}")
    finding = findings(fake.root)["IOMMU"]
    assert not finding.ok
    assert found in finding.found
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("interrupts", "remapped"), [("1: 9 IR-IO-APIC 1-edge i8042", True), ("1: 9 IO-APIC", False)]
)
def test_an_iommu_that_is_on(fake: FakeKernel, interrupts: str, remapped: bool) -> None:
    fake.add("0000:01:00.0", "nvme", group=3)
    fake.file("sys/class/iommu/dmar0/x")
    fake.file("proc/interrupts", interrupts)
    found = findings(fake.root)
    assert found["IOMMU"].found == "on: dmar0, 1 groups"
    assert found["interrupts"].ok is remapped


def test_a_group_is_wrong_only_if_it_is_wanted(fake: FakeKernel) -> None:
    fake.add("0000:01:00.0", "snd_hda_intel", group=3)
    fake.add("0000:01:00.1", "nouveau", group=3)
    fake.add("0000:00:1c.0", "pcieport", group=4, code=BRIDGE)
    found = findings(fake.root)
    assert "IOMMU group 4" not in found
    assert found["IOMMU group 3"].ok
    assert found["IOMMU group 3"].found.startswith("0000:01:00.0 (snd_hda_intel), 0000:01:00.1")
    fake.add("0000:01:00.2", "vfio-pci", group=3)
    finding = findings(fake.root)["IOMMU group 3"]
    assert not finding.ok
    assert finding.found.endswith("in the way of VFIO: 0000:01:00.0, 0000:01:00.1")
    assert finding.remedy == (
        "as root: `rumpci bind 0000:01:00.0 vfio-pci` and `rumpci bind 0000:01:00.1 vfio-pci`"
    )


def test_a_disk_behind_a_volume_management_device_is_in_the_way_too(fake: FakeKernel) -> None:
    """Its segment is a fifth digit, which no address of ours has."""
    fake.add("10000:e1:00.0", "nvme", group=3)
    fake.add("0000:01:00.0", "vfio-pci", group=3)
    assert "in the way of VFIO: 10000:e1:00.0" in findings(fake.root)["IOMMU group 3"].found


def test_modules_there_to_load_and_not_made(fake: FakeKernel) -> None:
    fake.file("proc/sys/kernel/osrelease", "6.1.0-44-amd64\n")
    fake.file(
        "lib/modules/6.1.0-44-amd64/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: x\n"
    )
    fake.file("lib/modules/6.1.0-44-amd64/modules.builtin", "kernel/drivers/iommu/iommufd.ko\n")
    fake.file("sys/module/vfio/refcnt", "0")
    found = findings(fake.root)
    assert found["module vfio"].ok
    assert found["module iommufd"].ok
    assert found["module vfio_pci"].remedy == "as root: modprobe vfio-pci"
    assert found["modules"].found == "Linux 6.1.0-44-amd64 has no vfio_iommu_type1, uio_pci_generic"


def test_a_kernel_without_iommufd_lacks_nothing(fake: FakeKernel) -> None:
    for module in doctor_linux.MODULES.keys() - {"iommufd"}:
        fake.file(f"sys/module/{module}/refcnt", "0")
    assert "modules" not in findings(fake.root)


def test_nodes_say_whose_they_are_and_who_may(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("0000:01:00.0", "vfio-pci", group=3)
    fake.below("0000:01:00.0", "uio", "uio0")
    for node in ("vfio/vfio", "vfio/3", "vfio/devices/vfio0", "iommu", "uio0"):
        fake.file(f"dev/{node}")
    found = findings(fake.root)
    assert found["VFIO 3"].found == "/dev/vfio/3 (0000:01:00.0) can be opened"
    assert {"VFIO", "VFIO vfio0", "iommufd", "UIO uio0"} <= set(found)
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setenv("USER", "ada")
    assert findings(fake.root)["UIO uio0"].remedy == "as root: chown ada /dev/uio0"


@pytest.mark.parametrize(
    ("limit", "ok"), [("8388608", False), ("unlimited", True), ("67108864", True)]
)
def test_memlock(fake: FakeKernel, limit: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    fake.file("proc/self/limits", f"Max locked memory         {limit}    {limit}     bytes\n")
    assert findings(fake.root)["memlock"].ok is ok


def test_huge_pages_lockdown_and_no_iommu(fake: FakeKernel) -> None:
    pages = "sys/kernel/mm/hugepages/hugepages-2048kB"
    fake.file(f"{pages}/nr_hugepages", "4\n")
    fake.file(f"{pages}/free_hugepages", "1\n")
    fake.file("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    fake.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
    found = findings(fake.root)
    assert found["huge pages"].found.startswith("1 of 4 pages")
    assert not found["lockdown"].ok
    assert not found["VFIO no-IOMMU"].ok
    fake.file(f"{pages}/free_hugepages", "0\n")
    fake.file("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    fake.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n")
    found = findings(fake.root)
    assert not found["huge pages"].ok
    assert found["lockdown"].ok
    assert found["VFIO no-IOMMU"].ok


def test_json_has_every_finding() -> None:
    printed = CliRunner().invoke(doctor.command, ["--json"]).output
    whats = {finding["what"] for finding in json.loads(printed)}
    assert {"IOMMU", "VFIO", "UIO", "qemu: hosts"} <= whats
