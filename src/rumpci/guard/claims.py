"""Who has claimed what of a host: one holder for each function or device."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from rumpci.errors import DeadWindow, DeviceBusy
from rumpci.guard.config import check_address, check_register
from rumpci.host import Address, Function, Holder


class Held(Protocol):
    """A claim, as the books have it."""

    who: str


class HeldFunction(Held, Protocol):
    """A claim of a PCI function."""

    def conf_read(self, reg: int) -> int:
        """See host.Claim."""


K = TypeVar("K")
C = TypeVar("C", bound=Held)
F = TypeVar("F", bound=HeldFunction)


class Claims(Generic[K, C]):
    """The claims of a host, by what is claimed; `lock` is held by whoever looks or changes."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._claims: dict[K, C] = {}

    def get(self, key: K) -> C | None:
        """The claim, if there is one."""
        with self._lock:
            return self._claims.get(key)

    def all(self) -> dict[K, C]:
        """Every claim that there is now."""
        with self._lock:
            return dict(self._claims)

    def who(self) -> dict[K, str]:
        """The names of those who hold something."""
        return {key: claim.who for key, claim in self.all().items()}

    def check_free(self, key: K, tried: str) -> None:
        """Raise DeviceBusy (EBUSY) if somebody has it."""
        if claim := self.get(key):
            raise DeviceBusy(tried, f"{claim.who} has it", f"detach {claim.who} first")

    def add(self, key: K, claim: C) -> None:
        """Write a new claim down."""
        with self._lock:
            self._claims[key] = claim

    def remove(self, key: K, claim: C) -> bool:
        """Take a claim off the books; whether it was there."""
        with self._lock:
            if self._claims.get(key) is not claim:
                return False
            del self._claims[key]
            return True


class FunctionClaims(Claims[Address, F]):
    """The claims of PCI functions."""

    def mark(self, functions: Iterable[Function]) -> list[Function]:
        """The functions, each with who claimed it."""
        who = self.who()
        return [
            dataclasses.replace(function, claimed_by=who.get(function.address))
            for function in functions
        ]

    def conf_read(self, address: Address, reg: int) -> int | None:
        """See host.Host.conf_read: by the claim's view of it; None if nobody has claimed it."""
        check_address(address, f"pci_conf_read of {address}")
        check_register(reg, f"pci_conf_read of {address}")
        if claim := self.get(address):
            with contextlib.suppress(DeadWindow):  # released since: it is nobody's again
                return claim.conf_read(reg)
        return None

    def holders(self, functions: Iterable[Function]) -> list[Holder]:
        """See host.Host: as far as these books tell, all of them are this process."""
        us = os.getpid(), os.geteuid()
        return [
            Holder(f.address, True, f.claimed_by, *us)
            if f.claimed_by is not None
            else Holder(f.address, allowed=not f.is_bridge)
            for f in self.mark(functions)
        ]
