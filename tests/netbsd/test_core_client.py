"""rumpci's client of a device node on the core itself: what a kernel answers, less the kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest

from rumpci.errors import (
    BadAccess,
    BadDma,
    BadRange,
    BadShim,
    DeviceBusy,
    DmaBusy,
    InterruptBusy,
    NoSuchBar,
    NoSuchDevice,
    NotEnabled,
    NotPermitted,
    NoVectors,
    OutOfWindow,
    ProtectedRange,
    RumpciError,
)
from rumpci.host import Address, Event, Feature, Interrupt, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_claim import Pci4Claim
from rumpci.pci4.client_node import NodeConnection
from rumpci.pci4.node import Node, command
from rumpci.pci4.node_errors import error_of
from tests.netbsd.asking import ACK_SHIM, FULL, MMAP, OLD, machine
from tests.netbsd.core import Core
from tests.netbsd.machine import Who

FULL_AT, OLD_AT = abi.unpack_address(FULL), abi.unpack_address(OLD)


class CoreNode(Node):
    """A client of the core's; its memory is a file of zeros, at the core's places."""

    def __init__(self, core: Core, who: Who) -> None:
        self.path, self._core, self._who = "/dev/pci0", core, who
        self.client = core.open(who, greet=False)
        self._fd, self._ring = os.pipe()
        self.places: list[int] = []

    def again(self) -> CoreNode:
        return CoreNode(self._core, self._who)

    def ioctl(self, op: int, structure: bytearray) -> None:
        assert command(op, len(structure)) & 0xFF == op
        number, structure[:] = self._core.dispatch(self.client, op, bytes(structure))
        if number:
            raise OSError(number, os.strerror(number))

    def read(self) -> bytes:
        event = self._core.event(self.client)
        return event.pack() if event else b""

    def readable(self) -> bool:
        return True

    def share(self, place: int) -> tuple[int, int]:
        found = self._core.mmap(self.client, place, 4096)
        assert found.errno == 0
        self.places.append(place)
        made = os.memfd_create("place")
        os.truncate(made, 1 << 20)
        return made, 0

    def close(self) -> None:
        self._core.leave(self.client)
        os.close(self._fd)
        os.close(self._ring)


@pytest.fixture
def core() -> Iterator[Core]:
    with machine(mappable=True) as made:
        yield made


@pytest.fixture
def host(core: Core) -> Iterator[Pci4Host]:
    made = Pci4Host(NodeConnection(CoreNode(core, Who())), "pci4:/dev/pci0")
    yield made
    made.close()


@pytest.fixture
def claim(host: Pci4Host) -> Pci4Claim:
    made = host.claim(FULL_AT, "full")
    made.conf_write(4, 7)
    return made


def test_listing(host: Pci4Host) -> None:
    assert Feature.DMA in host.features
    functions = {f.address: f for f in host.functions()}
    assert functions[FULL_AT].bar(2) is not None
    assert host.conf_read(FULL_AT, 0) == functions[FULL_AT].id
    assert host.conf_read(Address(0, 0, 30, 0), 0) == 0xFFFF_FFFF
    for rows in (host.holders, host.interrupts, host.dma, host.dma_usage, host.dma_check):
        rows()


def test_who_has_it_is_said(host: Pci4Host, claim: Pci4Claim) -> None:
    with pytest.raises(DeviceBusy, match="full has it"):
        host.claim(FULL_AT, "other")
    assert [f.claimed_by for f in host.functions() if f.address == FULL_AT] == ["full"]
    claim.release()
    host.claim(FULL_AT, "other")


def test_every_width_at_ports_and_memory(core: Core, claim: Pci4Claim) -> None:
    core.accesses()
    for bar, widths in ((2, (1, 2, 4)), (0, (1, 2, 4, 8))):
        window = claim.window(bar, 0, 32, writable=bar == 2)
        for width in widths:
            assert window.read(8, width) == 0
            if bar == 2:
                window.write(8, width, 0x5A)
                assert window.read(8, width) == 0x5A
                window.write(8, width, 0)
        window.barrier()
        assert window.present()
    made = [(access.bar, access.width) for access in core.accesses() if not access.write]
    assert made[:6] == [(2, 1), (2, 1), (2, 2), (2, 2), (2, 4), (2, 4)]


def test_memory_is_at_the_cores_places(core: Core, claim: Pci4Claim) -> None:
    node = claim.connection._node  # type: ignore[attr-defined]
    memory = claim.dma_alloc(MemorySpec(5000))
    window = claim.window(0, 0, 0x4000)
    assert window.mapping is not None
    assert len(node.places) == 2
    assert all(place >= MMAP for place in node.places)
    dmamap = claim.dma_map(MapSpec(8192, 4, 8192))
    assert sum(s.ds_len for s in dmamap.load([Piece(memory, 0, 5000)], Direction.BOTH)) == 5000
    with pytest.raises(DmaBusy):
        memory.free()
    dmamap.unload()
    dmamap.destroy()
    memory.free()
    window.unmap()
    assert all(core.mmap(node.client, place, 4096).errno == errno.EINVAL for place in node.places)


@pytest.mark.parametrize("shim", [None, ACK_SHIM], ids=["none", "shim"])
def test_a_line(core: Core, claim: Pci4Claim, shim: bytes | None) -> None:
    (line,) = claim.intr_alloc(IntrType.INTX, [0])
    line.establish(shim)
    core.signal(1, cause=2)
    core.service()
    (event,) = line.read()
    assert (event.sequence, event.vector) == (1, 0)
    assert event.status[:1] == ((2,) if shim else ())
    if shim is None:
        core.quiet(1)
    line.unmask()
    line.disestablish()
    claim.intr_release()
    assert core.stats().intrs == 0


def test_several_messages(core: Core, claim: Pci4Claim) -> None:
    made: list[Interrupt] = list(claim.intr_alloc(IntrType.MSIX, [1, 4]))
    for interrupt in made:
        interrupt.establish()
    core.signal(1, vector=4)
    core.service()
    found = [interrupt.read() for interrupt in made]
    assert found == [[], [Event(1, 4, 1)]]


REFUSALS: dict[str, tuple[type[RumpciError], Callable[[Pci4Host, Pci4Claim], object]]] = {
    "absent": (NoSuchDevice, lambda h, _: h.claim(Address(0, 0, 30, 0), "x")),
    "bar": (NoSuchBar, lambda _, c: ask(c, Op.WINDOW_MAP, bar=1, size=4)),
    "range": (BadRange, lambda _, c: ask(c, Op.WINDOW_MAP, bar=0, size=1 << 40)),
    "closed": (ProtectedRange, lambda _, c: ask(c, Op.WINDOW_MAP, bar=3, size=4096)),
    "register": (BadRange, lambda _, c: ask(c, Op.CONF_READ, reg=3)),
    "position": (OutOfWindow, lambda _, c: access(c, 4, 1 << 40)),
    "aligned": (BadAccess, lambda _, c: access(c, 4, 2)),
    "vectors": (NoVectors, lambda _, c: ask(c, Op.INTR_ALLOC, type=2, count=1, index=[99])),
    "memory": (BadDma, lambda _, c: ask(c, Op.DMA_ALLOC, size=0)),
    "shim": (BadShim, lambda _, c: c.intr_alloc(IntrType.INTX, [0])[0].establish(b"bad")),
}  # fmt: skip


def ask(claim: Pci4Claim, op: Op, **values: object) -> object:
    return claim.connection.call(op, abi.STRUCTURES[op](claim=claim._handle, **values))


def access(claim: Pci4Claim, width: int, position: int) -> int:
    window = claim.window(0, 0, 64)
    return claim.connection.channel.read(window._handle, position, width)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(host: Pci4Host, claim: Pci4Claim, name: str) -> None:
    kind, do = REFUSALS[name]
    with pytest.raises(kind) as caught:
        do(host, claim)
    assert type(caught.value) is kind


def test_established_twice_and_not_enabled(host: Pci4Host, claim: Pci4Claim) -> None:
    (message,) = claim.intr_alloc(IntrType.MSI, [0])
    message.establish()
    with pytest.raises(InterruptBusy):
        message.establish()
    with pytest.raises(InterruptBusy):
        claim.intr_alloc(IntrType.MSI, [0])
    claim.intr_release()
    claim.conf_write(4, 0)
    (message,) = claim.intr_alloc(IntrType.MSI, [0])
    with pytest.raises(NotEnabled):
        message.establish()


def test_who_may_not(core: Core) -> None:
    stranger = NodeConnection(CoreNode(core, Who(uid=5, inspect=False, allowed=0)))
    host = Pci4Host(stranger, "pci4:/dev/pci0")
    with pytest.raises(NotPermitted):
        host.claim(FULL_AT, "mine")
    host.close()


def test_an_errno_says_no_more_than_it_can() -> None:
    assert str(error_of(Op.CLAIM, errno.EBUSY, "/dev/pci0")).startswith("claim at /dev/pci0: ")
