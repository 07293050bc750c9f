"""The server, asked by a client made of nothing but structures: each operation, mostly refused."""

from __future__ import annotations

import errno
import mmap
import os
import select
from pathlib import Path
from typing import Any

import pytest

from rumpci.guard import Guard
from rumpci.pci4 import abi
from rumpci.pci4.abi import Control, Op
from rumpci.pci4.server import Server
from tests.unit.pci4raw import Raw, Refused
from tests.unit.pci4served import (
    ANY,
    EDU,
    INTX,
    MSIX,
    RAM,
    SIGNALLER,
    allocate,
    enable,
    event,
    fire,
    refused,
)
from tests.unit.signallers import VECTORS

# ---- connecting ------------------------------------------------------------------------


def test_version_is_first_and_must_be_ours(server: Server, path: Path) -> None:
    with Raw(path, greet=False) as raw:
        assert refused(errno.EINVAL, raw.ask, Op.LIST) == "BadRequest"
        assert refused(errno.EOPNOTSUPP, raw.ask, Op.VERSION, version=2) == "NotSupported"
        answer = raw.ask(Op.VERSION, version=1)
        assert (answer.version, answer.url) == (1, server.guard.url)
        assert answer.features == server.guard.features.value


def test_an_unknown_operation_is_refused_by_its_number(raw: Raw) -> None:
    for op in (0, 55, 99, 0xFFFF_FFFF):
        raw.send(op, bytes(16))
        header, body = raw.receive()
        assert header.errno == errno.EOPNOTSUPP
        assert f"operation {op}" in abi.Error.unpack(body).tried


@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name)
def test_a_structure_of_another_length_is_refused(raw: Raw, op: Op) -> None:
    size = abi.STRUCTURES[op].LAYOUT.size
    for length in {0, 1, size - 1, size + 8}:
        raw.send(op, bytes(length))
        assert refused(errno.EINVAL, raw.answer, op) == "BadRequest"
    raw.ask(Op.LIST)


@pytest.mark.parametrize("data", [b"x", bytes(15), b"\xff" * 64, bytes(16), bytes(5000)], ids=len)
def test_what_is_no_request_closes_the_connection(raw: Raw, other: Raw, data: bytes) -> None:
    raw.sock.send(data)
    assert raw.closed()
    other.ask(Op.LIST)


def test_an_answer_is_no_request(raw: Raw) -> None:
    raw.send(Op.LIST, abi.List().pack(), errno=1)
    assert raw.closed()


# ---- host --------------------------------------------------------------------------------


def test_list(raw: Raw) -> None:
    found = raw.functions()
    assert [f.id for f in found] == [0xFFFD_1234, EDU, RAM, EDU, SIGNALLER]
    assert found[1].bar_size == (1 << 20, 0, 0, 0, 0, 0)
    assert found[2].bar_flags[0] == 0b110
    assert {f.secondary for f in found} == {-1}
    raw.claim(EDU, "somebody")
    assert raw.functions()[1].claimed_by == "somebody"
    refused(errno.EINVAL, raw.ask, Op.LIST, index=len(found))


def test_configuration_space(raw: Raw, other: Raw) -> None:
    claim = raw.claim(EDU)
    assert raw.ask(Op.CONF_READ, claim=claim, reg=0).value == EDU
    assert other.ask(Op.CONF_READ, address=1 << 3, reg=0).value == EDU
    assert other.ask(Op.CONF_READ, address=0x1234_0000, reg=0).value == 0xFFFF_FFFF
    before = raw.ask(Op.CONF_READ, claim=claim, reg=0x10).value
    raw.ask(Op.CONF_WRITE, claim=claim, reg=0x10, value=0xDEAD_0000)
    assert raw.ask(Op.CONF_READ, claim=claim, reg=0x10).value == before
    for reg in (1, 4096, 0xFFFF_FFFC):
        refused(errno.EINVAL, raw.ask, Op.CONF_READ, claim=claim, reg=reg)
        refused(errno.EINVAL, raw.ask, Op.CONF_WRITE, claim=claim, reg=reg)
    refused(errno.EINVAL, raw.ask, Op.CONF_READ, claim=77, reg=0)
    refused(errno.EINVAL, other.ask, Op.CONF_WRITE, claim=claim, reg=4)


