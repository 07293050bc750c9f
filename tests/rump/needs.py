"""What a test needs, and how to provide it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rumpci.machines.qemu.launch import BINARY

qemu = pytest.mark.skipif(
    shutil.which(BINARY) is None,
    reason=f"{BINARY} is missing: apt-get install --no-install-recommends qemu-system-x86",
)
compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="cc is missing: apt-get install --no-install-recommends gcc"
)
LIB = os.environ.get("RUMPCI_RUMP_LIB", "")
PROGRAMS = os.environ.get("RUMPCI_RUMP_BIN", "")


def libraries(*names: str) -> pytest.MarkDecorator:
    """Rump libraries, as they are without `lib` and `.so`."""
    missing = [n for n in names if not (Path(LIB) / f"lib{n}.so").exists()] if LIB else ["librump"]
    return pytest.mark.skipif(
        bool(missing),
        reason=f"no rump library {' '.join(missing)}: build NetBSD's rump kernels (buildrump.sh) "
        "and set RUMPCI_RUMP_LIB to the folder of librump.so",
    )


def wire(driver: str) -> pytest.MarkDecorator:
    """The libraries of an Ethernet driver."""
    return libraries("rump", "rumpnet_netinet", "rumpnet_config", f"rumpdev_pci_{driver}")


programs = pytest.mark.skipif(
    not (PROGRAMS and (Path(PROGRAMS) / "rump.ifconfig").exists()),
    reason="no rump.ifconfig: build NetBSD's programs for rump kernels (rumpctrl) "
    "and set RUMPCI_RUMP_BIN to their folder",
)
