"""What a test needs, and how to provide it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

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


def release() -> tuple[int, ...]:
    """Which NetBSD the libraries are of, such as (7, 99, 34); () without libraries."""
    path = Path(LIB) / "librump.so"
    found = re.search(rb"NetBSD (\d+[\d.]+\d)", path.read_bytes()) if LIB else None
    return tuple(map(int, found[1].split(b"."))) if found else ()


_GS = b"\x65\x48\x8b\x04\x25"


def no_gs(name: str) -> pytest.MarkDecorator:
    """A driver library that does not read the register of a real machine's CPU for curlwp."""
    path = Path(LIB) / f"lib{name}.so"
    return pytest.mark.skipif(
        bool(LIB) and path.exists() and _GS in path.read_bytes(),
        reason=f"{path.name} was compiled with the machine's own cpu.h and takes curlwp from %gs: "
        "compile it with sys/rump/include/machine/cpu.h",
    )


def wire(driver: str) -> pytest.MarkDecorator:
    """The libraries of an Ethernet driver."""
    return libraries("rump", "rumpnet_netinet", "rumpnet_config", f"rumpdev_pci_{driver}")


programs = pytest.mark.skipif(
    not (PROGRAMS and (Path(PROGRAMS) / "rump.ifconfig").exists()),
    reason="no rump.ifconfig: build NetBSD's programs for rump kernels (rumpctrl) "
    "and set RUMPCI_RUMP_BIN to their folder",
)