def test_claim_and_release(raw: Raw, other: Raw) -> None:
    claim = raw.claim(EDU, "first")
    assert refused(errno.EBUSY, other.ask, Op.CLAIM, address=1 << 3, who="x") == "DeviceBusy"
    refused(errno.EBUSY, raw.ask, Op.CLAIM, address=0, who="x")
    refused(errno.ENXIO, raw.ask, Op.CLAIM, address=0xFFFF_FFFF, who="x")
    refused(errno.EINVAL, other.ask, Op.RELEASE, handle=claim)
    window = raw.window(claim)
    raw.ask(Op.RELEASE, handle=claim)
    refused(errno.EINVAL, raw.ask, Op.RELEASE, handle=claim)
    refused(errno.EINVAL, raw.read, window, 0)
    assert other.claim(EDU) == 1


@pytest.mark.parametrize("who", ["", "two\nlines", "\x1b[31m", "a\0b"])
def test_a_name_is_a_text_that_can_be_shown(raw: Raw, who: str) -> None:
    refused(errno.EINVAL, raw.ask, Op.CLAIM, address=1 << 3, who=who)


def test_a_name_that_is_no_text(raw: Raw) -> None:
    raw.send(Op.CLAIM, abi.Claim(address=8).pack()[:8] + b"\xff" * abi.NAME)
    refused(errno.EINVAL, raw.answer, Op.CLAIM)


# ---- windows -----------------------------------------------------------------------------


def test_single_accesses(raw: Raw) -> None:
    window = raw.window(raw.claim(EDU))
    assert raw.read(window, 0) == 0x0100_00ED
    raw.write(window, 4, 0x1234_5678)
    assert raw.read(window, 4) == 0xEDCB_A987
    assert refused(errno.EFAULT, raw.read, window, 0x1000) == "OutOfWindow"
    assert refused(errno.EINVAL, raw.read, window, 2) == "BadAccess"
    assert refused(errno.ERANGE, raw.write, window, 4, 1 << 32) == "ValueTooWide"
    for width in (0, 3, 15, 16, 1 << 31):
        refused(errno.EINVAL, raw.read, window, 0, width)
    refused(errno.EFAULT, raw.read, window, ANY & ~3)
    refused(errno.EINVAL, raw.read, window + 1, 0)


def test_windows_that_there_are_not(raw: Raw, other: Raw) -> None:
    claim = raw.claim(EDU)
    refused(errno.ENXIO, raw.window, claim, bar=1)
    refused(errno.ENXIO, raw.window, claim, bar=0xFFFF_FFFF)
    refused(errno.EINVAL, raw.window, claim, size=0)
    refused(errno.EINVAL, raw.window, claim, offset=ANY, size=ANY)
    refused(errno.EINVAL, raw.window, claim, flags=2)
    refused(errno.EINVAL, other.window, claim)
    msix = raw.claim(SIGNALLER)
    assert refused(errno.EPERM, raw.window, msix, bar=1, size=16) == "ProtectedRange"


def test_a_read_only_window(raw: Raw) -> None:
    window = raw.window(raw.claim(EDU), flags=0)
    assert refused(errno.EACCES, raw.write, window, 4, 1) == "ReadOnlyWindow"


def test_unmap_present_barrier(raw: Raw, other: Raw) -> None:
    window = raw.window(raw.claim(EDU))
    assert raw.ask(Op.WINDOW_PRESENT, handle=window).value == 1
    raw.ask(Op.WINDOW_BARRIER, handle=window)
    for op in (Op.WINDOW_PRESENT, Op.WINDOW_BARRIER, Op.WINDOW_UNMAP):
        refused(errno.EINVAL, other.ask, op, handle=window)
    raw.ask(Op.WINDOW_UNMAP, handle=window)
    for op in (Op.WINDOW_PRESENT, Op.WINDOW_BARRIER, Op.WINDOW_UNMAP):
        refused(errno.EINVAL, raw.ask, op, handle=window)


