"""Guard(machine): a host that protects, over a machine that does not."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Container, Iterator, Sequence

from rumpci.errors import DeviceBusy, NoSuchDevice
from rumpci.guard.claim import GuardClaim
from rumpci.guard.claims import Claims, FunctionClaims
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.platform import GuardPlatformClaim
from rumpci.guard.recorder import Recorder
from rumpci.guard.report import interrupt_rows
from rumpci.guard.router import Router
from rumpci.host import Address, Function, Holder, InterruptInfo
from rumpci.host_dma import DmaInfo, DmaUsage, Grant
from rumpci.host_platform import PlatformDevice
from rumpci.machines.machine import HandsOut, HasPlatform, Machine, Mortal


class Guard:
    """The seam's Host over `machine`, which the guard closes when it is closed.

    `scatter` seeds the mode in which DMA memory comes in as many segments as it may.
    """

    def __init__(self, machine: Machine, scatter: int | None = None) -> None:
        self.url, self.features = machine.url, machine.features
        self._machine = machine
        self._lock = threading.RLock()
        self._claims = FunctionClaims[GuardClaim](self._lock)
        self._platform = Claims[str, GuardPlatformClaim](self._lock)
        self._hosted = machine if isinstance(machine, HasPlatform) else None
        self.recorder = Recorder()
        self.router = Router(machine)
        self.mirror = Mirror(machine, scatter, self.recorder)
        self.router.recorder = self.recorder
        self.router.on_collect = self.mirror.collect

    def functions(self) -> Sequence[Function]:
        """See host.Host."""
        return self._claims.mark(self._machine.functions())

    def holders(self) -> Sequence[Holder]:
        """See host.Host."""
        return self._claims.holders(self._machine.functions())

    def conf_read(self, address: Address, reg: int) -> int:
        """See host.Host."""
        value = self._claims.conf_read(address, reg)
        return self._machine.conf_read(address, reg) if value is None else value

    def claim(self, address: Address, who: str, *, private: str | None = None) -> GuardClaim:
        """See host.Host.

        `private` names the owner of the process that is to get descriptors of the claim's
        DMA memory ("uid 1000"): all of it then comes from a bank that nobody else ever has.
        Raises NoDmaMemory (ENOMEM) if there is no bank for that owner.
        """
        with self._lock:
            function = self._claimable(address, who)
            with self._opened(address, who):
                claim = GuardClaim(
                    self._machine,
                    function,
                    who,
                    self.router,
                    self.mirror,
                    self._forget,
                    private,
                    self.recorder,
                )
            self._claims.add(address, claim)
            return claim

    @contextlib.contextmanager
    def _opened(self, address: Address, who: str) -> Iterator[None]:
        """Have the machine get the function, and let it go again if that was for nothing."""
        if not isinstance(self._machine, HandsOut):
            yield
            return
        self._machine.open_function(address, who)
        try:
            yield
        except BaseException:
            self._machine.close_function(address)
            raise

    def platform(self) -> Sequence[PlatformDevice]:
        """See host.PlatformHost."""
        if self._hosted is None:
            return []
        who = self._platform.who()
        return [
            dataclasses.replace(device, claimed_by=who.get(device.name))
            for device in self._hosted.platform()
        ]

    def claim_platform(self, name: str, who: str) -> GuardPlatformClaim:
        """See host.PlatformHost."""
        tried = f"claiming {name} for {who}"
        with self._lock:
            listed = {d.name: d for d in self._hosted.platform()} if self._hosted else {}
            if not self._hosted or name not in listed:
                have = ", ".join(listed) or "none"
                raise NoSuchDevice(tried, "the host has no such device", f"it has: {have}")
            self._platform.check_free(name, tried)
            self._hosted.open_platform(name, who)
            claim = GuardPlatformClaim(
                self._hosted, listed[name], who, self.router, self.recorder, self._forget_platform
            )
            self._platform.add(name, claim)
            return claim

    def _forget_platform(self, claim: GuardPlatformClaim) -> None:
        with self._lock:
            if self._platform.remove(claim.function.name, claim) and self._hosted:
                self._hosted.close_platform(claim.function.name)

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        return list(interrupt_rows(self._machine, self.router, self._claims.all()))

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host."""
        return self.mirror.rows()

    def dma_usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        return self.mirror.usage()

    def dma_check(self) -> Sequence[str]:
        """See host.Host."""
        return self.mirror.check()

    def iommu(self) -> Sequence[Grant]:
        """See host.Host."""
        return self.mirror.grants()

    def stop_mastering(self, addresses: Container[Address]) -> None:
        """Let claimed functions start nothing new: whoever had them is gone."""
        for at, claim in self._claims.all().items():
            if at in addresses:
                claim.stop_mastering()

    def close(self) -> None:
        """See host.Host."""
        claims, others = self._claims.all(), self._platform.all()
        with contextlib.ExitStack() as stack:  # each one, whatever the others raise
            stack.callback(self._machine.close)
            stack.callback(self.mirror.close)
            for claim in claims.values():
                stack.callback(claim.release)
            for other in others.values():
                stack.callback(other.release)

    def _claimable(self, address: Address, who: str) -> Function:
        tried = f"claiming {address} for {who}"
        listed = {function.address: function for function in self._machine.functions()}
        function = listed.get(address)
        if function is None or self._machine.conf_read(address, 0) == 0xFFFF_FFFF:
            raise NoSuchDevice(tried, "no function answers there", "see `rumpci list`")
        if function.is_bridge:
            raise DeviceBusy(
                tried, "it is a bridge, which belongs to the guard", "claim a device behind it"
            )
        self._claims.check_free(address, tried)
        return function

    def _forget(self, claim: GuardClaim) -> None:
        """Take a released claim off the books, so that the function can be claimed again."""
        with self._lock:
            address = claim.function.address
            if self._claims.remove(address, claim) and isinstance(self._machine, HandsOut):
                self._machine.close_function(address)

    @property
    def private(self) -> bool:
        """See served.Served."""
        return bool(self._machine.memory.banks)

    @property
    def mortal(self) -> Mortal | None:
        """See served.Served."""
        return self._machine if isinstance(self._machine, Mortal) else None

    @property
    def machine(self) -> Machine:
        """The machine underneath, for the machine's own tests."""
        return self._machine
