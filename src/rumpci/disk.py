"""disk(9), as far as a driver process needs it: what a block device offers.

Blocks are numbered from 0 (LBA); counts are in blocks of `block_size` bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from typing_extensions import Buffer


@runtime_checkable
class Disk(Protocol):
    """A block device: `blocks` blocks of `block_size` bytes; `disk_name` such as "ld0".

    A driver's device that has these is one.  All return when the device is done; a
    range that is not on the disk raises BadRange (EINVAL), a failure DriverError (EIO).
    """

    disk_name: str
    block_size: int
    blocks: int
    disk_readonly: bool

    def read(self, lba: int, count: int) -> bytes:
        """`count` blocks from `lba` on."""

    def write(self, lba: int, data: Buffer) -> None:
        """Write whole blocks from `lba` on.  What `flush` has not followed may be lost."""

    def flush(self) -> None:
        """Return when everything written has reached the medium."""

    def discard(self, lba: int, count: int) -> None:
        """Say that these blocks' contents are not needed any more (dataset management)."""


@runtime_checkable
class HasDisks(Protocol):
    """A device with disks of its own, such as a controller with namespaces."""

    disks: Sequence[Disk]


def disks_of(device: object) -> Sequence[Disk]:
    """The disks that a device offers: its `disks`, or itself if it is one; or none."""
    if isinstance(device, HasDisks):
        return device.disks
    return [device] if isinstance(device, Disk) else []
