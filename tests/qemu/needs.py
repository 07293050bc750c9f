"""What a test needs, and the command that provides it."""

import shutil

import pytest

from rumpci.machines.qemu.launch import BINARY

qemu = pytest.mark.skipif(
    shutil.which(BINARY) is None,
    reason=f"{BINARY} is missing: apt-get install --no-install-recommends qemu-system-x86",
)
