"""The devices of bench.linux.MACHINE, for rumpci and bare."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from rumpci.autoconf import Autoconf, Driver
from rumpci.bus_space import BusSpaceHandle, BusSpaceTag
from rumpci.cpu import own_cpu
from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.host import VfioHost
from rumpci.pci import PciAttachArgs, PciChipset, pci_mapreg_map, pci_mapreg_type
from rumpci.pcireg import PCI_BAR0

EDU, EDU_BARE = "0000:00:10.0", "0000:00:14.0"
NVME, NVME_KERNEL = "0000:00:11.0", "0000:00:12.0"
FOLDER = "/run/job"
"""Where bench.clib.build_for_guest has put what it made."""
D = TypeVar("D", bound=Driver)


def attached(
    stack: contextlib.ExitStack, address: str, driver: type[D], more: str = "", **properties: str
) -> D:
    """A driver on `vfio:`, until the stack ends."""
    stack.enter_context(own_cpu())
    host = stack.enter_context(contextlib.closing(open_host(f"vfio:{address}{more}")))
    name = driver.__name__.lower()
    (made,) = stack.enter_context(Autoconf(host, properties={name: properties})).attach([driver])
    assert isinstance(made, driver)
    return made


def claimed(
    stack: contextlib.ExitStack, address: str, more: str = ""
) -> tuple[VfioClaim, BusSpaceTag, BusSpaceHandle]:
    """A function with its BAR 0 mapped and no driver."""
    host = stack.enter_context(contextlib.closing(open_host(f"vfio:{address}{more}")))
    assert isinstance(host, VfioHost)
    pc, at = PciChipset(host), Address.parse(address)
    claim = pc.claims[at] = host.claim(at, "bench")
    pa = PciAttachArgs.of(pc, claim.function)
    pa.pa_memt.claim = claim
    tag, handle, _, _ = pci_mapreg_map(pa, PCI_BAR0, pci_mapreg_type(pc, at, PCI_BAR0))
    return claim, tag, handle
