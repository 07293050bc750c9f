"""The guard in Python behind the protocol, without sockets, and the machine under it.

It is asked as the core is (core.py), of the same devices, so that the two can be compared.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from rumpci import pcireg as pr
from rumpci.guard import Guard
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.served import Served
from rumpci.host import Address, Function
from rumpci.host_dma import PAGE_SIZE
from rumpci.machines.bank import BANK_SIZE
from rumpci.machines.model.machine import ModelMachine
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.account import Accounts
from rumpci.pci4.connection import BUFFER, Connection
from rumpci.pci4.deliver import Delivery
from rumpci.pci4.policy import Limits as PolicyLimits, Peer, Rights
from rumpci.pci4.session import Session
from tests.netbsd.devices import MACHINES, Device
from tests.netbsd.machine import Access, Limits, Space4k, Who

LIMITS = Limits(claim_bytes=BANK_SIZE)
"""Those of the core that the guard's banks come to."""
_BANKS = 16
_MSI_SIZE = 24


class Guarded:
    """A machine of `MACHINES` behind a guard; it is a session's Watcher, too."""

    def __init__(
        self, name: str = "full", *, iommu: bool = False, scatter: int | None = None
    ) -> None:
        self.models: list[Device] = [kind() for kind in MACHINES[name]]
        self._log: list[Access] = []
        machine = ModelMachine(self.models, "sim:", self._trace, iommu=iommu, banks=_BANKS)
        self.machine = machine
        for model, slot in zip(self.models, list(machine._slots.values())[1:], strict=True):
            model.prepare(slot.config)
        self._guard = Guard(machine, scatter)
        self.guard: Served = self._guard
        self.addresses = [function.address for function in self.functions]
        self._accounts = Accounts()
        self._clients: dict[int, Connection] = {}
        self._events: dict[int, list[Any]] = {}
        self._buffer = bytearray(BUFFER)

    @property
    def functions(self) -> list[Function]:
        """Those of the machine."""
        return list(self.machine.functions())

    def space_of(self, number: int) -> Space4k:
        """A function's configuration space, as a simulated machine takes it."""
        config = self.machine._slots[self.addresses[number]].config
        return Space4k(bytes(config._value), bytes(config._writable), bytes(config._clear))

    def close(self) -> None:
        for client in list(self._clients):
            self.leave(client)
        self.guard.close()

    # ---- clients -------------------------------------------------------------------------

    def open(self, who: Who) -> int:
        """A new client, greeted.  Raises RumpciError."""
        account, limits = self._accounts.of(who.uid), who.limits
        given = PolicyLimits(
            limits.clients, limits.claims, limits.objects, limits.interrupts, limits.bytes
        )
        devices = [
            f"address:{address}"
            for number, address in enumerate(self.addresses)
            if who.allowed >> number & 1
        ]
        rights = Rights(tuple(devices), who.inspect, given)
        account.take("connections", given)
        number = next(n for n in range(8) if n not in self._clients)
        session = Session(self, f"client {number}", account, rights, who.pid)
        session.greeted = True
        sock, other = socket.socketpair()
        other.close()
        peer = Peer(who.pid, who.uid, 0)
        self._clients[number] = Connection(sock, peer, session, f"client {number}", self._buffer)
        self._events[number] = []
        return number

    def leave(self, client: int) -> None:
        """Close a client."""
        connection = self._clients.pop(client)
        assert connection.session is not None
        connection.close()
        connection.session.account.give("connections")
        self._accounts.forget_idle(connection.session.account)

    def dispatch(self, client: int, op: int, body: bytes) -> tuple[int, bytes]:
        """An errno, and the answer."""
        connection = self._clients[client]
        session = connection.session
        assert session is not None
        try:
            return 0, connection._answer(op, memoryview(body))
        except Exception as error:
            return connection._refusal(op, error)[0], b""
        finally:
            session.sent()

    def programs_messages(self, client: int, message: Any) -> bool:
        """Whether a CONF_READ is of a register that programs messages."""
        session = self._clients[client].session
        assert session is not None
        held = session.claims.get(message.claim)
        address = held.claim.function.address if held else abi.unpack_address(message.address)
        if address not in self.addresses:
            return False
        apart = message_bytes(self.space(self.addresses.index(address)))
        return bool(apart & set(range(message.reg, message.reg + 4)))

    # ---- a session's Watcher -------------------------------------------------------------

    def sessions(self) -> Iterable[Session]:
        return [c.session for c in self._clients.values() if c.session]

    def watch(self, fd: int, events: int, ready: Any) -> None:
        """Nobody is woken here: `service` looks."""

    def unwatch(self, fd: int) -> None:
        """See watch."""

    def look_at(self, looked: Any, *, on: bool) -> None:
        """See watch."""

    # ---- the machine ---------------------------------------------------------------------

    def _trace(self, verb: str, at: Address, bar: int, offset: int, width: int, value: int) -> None:
        msix = self.models[at.device - 1].msix
        if msix and bar == msix.bar and self._is_messages(offset, at):
            return  # by the guard itself: the table is nobody else's
        self._log.append(Access(at.device, bar, offset, width, verb == "write", value))

    def _is_messages(self, offset: int, at: Address) -> bool:
        msix = self.models[at.device - 1].msix
        assert msix is not None
        return (offset ^ msix.table) < PAGE_SIZE  # the pending bits are in the same page

    def accesses(self) -> list[Access]:
        """Those to registers, since they were asked for."""
        found, self._log = self._log, []
        return found

    def signal(self, func: int, cause: int = 1, vector: int = 0) -> None:
        """Have a device interrupt."""
        self.models[func - 1].raise_(cause, vector)

    def quiet(self, func: int) -> None:
        """Have a device stop."""
        self.models[func - 1].quiet()

    def service(self) -> None:
        """Have what fired handled, once; and what it left, read."""
        self._guard.router.service()
        for number, connection in self._clients.items():
            assert connection.session is not None
            for _, delivery in connection.session.interrupts.values():
                self._read(number, delivery)

    def _read(self, client: int, delivery: Delivery) -> None:
        interrupt = delivery.interrupt
        assert isinstance(interrupt, GuardInterrupt)
        events = interrupt._take_all()
        if not events:
            interrupt._quiet()
        for event in events:
            message = abi.Event(
                sequence=event.sequence, count=event.count, vector=event.vector,
                words=len(event.status), status=(*event.status, 0, 0, 0, 0)[:4],
            )  # fmt: skip
            self._events[client].append(abi.Event.unpack(message.pack()))

    def events(self, client: int) -> list[Any]:
        """Those that `service` found."""
        found, self._events[client] = self._events[client], []
        return found

    def space(self, func: int) -> bytes:
        """A function's configuration space as it is."""
        return bytes(self.machine._slots[self.addresses[func]].config._value)

    def granted(self, func: int) -> dict[int, int]:
        """What the IOMMU lets a function reach: direction by page."""
        return {
            grant.addr + at: grant.direction.value
            for grant in self.guard.iommu()
            if grant.device == self.addresses[func]
            for at in range(0, grant.size, PAGE_SIZE)
        }

    def held(self) -> int:
        """How many claims there are."""
        return sum(f.claimed_by is not None for f in self.guard.functions())


