"""Drivers on a real uio_pci_generic, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linux.binding import EDU, NVME
from tests.linux.guest import children

pytestmark = pytest.mark.machine("uio")


@pytest.mark.parametrize("intr", ["intx", "shim"])
def test_edu_with_dma(tmp_path: Path, intr: str) -> None:
    children.edu_with_dma(f"uio:{EDU}", tmp_path, intr)


@pytest.mark.parametrize("intr", ["poll", "intx"])
def test_nvme(tmp_path: Path, intr: str) -> None:
    children.nvme(f"uio:{NVME}", tmp_path, intr)


def test_one_that_dies_is_reported(tmp_path: Path) -> None:
    children.one_that_dies(f"uio:{EDU}", tmp_path)


def test_one_is_started_again(tmp_path: Path) -> None:
    children.one_that_is_started_again(f"uio:{EDU}", tmp_path)
