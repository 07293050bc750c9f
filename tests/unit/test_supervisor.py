"""The parts of the supervisor: the recorder, names of registers, what a child's words become."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time

import pytest

from rumpci.cpu import own_cpu
from rumpci.drivers.com import Com
from rumpci.drivers.edu import Edu
from rumpci.drivers.nvme import Nvme
from rumpci.guard import Guard
from rumpci.guard.quarantine import Outcome
from rumpci.guard.recorder import Kind, Note, Recorder, source_of
from rumpci.host import Address
from rumpci.machines.model.machine import ModelMachine
from rumpci.pci4.server import Server
from rumpci.signals import waking
from rumpci.supervisor import control, flight, registers
from rumpci.supervisor.alarms import Alarms
from rumpci.supervisor.talk import Talk
from rumpci.supervisor.units import UnitBook
from tests.waiting import until

AT = Address(1, 2, 31, 7)


def test_the_recorder_keeps_the_last_and_counts_all() -> None:
    recorder = Recorder(4)
    for number in range(10):
        recorder.note(Kind.READ, source_of(AT), 2, number, 4, number * 3)
    found = recorder.last(64)
    assert recorder.total == 10
    assert [note.where for note in found] == [6, 7, 8, 9]
    assert found[-1][1:] == (Kind.READ, AT, 2, 9, 4, 27)
    assert [note.where for note in recorder.last(2)] == [8, 9]
    assert [a.when for a in found] == sorted(a.when for a in found)
    assert Recorder(4).last(64) == []


def test_a_quarantine_is_found_however_many_there_were_before() -> None:
    """The record is bounded: a place in it is somebody else's later."""
    recorder, outcome = Recorder(16), Outcome("", True, 0.0)
    for _ in range(100):
        recorder.quarantined(AT, "before", outcome)
    began = time.monotonic_ns()
    until(lambda: time.monotonic_ns() > began)
    assert recorder.quarantined_since(began, {AT}) == []
    recorder.quarantined(AT._replace(device=9), "another", outcome)
    recorder.quarantined(AT, "now", outcome)
    assert [one.who for one in recorder.quarantined_since(began, {AT})] == ["now"]


def test_the_recorder_holds_whatever_fits_a_register() -> None:
    recorder = Recorder(1)
    recorder.note(Kind.WRITE, 0, 0, (1 << 64) - 1, 8, (1 << 64) - 1)
    (note,) = recorder.last(1)
    assert (note.where, note.value) == ((1 << 64) - 1, (1 << 64) - 1)


def test_recording_runs_no_python() -> None:
    """It is on the way of every access that is a call."""
    note, ran = Recorder().note, list[str]()
    sys.setprofile(lambda frame, event, _arg: ran.append(f"{event} in {frame.f_code.co_name}"))
    try:
        note(1, 8, 0, 0x20, 4, 5)
    finally:
        sys.setprofile(None)
    assert [text for text in ran if not text.startswith("c_")] == []


def test_what_drivers_declare_is_found() -> None:
    edu, com, nvme = map(registers.declared, (Edu, Com, Nvme))
    assert registers.name_of(edu, 0x20, 4, "w") == "EDU_STATUS"
    assert registers.name_of(edu, 0x20, 8, "w") == ""
    assert "COM_LSR" in registers.name_of(com, 5, 1, "r")
    assert "NVME_CC" in registers.name_of(nvme, 0x14, 4, "w")


def test_an_element_of_an_array_has_its_index() -> None:
    rows = [registers.Row("DOORBELL", 0x1000, 4, 8, 8, "w")]
    assert registers.name_of(rows, 0x1010, 4, "w") == "DOORBELL[2]"
    assert not any(registers.name_of(rows, at, 4, "w") for at in (0xFF8, 0x1004, 0x1040))
    assert registers.name_of(rows, 0x1010, 4, "r") == ""


@pytest.mark.parametrize(
    "told", [None, 3, [3], [[]], [["X", 0, 4, 1, 0, "r"]], [["\x1b[2J", 0, 4, 1, 4, "r"]],
             [["X", "0", 4, 1, 4, "r"]], [[True] * 6]],
)  # fmt: skip
def test_what_a_child_says_of_registers_is_checked(told: object) -> None:
    assert registers.rows_of(told) == []


