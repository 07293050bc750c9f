"""The operations of the protocol on the host itself, claims and configuration space.

Each takes the session and the request, and fills the answer's fields in.  Those of
windows, interrupts and DMA are in the files beside; `connection.py` has the table.
"""

from __future__ import annotations

from rumpci.errors import BadRequest, DeviceBusy, NoSuchDevice, NotPermitted, NotSupported
from rumpci.host import Bar, Feature, Function, Space
from rumpci.pci4 import abi
from rumpci.pci4.checks import clip, shown
from rumpci.pci4.seen import OTHER, may_see
from rumpci.pci4.session import Session


def version(session: Session, message: abi.Version) -> None:
    """VERSION: greet.  Raises NotSupported (EOPNOTSUPP) for another version."""
    if message.version != abi.VERSION:
        raise NotSupported(
            f"speaking version {message.version}",
            f"this server speaks version {abi.VERSION}",
            "use the client and the server of one release",
        )
    session.greeted = True
    features = session.guard.features
    if not session.private:
        features &= ~Feature.DMA
    message.features = features.value
    message.url = clip(session.guard.url, 512)


def list_(session: Session, message: abi.List) -> None:
    """LIST: one function."""
    functions = session.guard.functions()
    message.total = len(functions)
    if message.index >= len(functions):
        raise BadRequest(
            f"listing function {message.index}", f"there are {len(functions)}", "stop before"
        )
    function = functions[message.index]
    _fill(message, function)
    holder = function.claimed_by or ""
    if holder and not may_see(session, function.address):
        holder = OTHER
    message.claimed_by = clip(holder, abi.NAME)


def _fill(message: abi.List, function: Function) -> None:
    message.address = abi.pack_address(function.address)
    message.id, message.class_ = function.id, function.class_
    message.header = function.header
    message.secondary = -1 if function.secondary is None else function.secondary
    bars = [function.bar(index) for index in range(6)]
    message.bar_base = [bar.base if bar else 0 for bar in bars]
    message.bar_size = [bar.size if bar else 0 for bar in bars]
    message.bar_flags = [_flags(bar) if bar else 0 for bar in bars]


def _flags(bar: Bar) -> int:
    return (bar.space is Space.IO) | bar.width64 << 1 | bar.prefetchable << 2


def conf_read(session: Session, message: abi.ConfRead) -> None:
    """CONF_READ: of a claim, or of any function."""
    if message.claim:
        message.value = session.held(message.claim).claim.conf_read(message.reg)
    else:
        address = abi.unpack_address(message.address)
        message.value = session.guard.conf_read(address, message.reg)


def conf_write(session: Session, message: abi.ConfWrite) -> None:
    """CONF_WRITE: of a claim."""
    session.held(message.claim).claim.conf_write(message.reg, message.value)


def claim(session: Session, message: abi.Claim) -> None:
    """CLAIM: take a function, if the policy lets this user.  Raises NotPermitted (EACCES)."""
    who = shown("claiming for", message.who, empty=False)
    address = abi.unpack_address(message.address)
    listed = {function.address: function for function in session.guard.functions()}
    function = listed.get(address)
    if function is None:
        raise NoSuchDevice(
            f"claiming {address} for {who}", "no function is there", "see `rumpci list`"
        )
    if not session.rights.may_claim(function):
        raise NotPermitted(
            f"claiming {address} for {who}",
            f"the server's policy does not give it to user {session.account.uid}",
            "have a rule added to the policy (docs/serve.md)",
        )
    if function.claimed_by and not may_see(session, address):  # the guard would tell the name
        raise DeviceBusy(f"claiming {address} for {who}", f"{OTHER} has it", "wait for its release")
    message.claim = session.claim(function, who).handle


def release(session: Session, message: abi.Handle) -> None:
    """RELEASE: give a function back."""
    session.release(session.held(message.handle))
