"""`uio:` hosts: a guard over functions that a Linux kernel gave to uio_pci_generic.

`uio:/dev/uio0` is a device of any driver of the kernel's for UIO, PCI or not.
"""

from __future__ import annotations

from pathlib import Path

from rumpci.errors import BadURL
from rumpci.guard import Guard
from rumpci.host import Address
from rumpci.hosts.keys import bank_count, memory_size, scatter_seed
from rumpci.hosts.url import HostURL
from rumpci.machines.uio.generic import GenericUioMachine
from rumpci.machines.uio.machine import Options, UioMachine
from rumpci.machines.uio.pages import HUGE

KEYS = ("memory", "scatter", "check", "banks")
_MEMORY_MAX = 1 << 34


def open_url(url: HostURL) -> Guard:
    """The functions at the URL's addresses, which uio_pci_generic has; or devices by their nodes.

    Raises BadURL (EINVAL), NoSuchDevice (ENXIO), DeviceBusy (EBUSY), HostUnavailable,
    HostRefused (EINVAL).
    """
    if url.place.startswith("/"):
        return _generic(url)
    url.check_params(KEYS)
    memory = memory_size(url.params.get("memory", "16M"), HUGE, _MEMORY_MAX)
    careful, banks = _on(url.params.get("check", "off")), bank_count(url.params.get("banks", "0"))
    options = Options(-(-memory // HUGE) * HUGE, careful, banks)
    scatter = scatter_seed(url.params.get("scatter"))
    return Guard(UioMachine(addresses_of(url), options, url.text), scatter=scatter)


def _generic(url: HostURL) -> Guard:
    """Devices by their nodes: no PCI, no DMA."""
    url.check_params(("banks",))  # of no use: there is no DMA
    nodes = [Path(text) for text in url.place.split(",")]
    for node in nodes:
        if node.parent != Path("/dev"):
            raise BadURL(
                f"host {url.text!r}",
                f"{node} is no node of UIO",
                "write, for example, uio:/dev/uio0",
            )
    if len(set(nodes)) < len(nodes):
        raise BadURL(f"host {url.text!r}", "a node is given twice", "give each one once")
    return Guard(GenericUioMachine(nodes, url.text))


def addresses_of(url: HostURL) -> list[Address]:
    """The addresses of a URL, each once.  Raises BadURL (EINVAL)."""
    if not url.place:
        example = f"write, for example, {url.scheme}:01:00.0"
        raise BadURL(f"host {url.text!r}", "no address", example)
    addresses = [Address.parse(text) for text in url.place.split(",")]
    if len(set(addresses)) < len(addresses):
        raise BadURL(f"host {url.text!r}", "an address is given twice", "give each one once")
    return addresses


def _on(text: str) -> bool:
    if text not in ("on", "off"):
        raise BadURL(f"check={text}", "neither on nor off", "write check=on or check=off")
    return text == "on"
