"""An open device: its regions, its reset, and how it tells that it is going away."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable, Sequence

from rumpci._native import Mapping
from rumpci.guard.config import capabilities
from rumpci.hosts.vfio import abi
from rumpci.hosts.vfio.abi import Irq, Request
from rumpci.hosts.vfio.region import Region
from rumpci.machines.machine import BarAccess
from rumpci.machines.sysfs import SysFunction


class VfioDevice:
    """One function's descriptor; see guard.holding.Reach.  Raises OSError.

    When it is closed, or cut off, accesses through it read ones and write nothing.
    """

    def __init__(self, function: SysFunction, fd: int) -> None:
        self.function, self.fd = function, fd
        self._lost = False
        info = abi.DeviceInfo()
        fcntl.ioctl(fd, Request.DEVICE_GET_INFO, info)
        self.can_reset = bool(info.flags & abi.DEVICE_RESET)
        self._regions: dict[int, Region] = {}
        self._config = self.region(abi.Region.CONFIG)
        self.capabilities = dict(capabilities(self.conf_read))

    def region(self, index: int) -> Region:
        """What the kernel says of a region, asked once."""
        if index not in self._regions:
            self._regions[index] = Region.of(self.fd, index)
        return self._regions[index]

    def conf_read(self, reg: int) -> int:
        """See holding.Reach; past the end of what the function has, zero or ones."""
        return self._config.read(reg, 4) if reg < self._config.size else 0xFFFF_FFFF

    def conf_write(self, reg: int, value: int) -> None:
        """See holding.Reach."""
        if reg < self._config.size:
            self._config.write(reg, 4, value)

    def config_space(self) -> bytes:
        """All of it, as it is now."""
        read = self._config.read_many
        return read(0, 4, self._config.size // 4, 4)

    def bar(self, index: int) -> BarAccess:
        """See holding.Reach."""
        return self.region(index)

    def map_bar(
        self, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See holding.Reach: the handle keeps who may not write from writing."""
        del writable
        return self.region(index).map(offset, size, at=at)

    # ---- interrupts: the requests; interrupts.py says which and when -------------------

    def irq_info(self, index: Irq) -> abi.IrqInfo:
        """What the kernel says of an interrupt index; of one that is not there, zeros."""
        info = abi.IrqInfo(index=index)
        try:
            fcntl.ioctl(self.fd, Request.DEVICE_GET_IRQ_INFO, info)
        except OSError:  # EINVAL: the device has none of them
            info.count = info.flags = 0
        return info

    def set_trigger(self, index: Irq, start: int, fds: Sequence[int]) -> int:
        """Have each interrupt signal its eventfd (-1: nothing).  Raises OSError.

        Returns 0, or, if there are not as many, how many there could be.
        """
        data = (ctypes.c_int32 * len(fds))(*fds)
        flags = abi.SET_EVENTFD | abi.SET_TRIGGER
        return self._set(flags, index, start, len(fds), bytes(data))

    def disable(self, index: Irq) -> None:
        """Switch off all interrupts of an index."""
        self._set(abi.SET_NONE | abi.SET_TRIGGER, index, 0, 0)

    def set_masked(self, index: Irq, on: bool) -> None:
        """Mask or unmask interrupt 0 of an index, where the kernel can (INTx)."""
        self._set(abi.SET_NONE | (abi.SET_MASK if on else abi.SET_UNMASK), index, 0, 1)

    def _set(self, flags: int, index: Irq, start: int, count: int, data: bytes = b"") -> int:
        if self._lost:
            return 0
        head = abi.IrqSet(flags=flags, index=index, start=start, count=count)
        head.argsz += len(data)
        return int(fcntl.ioctl(self.fd, Request.DEVICE_SET_IRQS, bytearray(bytes(head) + data)))

    # ---- the end -----------------------------------------------------------------------

    def reset(self) -> str:
        """Reset the function as the kernel knows to; how, or "" if it cannot."""
        if not self.can_reset:
            return ""
        try:
            fcntl.ioctl(self.fd, Request.DEVICE_RESET)
        except OSError:  # EINVAL: the kernel tried, and the function has no way
            return ""
        return "reset by the kernel"

    def cut_off(self) -> None:
        """Let the kernel have the device back at once, whoever is just using the descriptor.

        The number stays taken, so that nobody reads another file by mistake.
        """
        self._lost = True
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.dup2(null, self.fd, inheritable=False)
        finally:
            os.close(null)

    def close(self) -> None:
        """Close the descriptor: the kernel quiets and resets the function."""
        os.close(self.fd)


class Notices:
    """What the kernel has to say of a device: an error (AER), or that it is wanted back.

    `told` is called with what happened, in words, by whoever sees the descriptors readable.
    """

    def __init__(self, device: VfioDevice, told: Callable[[str], None]) -> None:
        self._told = told
        self.fds: dict[int, str] = {}
        at = device.function.address
        reasons = {
            Irq.ERR: f"{at} reported an error that cannot be corrected (AER)",
            Irq.REQ: f"{at} was unplugged, or unbound from vfio-pci",
        }
        for index, why in reasons.items():
            if device.irq_info(index).count:
                fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self.fds[fd] = why
                device.set_trigger(index, 0, [fd])

    def tell(self, fd: int) -> None:
        """Say what happened, as `fd` is readable."""
        os.eventfd_read(fd)
        self._told(self.fds[fd])

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
