"""What a client may see of what is held: all with the right to inspect, else its own user's.

Who connected, the kernel tells; so two processes of one user see each other, as they would in
/proc.  Everybody sees that a function is in use, since nobody else can have it then.
"""

from __future__ import annotations

from collections.abc import Collection

from rumpci.host import Address, Holder
from rumpci.pci4.session import Session

OTHER = "another user"
"""The name of a holder that is not told."""


def own(session: Session) -> Collection[Address]:
    """The functions that processes of the client's user hold."""
    return {
        held.claim.function.address
        for other in session.watcher.sessions()
        if other.account is session.account
        for held in other.claims.values()
    }


def seen(session: Session) -> Collection[Address] | None:
    """The functions of which the client may see who holds what; None: all."""
    return None if session.rights.inspect else own(session)


def may_see(session: Session, address: Address) -> bool:
    """Whether it is one of these."""
    return session.rights.inspect or address in own(session)


def holders(session: Session) -> list[Holder]:
    """Who holds each function, as far as the client may know."""
    by = {
        held.claim.function.address: other
        for other in session.watcher.sessions()
        for held in other.claims.values()
    }
    guard, addresses = session.guard, seen(session)
    found = list[Holder]()
    for function, holder in zip(guard.functions(), guard.holders(), strict=True):
        address, who, client = function.address, holder.who, by.get(function.address)
        allowed = holder.allowed and session.rights.may_claim(function)
        if not holder.claimed or not (addresses is None or address in addresses):
            found.append(Holder(address, holder.claimed, allowed=allowed))
        elif client:
            found.append(Holder(address, True, who, client.pid, client.account.uid, allowed))
        else:
            found.append(Holder(address, True, who, holder.pid, holder.uid, allowed))
    return found
