"""The guest is what the tests take it for."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.linux import binding


@pytest.mark.parametrize("address", [binding.EDU, binding.NVME, binding.COM, binding.E1000E])
def test_a_bound_function_has_a_node(address: str) -> None:
    binding.bind(address, "vfio-pci")
    node = Path(f"/dev/vfio/{binding.group(address)}")
    assert node.is_char_device()
    binding.unbind(address)
    assert binding.bound(address) is None
    assert not node.exists()


def test_edu_can_go_to_uio_and_back() -> None:
    binding.bind(binding.EDU, "uio_pci_generic")
    assert Path("/dev/uio0").is_char_device()
    binding.bind(binding.EDU, "vfio-pci")
    assert binding.bound(binding.EDU) == "vfio-pci"


def test_the_kernel_found_the_iommu() -> None:
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "DMAR: IOMMU enabled" in said


def test_the_kernel_is_the_one_asked_for(series: str) -> None:
    assert os.uname().release.startswith(f"{series}.")
    assert os.getuid() == 0


def test_what_is_written_stays_in_the_guest() -> None:
    mine = Path(__file__).with_suffix(".written")
    mine.write_text("here")
    assert mine.read_text() == "here"
