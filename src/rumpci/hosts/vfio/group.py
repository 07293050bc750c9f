"""An open IOMMU group: a container, and the mirror of what its functions reach."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rumpci.guard.recorder import Recorder
from rumpci.hosts.vfio.container import Container, Opener, Type1Container
from rumpci.hosts.vfio.dma import GroupMirror, Memory
from rumpci.hosts.vfio.iommufd import IommufdContainer
from rumpci.hosts.vfio.noiommu import NoIommuContainer, PhysicalMirror
from rumpci.machines.kernellog import KernelLog
from rumpci.machines.sysfs import SysFunction

CONTAINERS: dict[str, Callable[[SysFunction, Path], Container]] = {
    "group": Type1Container,
    "iommufd": IommufdContainer,
}
"""By the key `via`: how this process comes to a device, and lets it reach memory."""

Mirrored = GroupMirror | PhysicalMirror
"""A mirror, with an IOMMU or without."""


@dataclass(frozen=True)
class Options:
    """What the URL says: bytes of DMA memory of a group, the seed of scatter mode.

    `lazy`: maps stay after unload, until their memory is freed.  A group has `banks` of as
    much memory, besides.
    """

    memory: int
    scatter: int | None = None
    noiommu: bool = False
    lazy: bool = False
    via: str = "group"
    banks: int = 0
    root: Path = Path("/")


@dataclass
class Group:
    """An IOMMU group that is open, as long as `claims` functions of it are claimed."""

    name: str
    container: Opener
    mirror: Mirrored
    claims: int = 0

    @classmethod
    def open(
        cls, found: SysFunction, options: Options, kernel: KernelLog, recorder: Recorder
    ) -> Group:
        """The function's group.  Raises DeviceBusy, HostUnavailable, HostRefused, NoDmaMemory."""
        with contextlib.ExitStack() as made:
            if options.noiommu:
                opener: Opener = NoIommuContainer(found, options.root)
                made.callback(opener.close)
                mirror = PhysicalMirror(
                    found, options.memory, recorder, options.scatter, banks=options.banks
                )
                made.pop_all()
                return cls(str(found.group), opener, mirror)
            container = CONTAINERS[options.via](found, options.root)
            made.callback(container.close)
            translated = GroupMirror(
                container, Memory(options.memory, options.banks), kernel, recorder,
                options.scatter, lazy=options.lazy,
            )  # fmt: skip
            made.pop_all()
            return cls(str(found.group), container, translated)

    def close(self) -> None:
        """Let both go."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.container.close)
            stack.callback(self.mirror.close)
