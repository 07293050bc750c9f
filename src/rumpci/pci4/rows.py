"""Listings, a row at a time: row 0 takes the list, and the others are of that list.

So what is told is of one moment, and a long list is made once, not for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rumpci.errors import BadRequest, NotPermitted
from rumpci.host import Address
from rumpci.pci4.session import Session
from rumpci.pci4.wire import Message

T = TypeVar("T")


def row_of(
    session: Session,
    message: Message,
    rows: Callable[[], Sequence[T]],
    device: Callable[[T], Address] | None,
) -> T | None:
    """Row `message.index`; None: the list is empty, and `total` in the answer says so.

    Without the right to inspect, there are only rows of functions that the client has claimed.

    What is of no function (`device` None) needs that right.  Raises BadRequest, NotPermitted.
    """
    found = listing(session, message, rows, device)
    message.total = len(found)
    if not found and message.index == 0:
        return None
    if message.index >= len(found):
        raise BadRequest(
            f"row {message.index} of {type(message).__name__}",
            f"there are {len(found)}",
            "begin at row 0, and stop before the end",
        )
    row: T = found[message.index]
    return row


def listing(
    session: Session,
    message: Message,
    rows: Callable[[], Sequence[T]],
    device: Callable[[T], Address] | None,
) -> Sequence[T]:
    """All the rows that this client may see; kept from the first row to the last."""
    kind, found = session.rows
    if message.index == 0 or kind is not type(message):
        found = _visible(session, message, rows, device)
        session.rows = (type(message), found)
    if message.index >= len(found) - 1:
        session.rows = (None, ())
    return found


def _visible(
    session: Session,
    message: Message,
    rows: Callable[[], Sequence[T]],
    device: Callable[[T], Address] | None,
) -> Sequence[Any]:
    if session.rights.inspect:
        return rows()
    if device is None:
        raise NotPermitted(
            f"reading {type(message).__name__}",
            "the server's policy does not let this user inspect",
            "have `inspect = true` added to a rule of the policy",
        )
    own = {held.claim.function.address for held in session.claims.values()}
    return [row for row in rows() if device(row) in own]