def test_many_accesses_that_are_alike(raw: Raw) -> None:
    window = raw.window(raw.claim(RAM), flags=1)
    data = bytes(range(256)) * 14
    named: dict[str, Any] = {"window": window, "width": 4, "step": 4}
    raw.ask(Op.WINDOW_WRITE, count=896, data=data, position=16, **named)
    assert bytes(raw.ask(Op.WINDOW_READ, count=896, position=16, **named).data) == data
    once = raw.ask(Op.WINDOW_READ, count=2, position=16, window=window, width=4, step=0)
    assert bytes(once.data[:9]) == data[:4] * 2 + b"\0"
    for op in (Op.WINDOW_READ, Op.WINDOW_WRITE):
        refused(errno.EINVAL, raw.ask, op, window=window, width=4, count=897, step=4)
        refused(errno.EINVAL, raw.ask, op, window=window, width=0, count=ANY >> 32)
        refused(errno.EINVAL, raw.ask, op, window=window, width=1 << 31, count=1 << 31)
        refused(errno.EINVAL, raw.ask, op, window=window, width=4, count=2, step=8)
        refused(errno.EFAULT, raw.ask, op, window=window, width=4, count=2, step=4, position=0xFFC)
        refused(errno.EINVAL, raw.ask, op, window=window + 1, width=4, count=1)


def test_a_batch_stops_at_the_first_that_is_refused(raw: Raw) -> None:
    window = raw.window(raw.claim(EDU))
    batch: dict[str, Any] = {
        "window": [window] * 3, "how": [20, 4, 4], "position": [4, 4, 0], "value": [1, 0, 0],
    }  # fmt: skip
    answer = raw.ask(Op.WINDOW_BATCH, count=3, **batch)
    assert answer.done == 3
    assert answer.value[:3] == (1, 0xFFFF_FFFE, 0x0100_00ED)
    with pytest.raises(Refused) as caught:
        raw.ask(Op.WINDOW_BATCH, count=3, **batch | {"position": [4, 2, 4], "value": [9, 0, 0]})
    assert (caught.value.name, caught.value.error.done) == ("BadAccess", 1)
    assert raw.read(window, 4) == 0xFFFF_FFFF - 9
    refused(errno.EINVAL, raw.ask, Op.WINDOW_BATCH, count=abi.ACCESSES + 1)
    refused(errno.EINVAL, raw.ask, Op.WINDOW_BATCH, count=1, window=[9], how=[4])
    refused(errno.EINVAL, raw.ask, Op.WINDOW_BATCH, count=1, window=[window], how=[32])
    assert raw.ask(Op.WINDOW_BATCH, count=0).done == 0


# ---- the memory of a BAR -------------------------------------------------------------------


def map_ram(raw: Raw, claim: int, **more: int) -> Any:
    wanted = {"claim": claim, "bar": 0, "size": 65536, "flags": 1} | more
    return raw.ask(Op.WINDOW_MAP, abi.WindowMap(**wanted))


def test_memory_is_passed_and_taken_back(raw: Raw, other: Raw) -> None:
    claim = raw.claim(RAM)
    answer = map_ram(raw, claim)
    assert (answer.map_start, answer.map_end, answer.fd_offset) == (0, 65536, 0)
    (fd,) = raw.fds
    with mmap.mmap(fd, 65536) as memory:
        memory[0:4] = b"mine"
        assert raw.read(answer.window, 0) == int.from_bytes(b"mine", "little")
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        raw.ask(Op.RELEASE, handle=claim)
        window = other.window(other.claim(RAM))
        assert other.read(window, 0) == int.from_bytes(b"mine", "little")
        memory[0:4] = b"lost"  # it is scrap by now
        assert other.read(window, 0) == int.from_bytes(b"mine", "little")


@pytest.mark.parametrize("more", [{"flags": 0}, {"size": 64}, {"offset": 4, "size": 4096}])
def test_memory_that_cannot_be_kept_apart_is_not_passed(raw: Raw, more: dict[str, int]) -> None:
    answer = map_ram(raw, raw.claim(RAM), **more)
    assert (answer.map_start, answer.map_end, raw.fds) == (0, 0, [])
    raw.read(answer.window, 0)


# ---- interrupts ----------------------------------------------------------------------------


def test_interrupts_of_a_function(raw: Raw, guard: Guard) -> None:
    claim = raw.claim(SIGNALLER)
    enable(raw, claim)
    counts = [raw.ask(Op.INTR_COUNT, claim=claim, type=t).count for t in range(3)]
    assert counts == [1, 4, VECTORS]
    answer = allocate(raw, claim, count=3)
    assert answer.unit.startswith("msix")
    assert len(raw.fds) == 3
    for handle in answer.intr[:3]:
        raw.ask(Op.INTR_ESTABLISH, intr=handle)
    fire(guard, 2)
    got = event(raw.fds[2])
    assert (got.sequence, got.count, got.vector) == (1, 1, 2)
    assert not select.select(raw.fds, [], [], 0)[0]
    raw.ask(Op.INTR_RELEASE, handle=claim)
    refused(errno.EINVAL, raw.ask, Op.INTR_ESTABLISH, intr=answer.intr[0])
    assert not os.read(raw.fds[0], 4096)
    assert allocate(raw, claim, INTX).unit


