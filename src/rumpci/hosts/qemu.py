"""`qemu:` hosts: a guard over a bare QEMU machine."""

from __future__ import annotations

from rumpci.guard import Guard
from rumpci.hosts.keys import scatter_seed
from rumpci.hosts.url import HostURL
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine

KEYS = ("memory", "trace", "binary", "iommu", "banks", "scatter")


def open_url(url: HostURL) -> Guard:
    """Start QEMU with the URL's devices.  Raises BadURL, HostUnavailable, HostRefused."""
    url.check_params(KEYS)
    params = dict(url.params)
    scatter = scatter_seed(params.pop("scatter", None))
    machine = QemuMachine(url.devices(), Options(**params), url=url.text)
    return Guard(machine, scatter=scatter)
