"""Which functions a rump kernel sees, and their configuration space.

It sees what is given to it and every bridge; of these a function is claimed when a driver first
does something with it, so that what no driver matches stays for others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from rumpci.errors import NoSuchDevice, RumpciError
from rumpci.host import Address, Bar, Claim, Function, Host, Space
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_COMMAND_IO_ENABLE,
    PCI_COMMAND_MASTER_ENABLE,
    PCI_COMMAND_MEM_ENABLE,
    PCI_COMMAND_STATUS_REG,
)

ABSENT = 0xFFFF_FFFF
_WHO = "rump"


class Held:
    """A function that a rump kernel may use; `claim` once it does."""

    def __init__(self, host: Host, function: Function) -> None:
        self._host, self.function = host, function
        self.claim: Claim | None = None
        self.keep: object = None  # what has to live as long as the claim
        self._lock = threading.Lock()
        self._mastered = False

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.function.address

    def claimed(self) -> Claim:
        """The claim.  Raises NoSuchDevice, DeviceBusy."""
        with self._lock:
            if self.claim is None:
                claim = self._host.claim(self.address, _WHO)
                try:
                    _enable(claim, self.function)
                except BaseException:
                    claim.release()
                    raise
                self.claim = claim
            return self.claim

    def mastered(self) -> Claim:
        """The claim, with bus mastering on the first time: not every driver asks, as firmware did.

        Later it is as the driver has it.
        """
        claim = self.claimed()
        with self._lock:
            if not self._mastered:
                self._mastered = True
                _command(claim, on=PCI_COMMAND_MASTER_ENABLE)
        return claim

    def release(self) -> None:
        """Give it back.  Twice does nothing."""
        with self._lock:
            claim, self.claim = self.claim, None
        if claim is not None:
            claim.release()


def _enable(claim: Claim, function: Function) -> None:
    """Have its BARs decoded: drivers for other machines expect that firmware did so."""
    spaces = {bar.space for bar in function.bars}
    wanted = PCI_COMMAND_MEM_ENABLE if Space.MEM in spaces else 0
    wanted |= PCI_COMMAND_IO_ENABLE if Space.IO in spaces else 0
    _command(claim, on=wanted)


def _command(claim: Claim, *, on: int = 0, off: int = 0) -> None:
    """Change bits of the command register, if that changes it."""
    before = claim.conf_read(PCI_COMMAND_STATUS_REG) & 0xFFFF
    after = (before | on) & ~off
    if after != before:
        claim.conf_write(PCI_COMMAND_STATUS_REG, after)


class Functions:
    """The functions of `host` that `only` names (None: all that nobody holds)."""

    def __init__(self, host: Host, only: Iterable[Address] | None = None) -> None:
        self._host = host
        self._only = None if only is None else set(only)
        functions = {f.address: f for f in host.functions() if not f.address.segment}
        if missing := sorted((self._only or set()) - set(functions)):
            raise NoSuchDevice(
                f"device {missing[0]} for a rump kernel", f"{host.url} has none there",
                "see `rumpci list`; a rump kernel reaches segment 0 only",
            )  # fmt: skip
        self._bridges = {at for at, f in functions.items() if f.is_bridge}
        self.held = {at: Held(host, f) for at, f in functions.items() if self._is_ours(f)}

    def _is_ours(self, function: Function) -> bool:
        if function.is_bridge or function.claimed_by:
            return False
        return self._only is None or function.address in self._only

    def get(self, address: Address) -> Held:
        """A function that may be used.  Raises NoSuchDevice (ENXIO)."""
        held = self.held.get(address)
        if held is None:
            raise NoSuchDevice(
                f"device {address}", "it is not this rump kernel's", "give it with --device"
            )
        return held

    def conf_read(self, address: Address, reg: int) -> int:
        """32 bits of configuration space; ones where nothing is to be seen."""
        held = self.held.get(address)
        if held is not None and held.claim is not None:
            return held.claim.conf_read(reg)
        if held is None and address not in self._bridges:
            return ABSENT
        return self._host.conf_read(address, reg)

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """Write 32 bits; a bridge's registers stay as they are.

        Decoding, which libpci switches on in whatever it scans, is no use of a function yet.
        """
        held = self.held.get(address)
        if held is None:
            return
        if held.claim is None and reg == PCI_COMMAND_STATUS_REG:
            now = self._host.conf_read(address, reg)
            if not (now ^ value) & 0xFFFF & ~PCI_COMMAND_MEM_ENABLE:
                return
        held.claimed().conf_write(reg, value)

    def at(self, space: Space, address: int, size: int) -> tuple[Held, Bar, int]:
        """The function and BAR that bus addresses are of, and the offset in it.

        A BAR is where configuration space says it is.  Raises NoSuchDevice (ENXIO).
        """
        for held in self.held.values():
            for bar in held.function.bars:
                if bar.space is not space:
                    continue
                offset = address - self._base(held, bar)
                if 0 <= offset < bar.size and size <= bar.size - offset:
                    return held, bar, offset
        raise NoSuchDevice(
            f"mapping {size:#x} bytes of {space.value} space at bus address {address:#x}",
            "no BAR of a function that is this rump kernel's has them",
            "map what a BAR lists",
        )

    def _base(self, held: Held, bar: Bar) -> int:
        reg = PCI_BAR0 + 4 * bar.index
        low = self.conf_read(held.address, reg)
        if bar.space is Space.IO:
            return low & ~0x3
        high = self.conf_read(held.address, reg + 4) if bar.width64 else 0
        return high << 32 | low & ~0xF

    def unused(self) -> list[Held]:
        """Those that no driver did anything with."""
        return [held for held in self.held.values() if held.claim is None]

    def stop_mastering(self) -> None:
        """Let no function do DMA any more."""
        for held in self.held.values():
            if held.claim is not None:
                _command(held.claim, off=PCI_COMMAND_MASTER_ENABLE)

    def release(self) -> None:
        """Give all back, whatever fails; the first failure is raised after that."""
        failed: list[RumpciError] = []
        for held in self.held.values():
            try:
                held.release()
            except RumpciError as error:
                failed.append(error)
        if failed:
            raise failed[0]
