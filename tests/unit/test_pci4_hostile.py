"""Hostile clients: the guard lives, others' data is right, descriptors and memory are level."""

from __future__ import annotations

import array
import contextlib
import errno
import multiprocessing
import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from rumpci.guard import Guard
from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.pci4 import abi, connection
from rumpci.pci4.abi import Op
from rumpci.pci4.server import Server
from tests.descriptors import descriptors
from tests.unit.pci4everything import everything
from tests.unit.pci4fuzz import fuzz
from tests.unit.pci4raw import Raw, Refused, resident
from tests.unit.pci4served import EDU, SIGNALLER, allocate, dma_alloc, enable, fire
from tests.waiting import LIMIT_S, until

VALUE = 0x600D_DA7A
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def mine(raw: Raw) -> int:
    """A window of a client that does nothing wrong."""
    window = raw.window(raw.claim(EDU, "mine", nth=1))
    raw.write(window, 4, VALUE)
    return window


def is_right(raw: Raw, window: int) -> bool:
    return raw.read(window, 4) == ~VALUE & 0xFFFF_FFFF


@MANY
@given(data=st.binary(min_size=1, max_size=6000))
def test_random_bytes(raw: Raw, mine: int, path: Path, data: bytes) -> None:
    with Raw(path) as hostile:
        hostile.sock.send(data)
        assert hostile.closed()
    assert is_right(raw, mine)


@MANY
@given(op=st.sampled_from(list(Op)), data=st.data())
def test_every_structure_with_random_values(
    raw: Raw, mine: int, path: Path, op: Op, data: st.DataObject
) -> None:
    kind = abi.STRUCTURES[op]
    size = kind.LAYOUT.size
    start = data.draw(st.binary(max_size=min(size, 256)))
    with Raw(path) as hostile:
        hostile.send(op, start.ljust(size, data.draw(st.sampled_from([b"\0", b"\1", b"\xff"]))))
        header, _ = hostile.receive()
        assert header.op == op
    assert is_right(raw, mine)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_requests_by_chance(seed: int, soak: bool) -> None:
    fuzz(seed, lambda step: step < (34_000 if soak else 1200))


def test_descriptors_that_a_client_sends_are_closed(raw: Raw, mine: int, path: Path) -> None:
    before = descriptors()
    message = abi.Header(magic=abi.MAGIC, op=Op.LIST).pack() + abi.List().pack()
    with Raw(path) as hostile:
        reading, writing = os.pipe()
        fds = array.array("i", [writing] * 100)
        for _ in range(20):
            hostile.sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            hostile.receive()
        os.close(writing)
        assert select.select([reading], [], [], LIMIT_S)[0]  # nobody has the other end any more
        assert os.read(reading, 1) == b""
        os.close(reading)
    until(lambda: descriptors() <= before, lambda: f"{before}, now {descriptors()}")
    assert is_right(raw, mine)


def test_who_does_not_read_its_answers_is_dropped(raw: Raw, mine: int, path: Path) -> None:
    hostile = Raw(path)
    hostile.claim(EDU)

    def ask_on() -> None:
        for _ in range(100_000):
            hostile.send(Op.LIST, abi.List().pack())

    with pytest.raises((ConnectionError, TimeoutError)):
        ask_on()
    assert is_right(raw, mine)
    until(lambda: raw.functions()[1].claimed_by == "")
    hostile.close()


def used_in(seconds: float) -> float:
    """The processor's seconds that this process takes in as many of the clock's."""
    before = time.process_time()
    time.sleep(seconds)
    return time.process_time() - before


def test_who_stays_silent_costs_nothing(server: Server, raw: Raw, mine: int, path: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
    for sock in silent:
        sock.connect(str(path))
    until(lambda: server.connections == 21)
    until(lambda: used_in(0.2) < 0.05)
    assert is_right(raw, mine)
    for sock in silent:
        sock.close()


def test_more_users_connections_than_one_may_have(
    server: Server, raw: Raw, mine: int, path: Path
) -> None:
    held: list[Raw] = []

    def connect_on() -> None:
        while len(held) < 100:
            held.append(Raw(path))

    with pytest.raises((EOFError, ConnectionError)):
        connect_on()
    assert len(held) == server.policy.limits.connections - 1
    assert is_right(raw, mine)
    for each in held:
        each.close()
    until(lambda: server.connections == 1)
    Raw(path).close()


def test_leaving_in_the_middle(raw: Raw, mine: int, path: Path, guard: Guard) -> None:
    before = descriptors()
    for number in range(60):
        hostile = Raw(path)
        claim = hostile.claim(SIGNALLER)
        enable(hostile, claim)
        dma_alloc(hostile, claim, 65536)
        allocate(hostile, claim, count=1 + number % 40)
        for _ in range(number % 5):
            hostile.send(Op.LIST, abi.List().pack())
        hostile.close()
        until(lambda: raw.functions()[4].claimed_by == "")
    until(lambda: descriptors() <= before, lambda: f"{before}, now {descriptors()}")
    assert [row.who for row in guard.dma_usage()] == ["mine"]
    assert is_right(raw, mine)


def test_when_the_descriptors_run_out_nothing_is_kept(raw: Raw, mine: int) -> None:
    claim = raw.claim(SIGNALLER)
    before, limits = descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    open_ = set(map(int, os.listdir("/proc/self/fd")))
    free = [fd for fd in range(1000) if fd not in open_]
    for left in (2, 9, 30, 81, 110):  # 80 are the guard's
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[left], limits[1]))
        try:
            with pytest.raises(Refused) as caught:
                allocate(raw, claim, count=40)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert caught.value.errno == errno.EMFILE
        assert descriptors() == before
    assert allocate(raw, claim, count=40).count == 40
    assert is_right(raw, mine)


