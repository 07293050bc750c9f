"""Functions that a Linux kernel hands to this process through VFIO: a host."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Container, Iterator, Sequence

from rumpci.errors import DeviceBusy, HostRefused, NoSuchDevice, RumpciError
from rumpci.guard.claims import FunctionClaims
from rumpci.guard.recorder import Recorder
from rumpci.host import Address, Feature, Function, Holder, InterruptInfo, Space
from rumpci.host_dma import DmaInfo, DmaUsage, Grant
from rumpci.hosts.vfio import errors, noiommu
from rumpci.hosts.vfio.books import GroupBooks
from rumpci.hosts.vfio.claim import VfioClaim
from rumpci.hosts.vfio.device import VfioDevice
from rumpci.hosts.vfio.group import Group, Mirrored, Options
from rumpci.hosts.vfio.iommufd import nodes_of
from rumpci.hosts.vfio.report import interrupt_rows
from rumpci.hosts.vfio.watch import Watch
from rumpci.machines import sysfs
from rumpci.machines.kernellog import KernelLog
from rumpci.machines.sysfs import SysFunction

log = logging.getLogger("rumpci.vfio")
_ONES = 0xFFFF_FFFF
_EXTENDED = 4096


class VfioHost:
    """The seam's Host: the functions at `addresses`, and the bridges, which nobody claims.

    Nothing is opened before it is claimed: the kernel lets one process have a group.
    """

    def __init__(self, url: str, addresses: Sequence[Address], options: Options) -> None:
        self.url, self._options = url, options
        self._lock = threading.RLock()  # who opens and closes groups; that may take long
        if options.noiommu:
            errors.check_allowed(f"opening {url}", options.root)
        self._named = {address: self._checked(address) for address in addresses}
        self.features = self._features()
        self.recorder = Recorder()
        self._kernel = KernelLog(options.root)
        self._watch = Watch()
        self._groups: dict[str, Group] = {}
        self._claims = FunctionClaims[VfioClaim](threading.Lock())  # not `_lock`: held briefly
        self._peeked: dict[Address, bytes] = {}
        self._units = itertools.count()
        self._closed = False
        if options.noiommu:
            log.warning("%s", errors.wild_dma(url))

    def _checked(self, address: Address) -> SysFunction:
        """The function, if it can be had.  Raises NoSuchDevice, DeviceBusy, HostUnavailable."""
        tried = f"opening {self.url}"
        found = sysfs.find(address, self._options.root)
        if found is None:
            raise errors.no_function(tried, address)
        root = self._options.root
        if self._options.noiommu:
            noiommu.check(tried, found, root)
            return found
        if found.without_iommu:
            raise errors.only_without_iommu(tried, found)
        if found.group is None:
            raise errors.no_iommu(tried, root)
        if found.driver != "vfio-pci":
            raise errors.bound_elsewhere(tried, found)
        if errors.blockers(found):
            raise errors.not_viable(tried, found)
        via_iommufd = self._options.via == "iommufd"
        nodes = nodes_of(tried, found, root) if via_iommufd else errors.group_nodes(found, root)
        errors.check_nodes(tried, nodes)
        return found

    def _features(self) -> Feature:
        features = Feature.MAPPED | Feature.TRAPPED | Feature.DMA
        features |= Feature.NONE if self._options.noiommu else Feature.IOMMU
        for found in self._named.values():
            for bar in found.function().bars:
                features |= Feature.IOSPACE if bar.space is Space.IO else Feature.MEMSPACE
            if found.conf_size() >= _EXTENDED:
                features |= Feature.EXTCONF
        return features

    @property
    def hears_of_faults(self) -> bool:
        """Whether this user may read where the kernel tells of DMA that was blocked."""
        return self._kernel.readable

    def functions(self) -> Sequence[Function]:
        """See host.Host: those that the URL names, and every bridge."""
        return self._claims.mark(self._list())

    def holders(self) -> Sequence[Holder]:
        """See host.Host; the kernel does not tell which other process has a function."""
        return self._claims.holders(self._list())

    def _list(self) -> Iterator[Function]:
        for found in sysfs.functions(self._options.root):
            with contextlib.suppress(OSError):  # unplugged just now
                function = found.function()
                if function.is_bridge or function.address in self._named:
                    yield function

    def conf_read(self, address: Address, reg: int) -> int:
        """See host.Host."""
        value = self._claims.conf_read(address, reg)
        return self._read(address, reg) if value is None else value

    def _read(self, address: Address, reg: int) -> int:
        """What a function that nobody has claimed shows."""
        found = sysfs.find(address, self._options.root)
        if found is None:
            return _ONES
        return found.conf_read(reg) if reg < 64 else self._peek(found, reg)

    def _peek(self, found: SysFunction, reg: int) -> int:
        """What sysfs shows only to root: by opening the device for a moment, if that can be."""
        value = found.conf_read(reg)
        if value != _ONES or found.address not in self._named:
            return value
        with self._lock:
            if found.address not in self._peeked:
                self._peeked[found.address] = self._whole(found)
            data = self._peeked[found.address][reg : reg + 4]
        return int.from_bytes(data, "little") if len(data) == 4 else _ONES

    def _whole(self, found: SysFunction) -> bytes:
        """All configuration space of a function that nobody has, or nothing."""
        with contextlib.suppress(RumpciError, OSError):
            group = self._enter(found)
            try:
                device = VfioDevice(found, group.container.open_device(found))
                try:
                    return device.config_space()
                finally:
                    device.close()
            finally:
                self._leave(group)
        return b""

    def claim(self, address: Address, who: str, *, private: str | None = None) -> VfioClaim:
        """See host.Host, and served.Served for `private`."""
        with self._lock:
            found = self._claimable(address, who)
            group = self._enter(found)
            try:
                claim = self._open(found, who, group, private)
            except BaseException:
                self._leave(group)
                raise
            self._peeked.pop(address, None)  # it will not stay so
            self._claims.add(address, claim)
            self._watch.add(claim.notices)
            return claim

    def _open(self, found: SysFunction, who: str, group: Group, private: str | None) -> VfioClaim:
        fd = group.container.open_device(found)
        device = VfioDevice(found, fd)
        try:
            return VfioClaim(
                device, found.function(), who, group.mirror,
                lambda claim: self._released(claim, group), self.recorder,
                lambda _kind: next(self._units), private,
            )  # fmt: skip
        except BaseException as error:
            device.close()
            if isinstance(error, OSError):
                tried = f"claiming {found.address} for {who}"
                raise HostRefused(tried, str(error), "see dmesg") from error
            raise

    def _claimable(self, address: Address, who: str) -> SysFunction:
        tried = f"claiming {address} for {who}"
        found = sysfs.find(address, self._options.root)
        if found is None or self._closed:
            raise NoSuchDevice(tried, "the kernel has no function there", "see `rumpci list`")
        function = found.function()
        if function.is_bridge:
            raise DeviceBusy(tried, "it is a bridge, which is the kernel's", "claim what is behind")
        self._claims.check_free(address, tried)
        if address not in self._named:
            raise DeviceBusy(tried, "the host's URL does not name it", f"open vfio:{address}")
        return self._checked(address)

    # ---- groups ------------------------------------------------------------------------

    def _enter(self, found: SysFunction) -> Group:
        """The function's group, opened if it is not; `_leave` gives it back."""
        name = str(found.group)
        if name not in self._groups:
            self._groups[name] = Group.open(found, self._options, self._kernel, self.recorder)
        group = self._groups[name]
        group.claims += 1
        return group

    def _leave(self, group: Group) -> None:
        group.claims -= 1
        if not group.claims:
            del self._groups[group.name]  # the function may be gone, and be in no group
            group.close()

    def _released(self, claim: VfioClaim, group: Group) -> None:
        """A claim ended: forget it, and let its group go if it was the last."""
        with self._lock:
            self._watch.remove(claim.notices)
            self._claims.remove(claim.function.address, claim)
            self._leave(group)

    # ---- for who serves it: guard/served.py ---------------------------------------------

    mortal = None

    @property
    def private(self) -> bool:
        """See served.Served."""
        return self._options.banks > 0

    @property
    def mirror(self) -> GroupBooks:
        """See served.Served."""
        return GroupBooks(self._mirrors)

    def stop_mastering(self, addresses: Container[Address]) -> None:
        """See served.Served."""
        for at, claim in self._claims.all().items():
            if at in addresses:
                claim.stop_mastering()

    # ---- listings ----------------------------------------------------------------------

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        named = [function for function in self.functions() if not function.is_bridge]
        return list(interrupt_rows(named, self._claims.all(), self.conf_read))

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host."""
        return [row for mirror in self._mirrors() for row in mirror.rows()]

    def dma_usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        return [row for mirror in self._mirrors() for row in mirror.usage()]

    def dma_check(self) -> Sequence[str]:
        """See host.Host: the mirror against what the kernel was asked for."""
        return [line for mirror in self._mirrors() for line in mirror.check()]

    def iommu(self) -> Sequence[Grant]:
        """See host.Host: what the kernel was asked for, as its tables cannot be read."""
        return [grant for mirror in self._mirrors() for grant in mirror.grants()]

    def _mirrors(self) -> list[Mirrored]:
        with self._lock:
            return [group.mirror for _, group in sorted(self._groups.items())]

    def close(self) -> None:
        """See host.Host."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            claims = self._claims.all()
        with contextlib.ExitStack() as stack:  # each one, whatever the others raise
            stack.callback(self._kernel.close)
            stack.callback(self._watch.close)
            for claim in claims.values():
                stack.callback(claim.release)
