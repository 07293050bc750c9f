"""`rumpci doctor` on real kernels: with an IOMMU, without one, and switched off."""

from __future__ import annotations

from pathlib import Path

import pytest

from rumpci.binding import change
from rumpci.binding.change import Kernel
from rumpci.errors import HostUnavailable
from rumpci.host import Address
from rumpci.tools import doctor
from rumpci.tools.finding import Finding
from tests.linux import binding
from tests.linux.binding import EDU


def findings() -> dict[str, Finding]:
    found = [finding for check in doctor.CHECKS for finding in check(Path("/"))]
    assert all(finding.ok or finding.remedy for finding in found)
    return {finding.what: finding for finding in found}


@pytest.mark.machine("bind")
def test_with_an_iommu() -> None:
    found = findings()
    assert found["IOMMU"].ok
    assert "dmar0" in found["IOMMU"].found
    assert found["interrupts"].ok
    for module in ("vfio", "vfio_pci", "vfio_iommu_type1", "uio_pci_generic"):
        assert found[f"module {module}"].ok
    group = binding.group(binding.SHARED)
    assert binding.BLOCKER in found[f"IOMMU group {group}"].found
    assert found[f"IOMMU group {group}"].ok
    assert "memlock" in found
    assert "huge pages" in found


@pytest.mark.machine("bind")
def test_a_group_that_is_wanted_and_blocked() -> None:
    shared = Address.parse(binding.SHARED)
    change.perform(change.to_driver(shared, "vfio-pci", Kernel()), Kernel())
    finding = findings()[f"IOMMU group {binding.group(binding.SHARED)}"]
    change.perform(change.to_original(shared, Kernel()), Kernel())
    assert not finding.ok
    assert f"rumpci bind {binding.BLOCKER} vfio-pci" in finding.remedy


@pytest.mark.machine("user")
def test_nodes_of_an_ordinary_user() -> None:
    found = findings()
    assert found[f"VFIO {binding.group(EDU)}"].ok
    assert "huge pages" in found


@pytest.mark.machine("no_iommu")
def test_without_an_iommu() -> None:
    found = findings()["IOMMU"]
    assert not found.ok
    assert "the firmware tells of none" in found.found
    with pytest.raises(HostUnavailable, match="intel_iommu=on"):
        change.to_driver(Address.parse(EDU), "vfio-pci", Kernel())


@pytest.mark.machine("iommu_off")
def test_with_the_iommu_switched_off() -> None:
    found = findings()["IOMMU"]
    assert found.found == "the kernel was booted with intel_iommu=off"
    assert "take that out" in found.remedy