def test_a_line_is_masked_until_it_is_unmasked(raw: Raw, guard: Guard) -> None:
    claim = raw.claim(SIGNALLER)
    enable(raw, claim)
    intr = allocate(raw, claim, INTX).intr[0]
    window = raw.window(claim, size=64)
    raw.ask(Op.INTR_ESTABLISH, intr=intr)
    for sequence in (1, 2):
        fire(guard)
        assert event(raw.fds[0]).sequence == sequence
        assert raw.ask(Op.INTR_CONTROL, intr=intr, what=Control.PENDING).value == 1
        raw.write(window, 4, 1)
        raw.ask(Op.INTR_CONTROL, intr=intr, what=Control.UNMASK)
    raw.ask(Op.INTR_CONTROL, intr=intr, what=Control.MASK)
    raw.ask(Op.INTR_CONTROL, intr=intr, what=Control.DISESTABLISH)
    refused(errno.EINVAL, raw.ask, Op.INTR_CONTROL, intr=intr, what=Control.UNMASK)


def test_interrupts_that_there_are_not(raw: Raw, other: Raw) -> None:
    claim = raw.claim(SIGNALLER)
    refused(errno.EINVAL, raw.ask, Op.INTR_COUNT, claim=claim, type=3)
    refused(errno.EINVAL, raw.ask, Op.INTR_COUNT, claim=9)
    refused(errno.ENOSPC, raw.ask, Op.INTR_ALLOC, claim=claim, count=0)
    refused(errno.EINVAL, raw.ask, Op.INTR_ALLOC, claim=claim, count=abi.VECTORS + 1)
    refused(errno.ENOSPC, allocate, raw, claim, MSIX, VECTORS + 1)
    refused(errno.EINVAL, allocate, other, claim)
    intr = allocate(raw, claim).intr[0]
    refused(errno.EBUSY, allocate, raw, claim)
    assert refused(errno.ENXIO, raw.ask, Op.INTR_ESTABLISH, intr=intr) == "NotEnabled"
    for ask in (raw, other):
        for op in (Op.INTR_ESTABLISH, Op.INTR_CONTROL):
            refused(errno.EINVAL, ask.ask, op, intr=intr + 1)
    refused(errno.EINVAL, raw.ask, Op.INTR_ESTABLISH, intr=intr, length=abi.SHIM + 1)
    refused(errno.EINVAL, raw.ask, Op.INTR_CONTROL, intr=intr, what=4)
    refused(errno.EINVAL, other.ask, Op.INTR_RELEASE, handle=claim)


def test_a_shim_is_checked(raw: Raw) -> None:
    claim = raw.claim(SIGNALLER)
    intr = allocate(raw, claim, INTX).intr[0]
    got = refused(errno.EINVAL, raw.ask, Op.INTR_ESTABLISH, intr=intr, length=8, shim=bytes(8))
    assert got == "BadShim"


def test_events_that_are_not_read_are_merged(raw: Raw, guard: Guard) -> None:
    claim = raw.claim(SIGNALLER)
    enable(raw, claim)
    raw.ask(Op.INTR_ESTABLISH, intr=allocate(raw, claim).intr[0])
    for _ in range(1500):
        fire(guard)
        raw.ask(Op.LIST)
    total = 0
    while total < 1500:
        total += event(raw.fds[0]).count
    assert total == 1500


def test_a_client_that_closes_its_events_goes_on(raw: Raw, guard: Guard) -> None:
    claim = raw.claim(SIGNALLER)
    enable(raw, claim)
    raw.ask(Op.INTR_ESTABLISH, intr=allocate(raw, claim).intr[0])
    os.close(raw.fds.pop())
    for _ in range(20):
        fire(guard)
        raw.ask(Op.LIST)


def test_nothing_can_be_left_in_the_servers_end_of_the_events(raw: Raw) -> None:
    allocate(raw, raw.claim(SIGNALLER))
    with pytest.raises(BrokenPipeError):
        os.write(raw.fds[0], b"x")
