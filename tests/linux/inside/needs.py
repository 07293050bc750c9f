"""What a test in a guest needs: a device that was given to vfio-pci before."""

from __future__ import annotations

import os

import pytest

from tests.linux.binding import bound

INSIDE = "RUMPCI_GUEST" in os.environ
EDU_2 = "0000:00:14.0"
"""A second edu, which the guest must have besides guest.DEVICES."""
DEVICES = "--device edu,addr=14"


def vfio(*addresses: str) -> pytest.MarkDecorator:
    """Skip unless these are with vfio-pci, in a guest."""
    binds = " ".join(f"--bind {address}=vfio-pci" for address in addresses)
    command = f"python -m tests.linux.boot {DEVICES} {binds} -- pytest tests/linux/inside"
    missing = [a for a in addresses if not INSIDE or bound(a) != "vfio-pci"]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)}: no vfio-pci here; run `{command}`"
    )
