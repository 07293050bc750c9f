"""The drivers on QEMU: edu's accesses are those on the model, com's bytes reach the other end."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci import kern
from rumpci.autoconf import Autoconf
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_STATUS
from rumpci.errors import BadRange
from rumpci.guard import Guard
from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.machines.model.edu import Edu as EduModel
from rumpci.machines.model.machine import ModelMachine
from tests.waiting import LIMIT_S

Access = tuple[str, int, int, int]
"""read or write, offset, width, value."""

TRACED = re.compile(
    r"memory_region_ops_(read|write) .* addr (0x\w+) value (0x\w+) size (\d+) name 'edu-mmio'"
)


def collapsed(accesses: list[Access]) -> list[Access]:
    """Polls of EDU_STATUS that follow each other count once, with the last value.

    How often it is read before the factorial is ready is a matter of time, not of the driver.
    """
    polls = ("read", EDU_STATUS.offset)
    groups = itertools.groupby(enumerate(accesses), lambda a: -1 if a[1][:2] == polls else a[0])
    return [list(group)[-1][1] for _, group in groups]


def exercise(autoconf: Autoconf) -> None:
    (edu,) = autoconf.attach([Edu])
    assert isinstance(edu, Edu)
    assert [edu.factorial(n) for n in (0, 1, 5, 13, 40)] == [1, 1, 120, 1932053504, 0]
    assert edu.alive(0)
    edu.dma_write(3, b"abc")
    assert edu.dma_read(4, 2) == b"bc"


def model_accesses() -> list[Access]:
    accesses: list[Access] = []

    def trace(verb: str, _at: Address, _bar: int, offset: int, width: int, value: int) -> None:
        accesses.append((verb, offset, width, value))

    guard = Guard(ModelMachine([EduModel()], trace=trace))
    with contextlib.closing(guard), Autoconf(guard) as autoconf:
        exercise(autoconf)
    return accesses


def qemu_accesses(log: Path) -> list[Access]:
    with contextlib.closing(open_host(f"qemu:edu?trace={log}")) as host:
        with Autoconf(host) as autoconf:
            exercise(autoconf)
        base = next(f.bars[0].base for f in host.functions() if f.id == 0x11E8_1234)
    return [
        (verb, int(at, 16) - base, int(size), int(value, 16))
        for verb, at, value, size in TRACED.findall(log.read_text())
    ]


def test_edu_makes_the_same_accesses_on_model_and_qemu(tmp_path: Path) -> None:
    on_model = collapsed(model_accesses())
    assert len(on_model) > 15
    assert collapsed(qemu_accesses(tmp_path / "trace")) == on_model


def test_only_polls_that_follow_each_other_are_collapsed() -> None:
    poll, other = ("read", 0x20, 4, 1), ("read", 8, 4, 1)
    done = ("read", 0x20, 4, 0)
    assert collapsed([poll, poll, done, other, other, poll]) == [done, other, other, poll]


# ---- com -----------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[Com, socket.socket]]:
    """A UART and the other end of its line."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory()) + "/line"  # short: 108 bytes
        host = stack.enter_context(contextlib.closing(open_host(f"qemu:pci-serial,text={path}")))
        far = stack.enter_context(socket.socket(socket.AF_UNIX))
        far.settimeout(LIMIT_S)
        far.connect(path)
        (com,) = stack.enter_context(Autoconf(host)).attach([Com])
        assert isinstance(com, Com)
        yield com, far


def receive(far: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += far.recv(count - len(data))
    return data


def take(com: Com, count: int) -> bytes:
    """Read until `count` bytes came; the test's own time limit ends a wait for ever."""
    data = b""
    while len(data) < count:
        data += com.read(count - len(data))
    return data


def test_com_finds_its_fifo(line: tuple[Com, socket.socket]) -> None:
    assert line[0].fifo == 16
    assert line[0].read() == b""


@pytest.mark.parametrize("data", [b"x", b"hello, world\r\n", bytes(range(256))])
def test_com_writes(line: tuple[Com, socket.socket], data: bytes) -> None:
    com, far = line
    com.write(data)
    assert receive(far, len(data)) == data


@pytest.mark.parametrize("data", [b"x", b"hello, world\r\n", bytes(range(256))])
def test_com_reads(line: tuple[Com, socket.socket], data: bytes) -> None:
    com, far = line
    far.sendall(data)
    assert take(com, len(data)) == data


def test_com_reads_until_a_prompt(line: tuple[Com, socket.socket]) -> None:
    com, far = line
    far.sendall(b"login: more")
    assert com.read_until(b": ", 20_000_000) == b"login: "
    while len(com.received) < 4:
        kern.delay(0)
    assert com.read_until(b"!", 2_000_000) == b"more"


def test_com_carries_10_kb_both_ways(line: tuple[Com, socket.socket]) -> None:
    com, far = line
    data = bytes(range(256)) * 40
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(receive(far, len(data))))
    reader.start()
    com.write(data)
    reader.join()
    assert got == [data]
    sender = threading.Thread(target=far.sendall, args=(data[::-1],))
    sender.start()
    assert take(com, len(data)) == data[::-1]
    sender.join()


@pytest.mark.parametrize("rate", [0, -1, 1, 115_201, 10**9])
def test_com_speeds_without_a_divisor(line: tuple[Com, socket.socket], rate: int) -> None:
    with pytest.raises(BadRange):
        line[0].set_speed(rate)
