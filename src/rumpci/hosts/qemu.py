"""`qemu:` hosts: a guard over a bare QEMU machine."""

from __future__ import annotations

from rumpci.guard import Guard
from rumpci.hosts.url import HostURL
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine

KEYS = ("memory", "trace", "binary", "iommu")


def open_url(url: HostURL) -> Guard:
    """Start QEMU with the URL's devices.  Raises BadURL, HostUnavailable, HostRefused."""
    url.check_params(KEYS)
    options = Options(**url.params)
    return Guard(QemuMachine(url.devices(), options, url=url.text))
