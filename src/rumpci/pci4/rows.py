"""Listings, in parts: row 0 takes the list, and the others are of that list.

So what is told is of one moment, and a long list is made once, not for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rumpci.errors import BadRequest, NotPermitted
from rumpci.host import Address
from rumpci.pci4.seen import seen
from rumpci.pci4.session import Session
from rumpci.pci4.wire import Message

T = TypeVar("T")


def row_of(session: Session, message: Message, rows: Callable[[], Sequence[T]]) -> T | None:
    """Row `message.index`; None: the list is empty, and `total` in the answer says so.

    Raises BadRequest past the end.
    """
    index = message.index
    found = listing(session, message, rows, begins=index == 0)
    message.total = len(found)
    if index >= len(found) - 1:
        finished(session)
    if not found and index == 0:
        return None
    check_index(message, found)
    row: T = found[index]
    return row


def listing(
    session: Session, message: Message, rows: Callable[[], Sequence[T]], *, begins: bool
) -> Sequence[T]:
    """All the rows; kept from where the listing `begins` until it is `finished`."""
    kind, found = session.rows
    if begins or kind is not type(message):
        found = rows()
        session.rows = (type(message), found)
    return found


def finished(session: Session) -> None:
    """Forget the list that was being told."""
    session.rows = (None, ())


def check_index(message: Message, found: Sequence[object]) -> None:
    """Raise BadRequest (EINVAL) for a row that there is not."""
    if message.index >= len(found):
        raise BadRequest(
            f"row {message.index} of {type(message).__name__}",
            f"there are {len(found)}",
            "begin at row 0, and stop before the end",
        )


def visible(session: Session, rows: Sequence[T], device: Callable[[T], Address]) -> Sequence[T]:
    """The rows of functions that this client may see."""
    addresses = seen(session)
    return rows if addresses is None else [row for row in rows if device(row) in addresses]


def check_inspects(session: Session, message: Message) -> None:
    """Raise NotPermitted (EACCES) without the right to inspect."""
    if not session.rights.inspect:
        raise NotPermitted(
            f"reading {type(message).__name__}",
            "the server's policy does not let this user inspect",
            "have `inspect = true` added to a rule of the policy",
        )