def test_what_a_child_says_cannot_move_the_cursor() -> None:
    assert control.text("a\x1b[2Jb\nc\x00") == "a?[2Jb c?"
    assert len(control.text("x" * 10_000)) == 2000


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"[" * 5000, b"1", b"x" * control.LIMIT])
def test_what_is_no_message_is_none(data: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(data)
        assert control.receive(ours) is None
        control.send(theirs, kind="done")
        assert control.receive(ours) == {"kind": "done"}
        theirs.close()
        assert control.receive(ours) is None


def test_a_descriptor_goes_with_a_message() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        control.send_fd(ours, ours.fileno(), kind="run")
        control.send(ours, kind="detach")
        message, fd = control.receive_fd(theirs)
        assert message == {"kind": "run"}
        assert fd is not None
        with socket.socket(fileno=fd) as same:
            assert os.fstat(same.fileno()).st_ino == os.fstat(ours.fileno()).st_ino
        assert control.receive_fd(theirs) == ({"kind": "detach"}, None)


def test_answers_and_orders_are_kept_apart() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        talk = Talk(theirs)
        for message in ({"kind": "detach"}, {"kind": "unit", "number": 3}):
            control.send(ours, **message)
        assert talk.unit("ld") == 3
        assert control.receive(ours) == {"kind": "unit", "name": "ld"}
        with own_cpu() as cpu:
            assert talk.order(cpu)["kind"] == "detach"
        ours.close()
        with pytest.raises(SystemExit):
            talk.order()


def test_units_are_the_lowest_that_are_free() -> None:
    book, one, two = UnitBook(), object(), object()
    assert [book.take("ld", owner) for owner in (one, two, one)] == [0, 1, 2]
    assert book.take("edu", two) == 0
    book.give(one)
    assert [book.take("ld", two), book.take("ld", two), book.take("ld", two)] == [0, 2, 3]
    assert book.take("edu", one) == 1


def test_alarms_come_in_their_order_and_not_when_they_are_off() -> None:
    came = list[str]()
    with contextlib.closing(Guard(ModelMachine([]))) as guard, Server(guard) as server:
        alarms = Alarms(server)
        with waking(server), alarms.heeded():
            alarms.after(0.02, lambda: came.append("second"))
            alarms.after(0.01, lambda: came.append("first"))
            alarms.after(0.0, lambda: came.append("never")).live = False
            often = alarms.every(0.001, lambda: came.append("often"))

            def stop() -> None:
                often.live = False
                alarms.after(0.05, server.stop)

            alarms.after(0.03, stop)
            server.run()
    assert [word for word in came if word != "often"] == ["first", "second"]
    assert "often" in came


LINES = {
    Kind.READ: (0, 0x20, 4, 0x80, "read       BAR0+0x20 EDU_STATUS = 0x00000080"),
    Kind.WRITE: (0, 0x21, 1, 8, "write      BAR0+0x21 = 0x08"),
    Kind.READ_MANY: (1, 0, 64, 0, "read       BAR1+0x0, 64 bytes, all at one place"),
    Kind.WRITE_MANY: (1, 8, 64, 4, "write      BAR1+0x8, 64 bytes, 4 apart"),
    Kind.CONF_WRITE: (0, 4, 4, 6, "conf write 0x4 = 0x00000006"),
    Kind.GUARD_WRITE: (0, 4, 4, 2, "conf write 0x4 = 0x00000002 by the guard"),
    Kind.INTERRUPT: (3, 0, 0, 2, "interrupt  3, 2 times"),
    Kind.LOAD: (2, 0x2000, 8192, 1, "load       8192 bytes at 0x2000, 2 segments read"),
    Kind.UNLOAD: (1, 0x2000, 4096, 0, "unload     4096 bytes at 0x2000"),
    Kind.FAULT: (0, 0x3000, 0, 1, "FAULT      write of bus address 0x3000"),
}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_line(kind: Kind) -> None:
    unit, where, size, value, text = LINES[kind]
    names = flight.Names()
    names.note_owners({AT: "edu0"})
    names.registers["edu"] = registers.declared(Edu)
    (line,) = flight.lines([Note(1_000_000, kind, AT, unit, where, size, value)], names, 3_000_000)
    assert line == f"      -2.000 ms  edu0     {AT}  {text}"