def message_bytes(space: bytes) -> set[int]:
    """The bytes of configuration space that program messages: a kernel does that for the core."""
    found, seen = set[int](), set[int]()
    at = space[pr.PCI_CAPLISTPTR_REG] & 0xFC
    while at >= 0x40 and at not in seen:
        seen.add(at)
        if space[at] == pr.PCI_CAP_MSI:
            found |= set(range(at + 2, at + _MSI_SIZE))
        elif space[at] == pr.PCI_CAP_MSIX:
            found |= {at + 2, at + 3}
        at = space[at + 1] & 0xFC
    return found


def hidden(space: bytes) -> bytes:
    """Configuration space without these."""
    found = bytearray(space)
    for at in message_bytes(space):
        found[at] = 0
    return bytes(found)


def answer_of(op: Op, body: bytes) -> dict[str, Any]:
    """The fields of an answer that both sides have to agree on, arrays without zeros at the end."""
    message = abi.STRUCTURES[op].unpack(body)
    fields = {f.name: getattr(message, f.name) for f in message.FIELDS if f.name not in _APART}
    if fields.get("state") == "unclaimed":  # the kernel has the lines, and so what is nobody's
        fields |= {"state": "free", "count": 0}
    for name, value in fields.items():
        if isinstance(value, bytes):
            fields[name] = value.rstrip(b"\0").hex()
        elif isinstance(value, tuple):
            fields[name] = _trimmed(value)
    return {name: value for name, value in fields.items() if value or name in ("errno",)}


_APART = {"range_offset", "range_len", "nranges", "fd_offset", "map_start", "map_end", "features"}
"""How memory is mapped differs: of descriptors here, of the device there."""


def _trimmed(values: tuple[Any, ...]) -> list[Any]:
    found = list(values)
    while found and not found[-1]:
        found.pop()
    return found
