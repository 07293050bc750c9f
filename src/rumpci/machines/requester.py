"""Under which id a function's accesses arrive at the root: its own, or a bridge's.

A conventional PCI bus does not say who is accessing: the bridge above it answers
for all behind it.  A PCIe-to-PCI bridge signs with its secondary bus, 00.0; a
PCI-to-PCI bridge with its own address.  All that share an id share what it may do.

Source: PCI Express to PCI/PCI-X Bridge specification 1.0, 2.3; Intel VT-d
specification 3.4.1, 3.6.1.
"""

from __future__ import annotations

from collections.abc import Callable

from rumpci import pcireg as pr
from rumpci.host import Address

_PCIE_TO_PCI = 7  # PCI Express base specification, 7.5.3.2: device/port type
_CAPLIST, _POINTER = 1 << 20, 0x34
_CAPS_MAX = 48


class Requesters:
    """`parent` gives the bridge that leads to a bus, `conf_read` 32 bits of configuration space."""

    def __init__(
        self,
        parent: Callable[[int], Address | None],
        conf_read: Callable[[Address, int], int],
    ) -> None:
        self._parent, self._conf_read = parent, conf_read

    def __call__(self, address: Address) -> int:
        """The requester id (bus << 8 | device << 3 | function) of the function's accesses."""
        found = source(address)
        bus = address.bus
        while bridge := self._parent(bus):
            port = self._port_type(bridge)
            if port == _PCIE_TO_PCI:
                found = bus << 8
            elif port is None:
                found = source(bridge)
            bus = bridge.bus
        return found

    def _port_type(self, bridge: Address) -> int | None:
        """The type in its PCI Express capability, or None if it is conventional."""
        if not self._conf_read(bridge, pr.PCI_COMMAND_STATUS_REG) & _CAPLIST:
            return None
        at = self._conf_read(bridge, _POINTER) & 0xFC
        for _ in range(_CAPS_MAX):
            if not at:
                break
            header = self._conf_read(bridge, at)
            if header & 0xFF == pr.PCI_CAP_PCIEXPRESS:
                return header >> 20 & 0xF
            at = header >> 8 & 0xFC
        return None


def source(address: Address) -> int:
    """The requester id that a function has by itself."""
    return address.bus << 8 | address.device << 3 | address.function


def function_of(requester: int, segment: int = 0) -> Address:
    """The address that a requester id stands for."""
    return Address(segment, requester >> 8, requester >> 3 & 31, requester & 7)
