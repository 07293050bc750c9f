"""Drivers on a real /dev/vfio, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linux.binding import EDU, NVME
from tests.linux.guest import children
from tests.linux.guest.urls import vfio

pytestmark = pytest.mark.machine("vfio")


@pytest.mark.parametrize("intr", ["msi", "shim"])
def test_edu_with_dma(tmp_path: Path, intr: str) -> None:
    children.edu_with_dma(vfio(EDU), tmp_path, intr)


@pytest.mark.parametrize("intr", ["poll", "msix"])
def test_nvme(tmp_path: Path, intr: str) -> None:
    children.nvme(vfio(NVME), tmp_path, intr)


def test_one_that_dies_is_reported(tmp_path: Path) -> None:
    children.one_that_dies(vfio(EDU), tmp_path)


def test_one_is_started_again(tmp_path: Path) -> None:
    children.one_that_is_started_again(vfio(EDU), tmp_path)
