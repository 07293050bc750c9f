"""What one user has of a server, over all connections, and the limits of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rumpci.errors import DmaQuota, TooMany
from rumpci.pci4.policy import Limits

Kind = Literal["connections", "claims", "objects", "interrupts", "bytes"]


@dataclass
class Account:
    """What the user `uid` has, by kind."""

    uid: int
    used: dict[Kind, int] = field(default_factory=dict)

    def take(self, kind: Kind, limits: Limits, count: int = 1) -> None:
        """Note that it has `count` more.  Raises TooMany (EMFILE), DmaQuota (ENOMEM)."""
        used, most = self.used.get(kind, 0), getattr(limits, kind)
        if used + count > most:
            raise (DmaQuota if kind == "bytes" else TooMany)(
                f"taking {count} more {kind} for user {self.uid}",
                f"it has {used} of {most}",
                "release some, or have the server's policy changed",
            )
        self.used[kind] = used + count

    def give(self, kind: Kind, count: int = 1) -> None:
        """Note that it has `count` less."""
        self.used[kind] = self.used.get(kind, 0) - count


class Accounts:
    """The accounts of the users that have something."""

    def __init__(self) -> None:
        self._accounts: dict[int, Account] = {}

    def of(self, uid: int) -> Account:
        """A user's account."""
        return self._accounts.setdefault(uid, Account(uid))

    def forget_idle(self, account: Account) -> None:
        """Drop the account of a user that has nothing any more."""
        if not any(account.used.values()):
            self._accounts.pop(account.uid, None)
