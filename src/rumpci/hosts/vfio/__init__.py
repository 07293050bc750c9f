"""`vfio:` hosts: functions that a Linux kernel gives to this process through VFIO.

The kernel plays the guard's part: its IOMMU keeps devices to what this process maps for
them, it takes interrupts, and it owns what must not be written.  An ordinary user may do
this once the group's node (/dev/vfio/NUMBER) is theirs.

    abi.py         the kernel's interface        container.py   what a group's devices reach
    iommufd.py     the same, by an iommufd        noiommu.py     nothing that keeps them
    group.py       which of these, and its mirror
    device.py      an open device                dma.py, maps.py   the mirror, over a container
    region.py      BARs and configuration space  interrupts.py  INTx, MSI, MSI-X
    watch.py       who hears of an unplug        claim.py, host.py   the seam
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rumpci.errors import BadURL
from rumpci.host import Address
from rumpci.hosts.keys import bank_count, memory_size, scatter_seed
from rumpci.hosts.url import HostURL

if TYPE_CHECKING:
    from rumpci.hosts.vfio.host import VfioHost

KEYS = ("memory", "scatter", "noiommu", "unmap", "via", "banks")
_MEMORY_MIN, _MEMORY_MAX = 1 << 20, 1 << 40


def open_url(url: HostURL) -> VfioHost:
    """The functions at the URL's addresses, bound to vfio-pci.

    Raises BadURL (EINVAL), NoSuchDevice (ENXIO), DeviceBusy (EBUSY), HostUnavailable.
    """
    from rumpci.hosts.vfio.group import CONTAINERS, Options
    from rumpci.hosts.vfio.host import VfioHost

    url.check_params(KEYS)
    if not url.place:
        raise BadURL(f"host {url.text!r}", "no address", "write, for example, vfio:01:00.0")
    addresses = [Address.parse(text) for text in re.split(",", url.place)]
    if len(set(addresses)) < len(addresses):
        raise BadURL(f"host {url.text!r}", "an address is given twice", "give each one once")
    noiommu = _noiommu(url.params)
    usual = "16M" if noiommu else "64M"  # without an IOMMU, all of it is taken at once
    memory = memory_size(url.params.get("memory", usual), _MEMORY_MIN, _MEMORY_MAX)
    scatter = scatter_seed(url.params.get("scatter"))
    via = url.params.get("via", "group")
    if via not in CONTAINERS:
        raise BadURL(f"via={via}", "no such way", f"write one of: {', '.join(CONTAINERS)}")
    if noiommu and "via" in url.params:
        raise BadURL(f"via={via}", "without an IOMMU there is one way", "leave via= out")
    banks = bank_count(url.params.get("banks", "0"))
    options = Options(memory, scatter, noiommu, _lazy(url.params), via, banks)
    return VfioHost(url.text, addresses, options)


def _noiommu(params: dict[str, str]) -> bool:
    """The key `noiommu`: nobody does without an IOMMU by mistake.  Raises BadURL (EINVAL)."""
    text = params.get("noiommu", "no")
    if text not in ("yes", "no"):
        raise BadURL(f"noiommu={text}", "neither yes nor no", "write noiommu=yes, or leave it out")
    return text == "yes"


def _lazy(params: dict[str, str]) -> bool:
    """The key `unmap`: whether a map may stay when it is unloaded.  Raises BadURL (EINVAL)."""
    text = params.get("unmap", "strict")
    if text not in ("strict", "lazy"):
        raise BadURL(
            f"unmap={text}", "neither strict nor lazy", "write unmap=lazy, or leave it out"
        )
    return text == "lazy"
