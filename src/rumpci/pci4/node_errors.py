"""Which error an errno of an ioctl(2) is: a kernel says a number, not why.

Source: the errors of each operation, docs/pci4-protocol.md.
"""

from __future__ import annotations

import errno as e
import os

from rumpci import errors
from rumpci.errors import RumpciError
from rumpci.pci4.abi import Op

Errors = dict[int, type[RumpciError]]

_ANY: Errors = {
    e.EINVAL: errors.BadRequest,
    e.EACCES: errors.NotPermitted,
    e.EPERM: errors.NotPermitted,
    e.EMFILE: errors.TooMany,
    e.EIO: errors.MachineDied,
    e.EOPNOTSUPP: errors.NotSupported,
    e.ENXIO: errors.DeadWindow,
    e.ENOMEM: errors.NoDmaMemory,
}
"""What an errno is where the operation says nothing else."""
_CONF: Errors = {e.EINVAL: errors.BadRange}
_ACCESS: Errors = {
    e.EFAULT: errors.OutOfWindow,
    e.EINVAL: errors.BadAccess,
    e.ERANGE: errors.ValueTooWide,
    e.EACCES: errors.ReadOnlyWindow,
    e.EPERM: errors.ProtectedRange,
}
_DMA: Errors = {
    e.EINVAL: errors.BadDma,
    e.EBUSY: errors.DmaBusy,
    e.EFBIG: errors.TooManySegments,
    e.ENXIO: errors.DeadDma,
}
_BY_OP: dict[Op, Errors] = {
    Op.CONF_READ: _CONF,
    Op.CONF_WRITE: _CONF,
    Op.CLAIM: {e.ENXIO: errors.NoSuchDevice, e.EBUSY: errors.DeviceBusy},
    Op.WINDOW_MAP: {
        e.EINVAL: errors.BadRange, e.ENXIO: errors.NoSuchBar, e.EPERM: errors.ProtectedRange,
    },
    Op.INTR_ALLOC: {
        e.EINVAL: errors.NoVectors, e.EBUSY: errors.InterruptBusy, e.ENOSPC: errors.NoVectors,
    },
    Op.INTR_ESTABLISH: {
        e.EINVAL: errors.BadShim, e.EBUSY: errors.InterruptBusy, e.ENXIO: errors.NotEnabled,
    },
    Op.INTR_CONTROL: {e.EINVAL: errors.NotAllocated},
}  # fmt: skip
for _op in (Op.WINDOW_ACCESS, Op.WINDOW_READ, Op.WINDOW_WRITE, Op.WINDOW_BATCH):
    _BY_OP[_op] = _ACCESS
for _op in (op for op in Op if op.name.startswith("DMA")):
    _BY_OP[_op] = _DMA

_REMEDIES: dict[type[RumpciError], str] = {
    errors.DeviceBusy: "see who has it: rumpci list, drvctl(8)",
    errors.NoSuchDevice: "see rumpci list",
    errors.NotPermitted: "see who may, in docs/netbsd.md",
    errors.NotEnabled: "set bus mastering and decoding in the command register first",
    errors.BadShim: "see what `rumpci shim` says of it",
    errors.NoDmaMemory: "ask for less, or for any bus address; or free some",
    errors.TooMany: "give back what is not used",
    errors.MachineDied: "see dmesg(8)",
}


def error_of(op: Op, number: int, path: str) -> RumpciError:
    """The exception for an operation that was refused with this errno."""
    kind = (_ANY | _BY_OP.get(op, {})).get(number, RumpciError)
    remedy = _REMEDIES.get(kind, "see docs/pci4-protocol.md for what it may be")
    return kind(f"{op.name.lower()} at {path}", os.strerror(number), remedy, errno=number)
