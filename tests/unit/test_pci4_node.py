"""The client of a device node: its numbers, its errors, its memory, its events, its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rumpci import errors
from rumpci.errors import (
    BadURL,
    DeviceBusy,
    HostRefused,
    HostUnavailable,
    MachineDied,
    NoSuchDevice,
    OutOfWindow,
    RumpciError,
)
from rumpci.guard import Guard
from rumpci.host import Claim, Host, Interrupt, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.machines.model.edu import Edu
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.model.ram import Ram
from rumpci.pci4 import abi, node_errors
from rumpci.pci4.abi import Op
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_node import NodeConnection
from rumpci.pci4.node import Node, command, is_node
from rumpci.pci4.node_errors import error_of
from rumpci.pci4.node_events import NodeEvents
from rumpci.supervisor.inside import Job, console, run
from rumpci.tools.load import load_drivers
from tests.pci4_node import PLACES, FakeNode, noded
from tests.unit.signallers import COMMAND, Signaller
from tests.waiting import LIMIT_S, until

HEADER = Path(__file__).parents[2] / "netbsd/sys/dev/pci/pci4_abi.h"
RECORD = abi.Event.LAYOUT


@pytest.fixture
def guard() -> Iterator[Guard]:
    with contextlib.closing(Guard(ModelMachine([Edu(), Signaller(), Ram()], banks=4))) as made:
        yield made


@pytest.fixture
def url(guard: Guard) -> Iterator[str]:
    with noded(guard) as made:
        yield made


@pytest.fixture
def host(url: str) -> Iterator[Host]:
    with contextlib.closing(open_host(url)) as made:
        yield made


def claimed(host: Host, number: int) -> Claim:
    functions = [f for f in host.functions() if not f.is_bridge]
    claim = host.claim(functions[number].address, "test")
    claim.conf_write(4, COMMAND)
    return claim


# ---- numbers ---------------------------------------------------------------------------------


def test_ioctls_have_netbsds_numbers() -> None:
    """Of <sys/ioccom.h>: in and out, 13 bits of size, the group, the number."""
    assert command(1, 528) == 0xC210_7001
    assert command(23, 24) == 0xC018_7017
    for size in (0, 0x2000, -1):
        with pytest.raises(ValueError, match="an ioctl of"):
            command(1, size)


def test_the_header_says_the_same() -> None:
    found = re.findall(r"#define PCI4_IOC_(\w+) +_IOWR\('(.)', (\d+), struct (\w+)\)",
                       HEADER.read_text())  # fmt: skip
    assert {Op[name] for name, *_ in found} == set(Op)
    for name, group, number, _ in found:
        made = command(Op[name], abi.STRUCTURES[Op[name]].LAYOUT.size)
        assert (made >> 8 & 0xFF, made & 0xFF) == (ord(group), int(number))


# ---- opening ---------------------------------------------------------------------------------


def test_what_is_a_node(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert is_node("/dev/null")
    assert not any(map(is_node, ["/", str(tmp_path / "file"), str(tmp_path / "none"), ""]))


def test_a_node_that_does_not_speak_the_protocol() -> None:
    with pytest.raises(HostRefused, match=r"does not speak.*upci"):
        open_host("pci4:/dev/null")


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL])
def test_other_devices_say_so_otherwise(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Node, "ioctl", refuse)
    with pytest.raises(HostRefused, match="does not speak version 1"):
        open_host("pci4:/dev/null")


def test_a_signal_does_not_end_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[tuple[int, bytes]]()

    def ioctl(_fd: int, number: int, structure: bytearray, _mutate: bool) -> None:
        made.append((number, bytes(structure)))
        if len(made) < 3:
            raise InterruptedError(errno.EINTR, "Interrupted")
        structure[:] = b"answered"

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    structure, node = bytearray(8), Node("/dev/null")
    node.ioctl(Op.RELEASE, structure)
    node.close()
    assert made == [(command(Op.RELEASE, 8), bytes(8))] * 3
    assert structure == b"answered"


def test_a_node_has_no_limit() -> None:
    with pytest.raises(BadURL, match="no limit"):
        open_host("pci4:/dev/null?limit=3")


@pytest.mark.parametrize("number", [errno.ENXIO, errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_node_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(HostUnavailable) as caught:
        Node("/dev/pci0")
    assert caught.value.errno == number
    assert "docs/netbsd.md" not in caught.value.remedy


def test_nothing_is_left_open(guard: Guard, url: str) -> None:
    with contextlib.closing(open_host(url)) as first:
        claimed(first, 0)  # the guard keeps a bank of memory for its user from now on
    before = len(os.listdir("/proc/self/fd"))
    host = open_host(url)
    claim = claimed(host, 0)
    claim.window(0, 0, 4096)
    claim.dma_alloc(MemorySpec(8192))
    claim.intr_alloc(IntrType.MSI, [0])
    host.close()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # the guard closes its ends, too
    with pytest.raises(RumpciError):
        claim.conf_read(0)
    with pytest.raises(MachineDied, match="the host was closed"):
        host.conf_read(claim.function.address, 0)


class Noting(FakeNode):
    """Notes what is asked of all nodes, and what is mapped of a window meanwhile."""

    seen: list[tuple[str, bool]] = []  # noqa: RUF012
    window: Any = None

    def again(self) -> FakeNode:
        return Noting(self.path)

    def ioctl(self, op: int, structure: bytearray) -> None:
        self._note(Op(op).name)
        super().ioctl(op, structure)

    def close(self) -> None:
        self._note("close")
        super().close()

    def _note(self, what: str) -> None:
        mapping = self.window and self.window.mapping
        Noting.seen.append((what, bool(mapping and mapping.end > mapping.start)))


def test_the_order_of_the_end(url: str) -> None:
    """First nobody reaches registers any more, then the claim ends, then its node is closed."""
    host = Pci4Host(NodeConnection(Noting(url.removeprefix("pci4:"))), url)
    claim = host.claim(next(f for f in host.functions() if f.id == 0xFFFE_1234).address, "test")
    Noting.window = claim.window(0, 0, 4096)
    memory = claim.dma_alloc(MemorySpec(4096))
    Noting.seen.clear()
    Noting.window.mapping.read(0, 4)
    host.close()
    assert Noting.seen == [("RELEASE", False), ("close", False), ("close", False)]
    assert not memory.view.live
    Noting.window = None


# ---- errors ----------------------------------------------------------------------------------


def test_each_error_has_the_errno_that_it_is_known_by() -> None:
    for table in (node_errors._ANY, *node_errors._BY_OP.values()):
        for number, kind in table.items():
            assert issubclass(kind, RumpciError)
            if kind is not errors.NotPermitted:  # of both EACCES and EPERM
                known = getattr(kind, "errno", None)
                assert known == number or (kind, number) == (errors.NoVectors, errno.EINVAL)


@pytest.mark.parametrize("op", list(Op))
def test_any_errno_is_an_error(op: Op) -> None:
    for number in errno.errorcode:
        error = error_of(op, number, "/dev/pci0")
        assert error.errno == number
        assert all((error.tried, error.why, error.remedy))


def test_refusals_come_from_the_operation(host: Host) -> None:
    claim = claimed(host, 0)
    with pytest.raises(DeviceBusy, match="test has it"):
        host.claim(claim.function.address, "other")
    with pytest.raises(NoSuchDevice):
        host.claim(claim.function.address._replace(device=30), "nobody")
    window = claim.window(0, 0, 4096)
    with pytest.raises(OutOfWindow):  # the window itself would not ask
        window._read(window._handle, 4096, 4)  # type: ignore[attr-defined]


# ---- registers and memory --------------------------------------------------------------------


class Places(FakeNode):
    """Notes the places that were mapped."""

    shared: list[int] = []  # noqa: RUF012

    def again(self) -> FakeNode:
        return Places(self.path)

    def share(self, place: int) -> tuple[int, int]:
        self.shared.append(place)
        return super().share(place)


def test_memory_is_at_places_that_are_no_bus_addresses(url: str) -> None:
    Places.shared.clear()
    node = Places(url.removeprefix("pci4:"))
    with contextlib.closing(Pci4Host(NodeConnection(node), url)) as host:
        claim = claimed(host, 0)
        memory = claim.dma_alloc(MemorySpec(3 * 4096))
        assert len(Places.shared) == 1
        assert Places.shared[0] >= PLACES
        view = memoryview(memory.view)
        view[:4] = b"here"
        loaded = claim.dma_map(MapSpec(4096, 1, 4096)).load(
            [Piece(memory, 0, 4096)], Direction.BOTH
        )
        assert loaded[0].ds_len == 4096
        memory.view.first(2)[:1] = b"t"
        assert bytes(view[:4]) == b"tere"


@pytest.mark.parametrize("intr", ["msi", "intx", "shim", "poll"])
def test_edu_runs_on_a_node(url: str, intr: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"edu": {"intr": intr, "dma": "on"}}
    run(Job(["edu"], load_drivers(["edu"]), url, asked), console(), None)
    out = capsys.readouterr().out
    assert "10! = 3628800" in out
    assert "DMA of 4095 bytes both ways: ok" in out


# ---- events ----------------------------------------------------------------------------------


def fire(guard: Guard, vector: int) -> None:
    model = guard.machine.model(guard.functions()[2].address)  # type: ignore[attr-defined]
    model.fire(vector)


def readable(interrupt: Interrupt, seconds: float = LIMIT_S) -> bool:
    return bool(select.select([interrupt.fileno()], [], [], seconds)[0])


@pytest.fixture
def three(host: Host) -> list[Interrupt]:
    claim = claimed(host, 1)
    made = list(claim.intr_alloc(IntrType.MSIX, [0, 1, 5]))
    for interrupt in made:
        interrupt.establish()
    return made


def test_who_reads_hands_out_to_the_others(guard: Guard, three: list[Interrupt]) -> None:
    fds = [interrupt.fileno() for interrupt in three]
    assert len(set(fds)) == 3
    fire(guard, 5)
    assert readable(three[0])
    assert three[0].read() == []
    assert readable(three[2]), "its event was handed out"
    assert not readable(three[1], 0)
    assert [event.vector for event in three[2].read()] == [5]
    assert not readable(three[2], 0)


def test_asyncio_waits_for_each(guard: Guard, three: list[Interrupt]) -> None:
    seen = list[int]()

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def take(interrupt: Interrupt) -> None:
            seen.extend(event.vector for event in interrupt.read())
            if len(seen) == 3:
                done.set()

        for interrupt in three:
            loop.add_reader(interrupt.fileno(), take, interrupt)
        for vector in (5, 0, 1):
            fire(guard, vector)
        await asyncio.wait_for(done.wait(), LIMIT_S)

    asyncio.run(main())
    assert sorted(seen) == [0, 1, 5]


class Script:
    """A node whose reads are written down."""

    def __init__(self, *reads: bytes) -> None:
        self._reads, self._ends = list(reads), os.pipe()

    def read(self) -> bytes:
        return self._reads.pop(0) if self._reads else b""

    def readable(self) -> bool:
        return bool(self._reads)

    def fileno(self) -> int:
        return self._ends[0]


def record(sequence: int, vector: int) -> bytes:
    return RECORD.pack(sequence, 1, vector, 0, 0, 0, 0, 0)


def events(*reads: bytes, indices: tuple[int, ...] = (0, 3)) -> NodeEvents:
    script: Any = Script(*reads)
    return NodeEvents(script, indices)


def test_records_go_to_their_interrupts_in_order() -> None:
    made = events(record(1, 3) + record(1, 0), record(2, 3), record(9, 7))
    first, third = made.ports[0], made.ports[3]
    assert first.ready()
    assert third.take() == record(1, 3) + record(2, 3)
    assert first.ready()
    assert first.take() == record(1, 0)
    assert (first.take(), third.take(), first.ready()) == (b"", b"", False)


def test_what_are_no_records() -> None:
    with pytest.raises(ValueError, match="57 bytes"):
        events(record(1, 0) + b"!").ports[0].take()


def test_one_interrupt_has_the_nodes_own_descriptor() -> None:
    script: Any = Script()
    port = NodeEvents(script, [4]).ports[4]
    assert port.fileno() == script.fileno()
    port.close()
    os.fstat(script.fileno())  # which is not its to close


def test_a_reader_is_not_held_by_who_sends_without_end() -> None:
    made = events(*(record(n, 0) for n in range(1000)), indices=(0,))
    assert 0 < len(made.ports[0].take()) < 1000 * RECORD.size
