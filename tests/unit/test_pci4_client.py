"""The client of pci(4) against a server of the test's: what is posted, what is told, what dies."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumpci.errors import (
    BadAccess,
    BadDma,
    BadRange,
    BadURL,
    DeadDma,
    DeadWindow,
    HostRefused,
    HostUnavailable,
    MachineDied,
    NotAllocated,
    NoVectors,
    OutOfWindow,
    ReadOnlyWindow,
    RumpciError,
    ValueTooWide,
)
from rumpci.host import Event, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client import Pci4Host
from tests.descriptors import descriptors
from tests.waiting import LIMIT_S, until

from .pci4_fake import PLACE, Fake, opened

RECORD = abi.Event.LAYOUT


# ---- opening ----------------------------------------------------------------------------------


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(tmp_path / "stream"))
        stream.listen()
        for place, kind in {
            "": BadURL, tmp_path / "none": HostUnavailable, tmp_path / "file": HostUnavailable,
            "x" * 200: BadURL, tmp_path / "stream": HostRefused, "a?limit=0": BadURL,
            "a?limit=nan": BadURL, "a?speed=1": BadURL,
        }.items():  # fmt: skip
            with pytest.raises(kind):
                open_host(f"pci4:{place}")


def test_a_server_of_another_version(fake: Fake) -> None:
    fake.answers[Op.VERSION] = lambda m: abi.Version(version=9)
    before = descriptors()
    with pytest.raises(HostRefused, match=r"version 9 .* version 1"), opened(fake):
        pass
    refusal = abi.Error(name="NotSupported", why="this server speaks version 3")
    fake.answers[Op.VERSION] = lambda m: refusal
    with pytest.raises(HostRefused, match=r"version 3; .* version 1"), opened(fake):
        pass
    until(lambda: descriptors() <= before)


# ---- windows ----------------------------------------------------------------------------------


def test_writes_arrive_in_order_and_without_being_waited_for(host: Pci4Host, fake: Fake) -> None:
    window = host.claim(PLACE, "one").window(0, 0, 0x100)
    order: list[tuple[int, int]] = []
    access = fake.window_access

    def slowly(m: Any) -> Any:
        order.append((m.how, m.value))
        return access(m)

    fake.answers[Op.WINDOW_ACCESS] = slowly
    for value in range(300):
        window.write(4, 4, value)
    assert window.read(4, 4) == 299
    assert order == [(20, value) for value in range(300)] + [(4, 0)]


def test_a_write_leaves_though_nothing_follows(host: Pci4Host, fake: Fake) -> None:
    host.claim(PLACE, "one").window(0, 0, 0x100).write(8, 4, 1)
    until(lambda: 8 in fake.registers)
    assert fake.registers[8] == 1


@pytest.mark.parametrize(
    "follow", ["read", "barrier", "present", "conf_read", "functions"]
)  # fmt: skip
def test_a_posted_writes_error_is_told_once(host: Pci4Host, fake: Fake, follow: str) -> None:
    claim = host.claim(PLACE, "one")
    window = claim.window(0, 0, 0x100)
    fake.refuse.add(4)
    window.write(4, 4, 1)
    window.write(8, 4, 2)
    use: dict[str, Callable[[], object]] = {
        "read": lambda: window.read(8, 4), "barrier": window.barrier, "present": window.present,
        "conf_read": lambda: claim.conf_read(0), "functions": host.functions,
    }  # fmt: skip
    with pytest.raises(DeadWindow, match="it was reset") as told:
        use[follow]()
    assert told.value.errno == 22
    assert window.read(8, 4) == 2
    use[follow]()


def test_a_posted_writes_error_does_not_keep_a_claim(host: Pci4Host, fake: Fake) -> None:
    claim = host.claim(PLACE, "one")
    fake.refuse.add(4)
    claim.window(0, 0, 0x100).write(4, 4, 1)
    claim.release()
    assert Op.RELEASE in fake.seen


def test_mistakes_are_refused_here(host: Pci4Host, fake: Fake) -> None:
    fake.answers[Op.WINDOW_MAP] = lambda m: abi.WindowMap(
        window=9, bar=0, offset=m.offset, size=m.size, flags=m.flags
    )
    claim = host.claim(PLACE, "one")
    window, readonly = claim.window(0, 8, 0x100), claim.window(0, 0, 8, writable=False)
    seen = len(fake.seen)
    mistakes: list[tuple[type[RumpciError], Callable[[], object]]] = [
        (OutOfWindow, lambda: window.read(0x100, 4)), (BadAccess, lambda: window.write(2, 4, 0)),
        (BadAccess, lambda: window.write(0, 3, 0)), (ValueTooWide, lambda: window.write(0, 1, 256)),
        (ValueTooWide, lambda: window.write(0, 4, -1)), (OutOfWindow, lambda: window.read(-4, 4)),
        (ReadOnlyWindow, lambda: readonly.write(0, 4, 0)),
        (BadAccess, lambda: window.write_many(0, 4, 4, b"abc")),
        (BadRange, lambda: claim.window(0, 0, 0x1001)), (BadRange, lambda: claim.conf_read(2)),
        (ValueTooWide, lambda: claim.conf_write(0, 1 << 32)),
        (BadRange, lambda: host.conf_read(PLACE._replace(bus=256), 0)),
    ]  # fmt: skip
    for kind, mistake in mistakes:
        with pytest.raises(kind):
            mistake()
    assert fake.seen[seen:] == []


def test_many_accesses_go_in_pieces(host: Pci4Host, fake: Fake) -> None:
    window = host.claim(PLACE, "one").window(0, 0, 0x1000)
    pieces: list[tuple[int, int, bytes]] = []

    def note(m: Any) -> Any:
        pieces.append((m.position, m.count, bytes(m.data[: m.count * m.width])))
        return m

    fake.answers[Op.WINDOW_WRITE] = note
    data = bytes(i % 251 for i in range(4096))
    window.write_many(0, 4, 4, data)
    assert [(at, count) for at, count, _ in pieces] == [(0, 896), (3584, 128)]
    assert b"".join(piece for _, _, piece in pieces) == data
    window.write_many(0, 4, 0, bytes(8192))
    assert {at for at, _, _ in pieces[2:]} == {0}
    fake.answers[Op.WINDOW_READ] = lambda m: abi.WindowData(
        count=m.count, data=bytes([m.position >> 8]) * abi.DATA
    )
    assert window.read_many(0, 1, 4000, 1) == bytes(3584) + bytes([14]) * 416
    assert window.read_many(0, 4, 0, 4) == b""


def test_mapped_windows(host: Pci4Host, fake: Fake) -> None:
    def mapped(m: Any) -> Any:
        fake._fds = [fake.ram]
        m.window, m.map_start, m.map_end, m.fd_offset = 9, 0, m.size, 0x2000
        return m

    fake.answers[Op.WINDOW_MAP] = mapped
    before = descriptors()
    claim = host.claim(PLACE, "one")
    for end in (lambda w: w.unmap(), lambda _: claim.release()):
        window = claim.window(0, 0x10, 0x100)
        assert window.mapping
        assert (window.mapping.start, window.mapping.end) == (0, 0x100)
        assert window.mapping.fd_offset == 0x2000
        assert not os.get_inheritable(window.mapping.fd)
        end(window)
        assert window.mapping.end == 0
    assert descriptors() == before


def test_threads_get_their_own_answers(host: Pci4Host, fake: Fake) -> None:
    window = host.claim(PLACE, "one").window(0, 0, 0x1000)
    wrong: list[tuple[int, int]] = []

    def work(at: int) -> None:
        for value in range(200):
            window.write(at, 4, at << 16 | value)
            if (got := window.read(at, 4)) != at << 16 | value:
                wrong.append((at, got))

    threads = [threading.Thread(target=work, args=(4 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


# ---- interrupts -------------------------------------------------------------------------------


def test_events_come_from_a_descriptor(host: Pci4Host, fake: Fake) -> None:
    claim = host.claim(PLACE, "one")
    first, second = claim.intr_alloc(IntrType.MSIX, [2, 0])
    assert (first.name, second.name, first.index) == ("msix3 vec 2", "msix3 vec 0", 2)
    first.establish()
    assert first.read() == []
    assert not first.ready()
    fake.events[0].send(RECORD.pack(1, 1, 2, 0, 0, 0, 0, 0))
    fake.events[0].send(RECORD.pack(2, 5, 2, 2, 8, 9, 0, 0) + RECORD.pack(3, 1, 2, 99, 1, 2, 3, 4))
    assert select.select([first], [], [], LIMIT_S)[0] == [first]
    assert first.ready()
    assert first.arm()
    assert first.read() == [
        Event(1, 2, 1), Event(2, 2, 5, (8, 9)), Event(3, 2, 1, (1, 2, 3, 4)),
    ]  # fmt: skip
    assert not second.ready()
    fake.events[0].send(RECORD.pack(4, 1, 2, 0, 0, 0, 0, 0))
    first.disestablish()
    first.disestablish()
    assert first.read() == []
    claim.intr_release()
    for use in (first.fileno, first.read, first.unmask, first.pending, first.establish):
        with pytest.raises(NotAllocated):
            use()


def test_interrupts_that_there_are_not(host: Pci4Host, fake: Fake) -> None:
    claim = host.claim(PLACE, "one")
    for indices in ([-1], [1 << 40], list(range(200))):
        with pytest.raises(NoVectors):
            claim.intr_alloc(IntrType.MSIX, indices)
    (intr,) = claim.intr_alloc(IntrType.MSIX, [0])
    with pytest.raises(NotAllocated, match="not established"):
        intr.unmask()


def test_a_guard_that_ends_or_sends_garbage_as_events(host: Pci4Host, fake: Fake) -> None:
    claim = host.claim(PLACE, "one")
    first, second = claim.intr_alloc(IntrType.MSIX, [0, 1])
    first.establish()
    second.establish()
    fake.events[0].send(b"garbage")
    fake.events[2].close()
    fake.events[3].close()
    for intr in (first, second):
        assert intr.ready()
        with pytest.raises(MachineDied):
            intr.read()


def test_a_guard_that_sends_events_without_end(host: Pci4Host, fake: Fake) -> None:
    (intr,) = host.claim(PLACE, "one").intr_alloc(IntrType.MSIX, [0])
    intr.establish()
    stop = threading.Event()

    def flood() -> None:
        record = RECORD.pack(1, 1, 0, 0, 0, 0, 0, 0)
        while not stop.is_set():
            with contextlib.suppress(BlockingIOError):
                fake.events[0].send(record, socket.MSG_DONTWAIT)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert all(len(intr.read()) <= 1024 for _ in range(20))
    finally:
        stop.set()
        thread.join()


# ---- DMA --------------------------------------------------------------------------------------


def test_dma_memory_is_the_guards(host: Pci4Host, fake: Fake) -> None:
    before = descriptors()
    claim = host.claim(PLACE, "one")
    memory = claim.dma_alloc(MemorySpec(8192, name="ring"))
    view = memoryview(memory.view)
    view[0:4] = b"abcd"
    assert os.pread(fake.ram, 4, 0x1000) == b"abcd"
    loaded = claim.dma_map(MapSpec(8192, 8, 8192))
    pieces = [Piece(memory, 0, 4096), Piece(memory, 4096, 4096)]
    assert loaded.load(pieces, Direction.BOTH) == [(0x10000, 8192)]  # they were one
    memory.free()
    assert not any(view)
    with pytest.raises(DeadDma):
        loaded.load(pieces, Direction.BOTH)
    with pytest.raises(DeadDma):
        memory.free()
    loaded.destroy()
    with pytest.raises(DeadDma):
        loaded.unload()
    other = claim.dma_alloc(MemorySpec(4096))
    other_view = memoryview(other.view)
    other_view[0] = 1
    claim.release()
    assert not any(other_view)
    with pytest.raises(DeadDma):
        claim.dma_alloc(MemorySpec(4096))
    assert descriptors() == before


@pytest.mark.parametrize("spec", [
    MemorySpec(0), MemorySpec(4096, alignment=3), MemorySpec(4096, alignment=1 << 70),
    MemorySpec(1 << 65), MemorySpec(4096, high=1 << 70), MemorySpec(4096, low=-1),
])  # fmt: skip
def test_memory_that_there_cannot_be(host: Pci4Host, spec: MemorySpec) -> None:
    with pytest.raises(BadDma):
        host.claim(PLACE, "one").dma_alloc(spec)


def test_long_names_and_anothers_memory(host: Pci4Host, fake: Fake) -> None:
    first, second = host.claim(PLACE, "ä" * 40), host.claim(PLACE, "nul\0")
    memory = first.dma_alloc(MemorySpec(4096, name="x" * 100))
    assert memory.spec.name == "x" * 100
    with pytest.raises(BadDma, match="not this function's"):
        second.dma_map(MapSpec(1, 1, 1)).load([Piece(memory, 0, 1)], Direction.BOTH)
    with pytest.raises(BadDma):
        first.dma_map(MapSpec(1, 1, 1)).load([Piece(memory, -1, 1)], Direction.BOTH)
