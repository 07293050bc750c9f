"""A function's IOMMU group, function by function: who keeps it from being used through VFIO.

Source: Linux, Documentation/driver-api/vfio.rst: "Groups, Devices, and IOMMUs".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rumpci.hosts.vfio.errors import blockers
from rumpci.machines.sysfs import SysFunction


@dataclass(frozen=True)
class Member:
    """One function of a group: its driver, whether that blocks the group, and what to do."""

    address: str
    driver: str | None
    bridge: bool
    blocks: bool

    @property
    def remedy(self) -> str:
        """The command that makes it block no longer."""
        return f"rumpci bind {self.address} vfio-pci" if self.blocks else ""

    def __str__(self) -> str:
        return f"{self.address}  {self.driver or 'no driver'}: {self._why()}"

    def _why(self) -> str:
        if self.blocks:
            return f"blocks; run `{self.remedy}`"
        if self.bridge:
            return "a bridge, which does not block"
        return "ready" if self.driver == "vfio-pci" else "does not block"


def members(function: SysFunction) -> list[Member]:
    """Every function of the function's group, itself among them; none without an IOMMU."""
    blocking = {other.directory.name for other in blockers(function)}
    return [
        Member(
            other.directory.name,
            other.driver,
            other.is_bridge,
            other.directory.name in blocking,
        )
        for other in function.siblings()
    ]


def is_viable(group: Sequence[Member]) -> bool:
    """Whether a program may use the functions of the group that vfio-pci has."""
    return not any(member.blocks for member in group)


def explain(function: SysFunction) -> list[str]:
    """Lines about the group for people: viable or not, and each function."""
    if function.group is None:
        return ["no IOMMU group: nothing keeps the device to the memory that it is given"]
    group = members(function)
    can = "can be used" if is_viable(group) else "cannot be used yet"
    return [f"IOMMU group {function.group} {can}:", *(f"    {member}" for member in group)]