def come_and_go(path: Path, end: float, failures: list[BaseException], met: list[int]) -> None:
    """A client of few words: whatever is refused, it comes again."""
    try:
        while time.monotonic() < end:
            with Raw(path) as hostile:
                met.append(1)
                try:
                    window = hostile.window(hostile.claim(EDU))
                    hostile.read(window, 0)
                except Refused as refused:
                    if refused.name != "DeviceBusy":
                        raise
    except BaseException as error:
        failures.append(error)


@pytest.mark.soak
def test_fifty_clients_that_come_and_go(
    server: Server, raw: Raw, mine: int, path: Path, soak: bool
) -> None:
    before, failures, met = descriptors(), list[BaseException](), list[int]()
    for seconds in (1, 60 if soak else 2):  # the first fifty have their peaks of memory
        at_first, end = resident(), time.monotonic() + seconds
        threads = [
            threading.Thread(target=come_and_go, args=(path, end, failures, met)) for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            assert is_right(raw, mine)
        for thread in threads:
            thread.join()
        assert not failures
        until(lambda: server.connections == 1 and descriptors() == before)
    assert resident() - at_first < 8192  # KiB
    if soak:
        print(f"\n{len(met)} connections in 61 s, descriptors {before} and {descriptors()},",
              f"memory {at_first} and {resident()} KiB")  # fmt: skip


def hold(path: str, ready: str) -> None:
    """In a process of its own: hold a claim with everything, until it is killed."""
    raw = Raw(Path(path))
    claim = raw.claim(EDU, "killed")
    enable(raw, claim)
    raw.window(claim)
    dma_alloc(raw, claim)
    allocate(raw, claim, 0)
    Path(ready).touch()
    time.sleep(600)


def test_a_client_that_is_killed(raw: Raw, mine: int, path: Path, guard: Guard) -> None:
    before = descriptors()
    for _ in range(3):
        ready = path.with_name("ready")
        process = multiprocessing.get_context("spawn").Process(
            target=hold, args=(str(path), str(ready)), daemon=True
        )
        process.start()
        until(ready.exists)
        assert raw.functions()[1].claimed_by == "killed"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: raw.functions()[1].claimed_by == "")
        process.join()
        process.close()
        ready.unlink()
        command = raw.ask(Op.CONF_READ, address=1 << 3, reg=4).value
        assert not command & 4, "it is still a bus master"
    assert [row.who for row in guard.dma_usage()] == ["mine"]
    assert is_right(raw, mine)
    until(lambda: descriptors() <= before + 2)  # multiprocessing's own


def turns(server: Server) -> int:
    """Requests of those who are connected."""
    return sum(connection.turns for connection in server._connections.values())


@pytest.mark.soak
def test_memory_is_level(
    server: Server, mine: int, path: Path, guard: Guard, soak: bool, raw: Raw
) -> None:
    """Of the server and of a client alike: both are in this process."""
    before, total = descriptors(), turns(server) + (100_000 if soak else 10_000)
    with contextlib.closing(open_host(f"pci4:{path}")) as host:
        place = next(f.address for f in host.functions() if f.id == SIGNALLER)
        at_first = 0
        while turns(server) < total:
            everything(host, place, lambda: fire(guard))
            batch(raw, mine)
            if not at_first and turns(server) > total // 10:
                at_first = resident()
        grown = resident() - at_first
    until(lambda: descriptors() <= before, lambda: f"{before}, now {descriptors()}")
    assert grown < 2048, f"{grown} KiB more"
    assert is_right(raw, mine)
    if soak:
        print(f"\n{turns(server)} operations, descriptors {before} and {descriptors()},",
              f"memory {at_first} KiB after a tenth, {at_first + grown} at the end")  # fmt: skip


def batch(raw: Raw, window: int) -> None:
    """The operation that our client does not use."""
    request = abi.WindowBatch(count=1, window=[window], how=[4], position=[0], value=[0])
    assert raw.ask(Op.WINDOW_BATCH, request).value[0] == 0x0100_00ED


def test_what_is_done_for_memory_to_be_level_is_everything(
    raw: Raw, mine: int, path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[int]()
    for table in (connection.OPERATIONS, connection.RAW):
        for op, operation in list(table.items()):
            monkeypatch.setitem(table, op, noting(asked, op, operation))
    with contextlib.closing(open_host(f"pci4:{path}")) as host:
        everything(host, Address(0, 0, 4, 0), lambda: fire(guard))
        batch(raw, mine)
    assert set(Op) - asked == {Op.WINDOW_ACCESS}  # which has a way of its own


def noting(asked: set[int], op: int, operation: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments: object) -> Any:
        asked.add(op)
        return operation(*arguments)

    return noted
