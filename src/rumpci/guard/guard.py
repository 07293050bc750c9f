"""Guard(machine): a host that protects, over a machine that does not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Container, Iterator, Sequence

from rumpci.errors import DeadWindow, DeviceBusy, NoSuchDevice
from rumpci.guard.claim import GuardClaim
from rumpci.guard.config import check_address, check_register
from rumpci.guard.dma.mirror import Mirror
from rumpci.guard.platform import GuardPlatformClaim
from rumpci.guard.recorder import Recorder
from rumpci.guard.report import interrupt_rows
from rumpci.guard.router import Router
from rumpci.host import Address, Function, Holder, InterruptInfo
from rumpci.host_dma import DmaInfo, DmaUsage, Grant
from rumpci.host_platform import PlatformDevice
from rumpci.machines.machine import HandsOut, HasPlatform, Machine


class Guard:
    """The seam's Host over `machine`, which the guard closes when it is closed.

    `scatter` seeds the mode in which DMA memory comes in as many segments as it may.
    """

    def __init__(self, machine: Machine, scatter: int | None = None) -> None:
        self.url, self.features = machine.url, machine.features
        self._machine = machine
        self._lock = threading.Lock()
        self._claims: dict[Address, GuardClaim] = {}
        self._platform: dict[str, GuardPlatformClaim] = {}
        self._hosted = machine if isinstance(machine, HasPlatform) else None
        self.recorder = Recorder()
        self.router = Router(machine)
        self.mirror = Mirror(machine, scatter, self.recorder)
        self.router.recorder = self.recorder
        self.router.on_collect = self.mirror.collect

    def functions(self) -> Sequence[Function]:
        """See host.Host."""
        with self._lock:
            holders = {address: claim.who for address, claim in self._claims.items()}
        return [
            dataclasses.replace(function, claimed_by=holders.get(function.address))
            for function in self._machine.functions()
        ]

    def holders(self) -> Sequence[Holder]:
        """See host.Host: as far as the guard knows, all of them are this process."""
        us = os.getpid(), os.geteuid()
        return [
            Holder(f.address, True, f.claimed_by, *us)
            if f.claimed_by is not None
            else Holder(f.address, allowed=not f.is_bridge)
            for f in self.functions()
        ]

    def conf_read(self, address: Address, reg: int) -> int:
        """See host.Host."""
        check_address(address, f"pci_conf_read of {address}")
        check_register(reg, f"pci_conf_read of {address}")
        with self._lock:
            claim = self._claims.get(address)
        if claim:
            with contextlib.suppress(DeadWindow):  # released since: it is nobody's again
                return claim.conf_read(reg)
        return self._machine.conf_read(address, reg)

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
            self._claims[address] = claim
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
        with self._lock:
            holders = {name: claim.who for name, claim in self._platform.items()}
        return [
            dataclasses.replace(device, claimed_by=holders.get(device.name))
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
            if name in self._platform:
                holder = self._platform[name].who
                raise DeviceBusy(tried, f"{holder} has it", f"detach {holder} first")
            self._hosted.open_platform(name, who)
            self._platform[name] = claim = GuardPlatformClaim(
                self._hosted, listed[name], who, self.router, self.recorder, self._forget_platform
            )
            return claim

    def _forget_platform(self, claim: GuardPlatformClaim) -> None:
        with self._lock:
            if self._platform.pop(claim.function.name, None) and self._hosted:
                self._hosted.close_platform(claim.function.name)

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        with self._lock:
            claims = dict(self._claims)
        return list(interrupt_rows(self._machine, self.router, claims))

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
        with self._lock:
            claims = [claim for at, claim in self._claims.items() if at in addresses]
        for claim in claims:
            claim.stop_mastering()

    def close(self) -> None:
        """See host.Host."""
        with self._lock:
            claims = list(self._claims.values())
            others = list(self._platform.values())
        with contextlib.ExitStack() as stack:  # each one, whatever the others raise
            stack.callback(self._machine.close)
            stack.callback(self.mirror.close)
            for claim in claims:
                stack.callback(claim.release)
            for other in others:
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
        if address in self._claims:
            holder = self._claims[address].who
            raise DeviceBusy(tried, f"{holder} has it", f"detach {holder} first")
        return function

    def _forget(self, claim: GuardClaim) -> None:
        """Take a released claim off the books, so that the function can be claimed again."""
        with self._lock:
            address = claim.function.address
            if self._claims.get(address) is claim:
                del self._claims[address]
                if isinstance(self._machine, HandsOut):
                    self._machine.close_function(address)

    @property
    def machine(self) -> Machine:
        """The machine underneath, for the machine's own tests."""
        return self._machine
