"""The `vfio:` URLs of tests that run on several machines."""

import os

from tests.linux.machines import MACHINES

QUERY = os.environ.get("RUMPCI_GUEST_QUERY", "")
"""In a guest: machines.Machine.query."""
VIA_IOMMUFD = MACHINES["iommufd"].query == QUERY
NO_IOMMU = MACHINES["noiommu"].query == QUERY


def vfio(*addresses: str, more: str = "") -> str:
    """The URL of these functions on this machine, with `more` keys: `unmap=lazy`."""
    keys = "&".join(part for part in (QUERY, more) if part)
    return f"vfio:{','.join(addresses)}" + (f"?{keys}" if keys else "")
