"""What the tests on QEMU ask for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from .nvme_faulty import MIB, dice


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of 4 MiB of bytes that differ."""
    path = tmp_path / "image"
    path.write_bytes(dice(1).randbytes(4 * MIB))
    return path
