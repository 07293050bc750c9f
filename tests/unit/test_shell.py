"""What can be typed at `rumpci shell`, on the model of edu and without a process."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import keyword
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.autoconf import claimed
from rumpci.drivers import edureg
from rumpci.errors import (
    BadAccess,
    BadRange,
    DeadDma,
    DeviceBusy,
    DriverError,
    NotAllocated,
    OutOfWindow,
    RumpciError,
    ValueTooWide,
    WaitTimeout,
)
from rumpci.host import Function
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs, PciChipset
from rumpci.regs import RO, W1C, Field, Register
from rumpci.shell import console
from rumpci.shell.complete import complete
from rumpci.shell.console import Prompt, history_file
from rumpci.shell.device import Device
from rumpci.shell.record import KEPT, Access, Typed
from rumpci.shell.registers import Registers, Table, load_table
from rumpci.shell.save import save
from rumpci.shell.text import dump
from rumpci.tools.common import find_function
from rumpci.tools.load import load_drivers, shipped_registers


class MIXED(Register, offset=0x60, count=3, stride=8):
    """An array, in registers of RAM."""

    DONE = Field(0, access=W1C)
    STUCK = Field(1, access=RO)
    LEVEL = Field(7, 4, values={2: "two"})


@contextlib.contextmanager
def held(url: str, *tables: Table) -> Iterator[Device]:
    with contextlib.closing(open_host(url)) as host:
        function = find_function(host, "00:01.0")
        with claimed(PciChipset(host), function, "test") as pa:
            yield Device(pa, function, tables)


@pytest.fixture
def edu() -> Iterator[Device]:
    with held("model:edu", load_table("edureg")) as device:
        yield device


@pytest.fixture
def ram() -> Iterator[Device]:
    with held("model:ram", Table("mixed", None, (MIXED,))) as device:
        yield device


def made(device: Device) -> list[tuple[bool, int, int]]:
    """The accesses so far: write, offset, value."""
    return [(a.write, a.offset, a.value) for each in device.record.inputs for a in each.accesses]


# ---- BARs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_bar_is_accessed_in_each_width(ram: Device, width: int) -> None:
    bar, value = ram.bars[0], 0x11 * width
    assert "not mapped" in repr(bar)
    getattr(bar, f"write{width}")(8, value)
    assert getattr(bar, f"read{width}")(8) == value
    assert made(ram) == [(True, 8, value), (False, 8, value)]
    assert "not mapped" not in repr(bar)
    assert bar.handle.size == bar.size


def test_a_bar_is_no_array(edu: Device) -> None:
    bar: Any = edu.bars[0]
    with pytest.raises(BadAccess, match=r"use bar0.read4"):
        bar[0:4]
    with pytest.raises(BadAccess, match=r"a register is no memory"):
        bar[0] = 1
    with pytest.raises(OutOfWindow):
        bar.read4(bar.size)
    assert made(edu) == []


# ---- registers by name -------------------------------------------------------------------------


def test_a_name_alone_touches_nothing(edu: Device) -> None:
    regs: Any = edu.regs
    ref = regs.EDU_STATUS
    assert "EDU_DMA_CMD" in dir(regs)
    assert set(dir(ref)) == {"COMPUTING", "IRQFACT", "modify", "read", "wait", "write"}
    assert "EDU_ID" in repr(regs)
    assert not hasattr(ref, "_repr_html_")
    assert not hasattr(regs, "_repr_html_")
    assert made(edu) == []


def test_each_time_it_is_asked_there_is_one_access(edu: Device) -> None:
    ref: Any = edu.regs.EDU_ID
    uses: list[Any] = [
        repr,
        str,
        int,
        bool,
        hex,
        lambda r: r & 1,
        lambda r: 1 | r,
        lambda r: r >> 4,
    ]
    uses += [lambda r: r == 0, lambda r: r != 0, lambda r: r < 1, lambda r: f"{r:#x}"]
    uses += [lambda r: r.MAGIC, lambda r: r.read(), lambda r: f"{r}"]
    for number, use in enumerate(uses, 1):
        use(ref)
        assert made(edu) == [(False, 0, edureg.EDU_ID_VALUE)] * number
    assert repr(ref) == "EDU_ID(0x010000ed<MAJOR=0x1,MINOR=0x0,MAGIC=0xed>)"
    assert (ref & 0xFF, ref.MAGIC, int(ref) == ref) == (0xED, 0xED, True)
    assert ref + edu.regs.EDU_LIVENESS == edureg.EDU_ID_VALUE


def test_assigning_writes_once(edu: Device) -> None:
    regs: Any = edu.regs
    regs.EDU_LIVENESS = 0x1234
    regs.EDU_STATUS.write(IRQFACT=1)
    assert made(edu) == [(True, 4, 0x1234), (True, 0x20, 0x80)]
    assert regs.EDU_LIVENESS == 0xFFFF_EDCB


def test_assigning_a_field_reads_and_writes(ram: Device) -> None:
    ref: Any = ram.regs.MIXED[1]
    ref.write(0x123)
    ref.LEVEL = 5
    assert made(ram)[1:] == [(False, 0x68, 0x123), (True, 0x68, 0x152)]
    ref.modify(DONE=1, LEVEL=2)
    assert made(ram)[-1] == (True, 0x68, 0x123)


def test_what_is_refused_makes_no_access(edu: Device, ram: Device) -> None:
    regs: Any = edu.regs
    mixed: Any = ram.regs.MIXED
    refused: list[tuple[str, type[Exception]]] = [
        ("regs.EDU_ID = 1", BadAccess), ("regs.EDU_ID.MAGIC = 1", BadAccess),
        ("regs.EDU_INTR_RAISE.read()", BadAccess), ("repr(regs.EDU_INTR_RAISE)", BadAccess),
        ("regs.EDU_STATUS.COMPUTING = 1", BadAccess), ("regs.EDU_STATUS.IRQFACT = 2", ValueTooWide),
        ("regs.EDU_STATUS = 1 << 32", ValueTooWide), ("regs.EDU_STATU", BadAccess),
        ("regs.EDU_STATU = 1", AttributeError), ("regs.EDU_STATUS.IRQ", BadAccess),
        ("regs.EDU_STATUS.IRQ = 1", AttributeError), ("mixed.read()", BadAccess),
        ("mixed[3]", BadAccess), ("mixed[0:2]", BadAccess), ("mixed.LEVEL = 1", BadAccess),
        ("mixed[0].STUCK = 1", BadAccess), ("regs.EDU_STATUS = 'a'", TypeError),
    ]  # fmt: skip
    for text, kind in refused:
        with pytest.raises(kind):
            exec(text, {"regs": regs, "mixed": mixed})  # noqa: S102
    assert made(edu) == made(ram) == []


def test_an_unknown_name_is_told_what_is_near(edu: Device) -> None:
    with pytest.raises(RumpciError, match="there are: EDU_STATUS"):
        _ = edu.regs.EDU_STATU


def test_an_array_by_index(ram: Device) -> None:
    mixed: Any = ram.regs.MIXED
    assert repr(mixed) == "<MIXED[0] to [2]>"
    mixed[2] = 0x20
    assert [int(each) for each in mixed] == [0, 0, 0x20]
    assert len(mixed) == 3
    assert mixed[2].LEVEL == 2
    assert ram.record.inputs[0].accesses[0].note == "MIXED[2] 0x00000020<LEVEL=two>"


def test_waiting(edu: Device) -> None:
    regs: Any = edu.regs
    assert regs.EDU_STATUS.wait(1000, COMPUTING=0) == 0
    with pytest.raises(WaitTimeout):
        regs.EDU_STATUS.wait(10, IRQFACT=1)


def test_which_registers_a_module_gives(tmp_path: Path, edu: Device) -> None:
    assert load_table("edureg@BAR2").bar == 2
    names = [each.__name__ for each in load_table("nvmereg").registers]
    assert "NVME_CAP" in names
    assert "NVME_IDENTIFY_10" not in names
    (tmp_path / "my@card.py").write_text(
        "from rumpci.regs import Register\nclass MINE(Register, offset=4): pass\n"
    )
    table = load_table(f"{tmp_path}/my@card.py@0")
    regs: Any = Registers([load_table("edureg"), table], edu.bars)
    assert regs.MINE == regs.EDU_LIVENESS
    with pytest.raises(BadRange, match="has no such BAR"):
        Registers([replace(table, bar=1)], edu.bars)


def test_the_registers_of_shipped_drivers_are_found() -> None:
    def found(url: str) -> str | None:
        with contextlib.closing(open_host(url)) as host:
            function = find_function(host, "00:01.0")
            return shipped_registers(PciAttachArgs.of(PciChipset(host), function))

    assert (found("model:edu"), found("model:ram")) == ("edureg", None)


# ---- configuration space, memory, interrupts ---------------------------------------------------


def test_configuration_space(edu: Device) -> None:
    conf = edu.conf
    assert conf.read(0) == edu.pa.pa_id
    conf.write(4, 2)
    assert conf.read(4) & 0xFFFF == 2
    assert "PCI_MSI_MASK64" in repr(conf)
    assert "capability: MSI" in conf.show()
    with pytest.raises(BadRange):
        conf.read(2)


def test_dma_memory(edu: Device) -> None:
    memory = edu.dma(5000, below=1 << 28)
    assert len(memory) == len(memory.view) == 5000
    assert memory.addr + 5000 < 1 << 28
    memory.view[:2] = b"hi"
    assert edu.hexdump(memory, 0, 16).endswith("|hi..............|")
    memory.free()
    for use in (memory.free, lambda: memory.addr, lambda: memory.view):
        with pytest.raises(DeadDma):
            use()
    assert "freed" in repr(memory)
    assert edu.pa.pa_pc.host.dma() == []


@pytest.mark.parametrize("arguments", [(0,), (-1,), (4096, 0), (1 << 50,)])
def test_dma_memory_that_cannot_be_had_leaves_nothing(
    edu: Device, arguments: tuple[int, ...]
) -> None:
    with pytest.raises(RumpciError):
        edu.dma(*arguments)
    assert edu.pa.pa_pc.host.dma() == []
    assert edu.record.inputs == []


def test_interrupts(edu: Device) -> None:
    regs: Any = edu.regs
    with pytest.raises(NotAllocated):
        edu.wait_intr(0)
    with pytest.raises(BadRange):
        edu.intr("nmi")
    for how in ("intx", "msi", ""):
        assert repr(edu.intr(how)) == edu.interrupts.name
        for _ in range(2):
            regs.EDU_INTR_RAISE = 1
            assert edu.wait_intr(9) == 1
            regs.EDU_INTR_ACK = 1
            assert edu.wait_intr(0) == 0
    with pytest.raises(RumpciError):
        edu.intr("msix")
    assert edu.interrupts.name == ""
    with pytest.raises(BadRange):
        edu.intr() and edu.wait_intr(-1)


def test_faults_and_show(edu: Device) -> None:
    assert edu.faults() == "no faults"
    edu.intr()
    shown = edu.show()
    for word in ("0000:00:01.0", "bar0: mem, 1 MiB", "EDU_ID", "msi0 vec 0", "hexdump()"):
        assert word in shown


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 300))
def test_hexdump_shows_each_byte(data: bytes, start: int, length: int) -> None:
    if start > len(data):
        with pytest.raises(BadRange):
            dump(data, start, length)
        return
    rows = dump(data, start, length).splitlines()
    shown = b"".join(bytes.fromhex(row[10:57]) for row in rows)
    assert shown == data[start : start + length]
    assert [int(row[:8], 16) for row in rows] == list(range(start, start + len(shown), 16))


# ---- completion --------------------------------------------------------------------------------


def test_completion_touches_nothing(edu: Device) -> None:
    names = edu.names
    assert complete("regs.EDU_ST", names) == ["regs.EDU_STATUS"]
    assert complete("int(regs.EDU_STATUS.I", names) == ["int(regs.EDU_STATUS.IRQFACT"]
    assert complete("regs.EDU_STATUS[0].C", names) == ["regs.EDU_STATUS[0].COMPUTING"]
    assert complete("x = bar0.wr", names) == [f"x = bar0.write{width}" for width in (1, 2, 4, 8)]
    assert complete("bar0.handle.", names) == []  # mapping it would be an effect
    assert "wait_intr" in complete("wa", names)
    assert complete("regs.EDU_STATUS.IRQFACT.", names) == complete("nothing.", names) == []
    assert complete("pa.pa_dm", names) == ["pa.pa_dmat", "pa.pa_dmat64"]
    assert complete("regs.EDU_ID.MAGIC)", names) == [
        f"regs.EDU_ID.MAGIC){name}" for name in complete("", names)
    ]
    assert made(edu) == []
    assert "not mapped" in repr(edu.bars[0])


# ---- the prompt --------------------------------------------------------------------------------


def test_lines_from_a_pipe(edu: Device, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt(edu)
    prompt.lines(io.StringIO("for i in range(2):\n  regs.EDU_LIVENESS = i\n\nregs.EDU_LIVENESS\n"))
    assert capsys.readouterr() == ("EDU_LIVENESS(0xfffffffe)\n", "")
    first, second = edu.record.inputs
    assert first.text == "for i in range(2):\n  regs.EDU_LIVENESS = i\n"
    assert (len(first.accesses), len(second.accesses)) == (2, 1)
    assert not prompt.failed


def test_a_block_at_the_end_is_ended(edu: Device, capsys: pytest.CaptureFixture[str]) -> None:
    Prompt(edu).lines(io.StringIO("if True:\n  print(1)"))
    assert capsys.readouterr() == ("1\n", "")


@pytest.mark.parametrize(
    ("typed", "words", "count"),
    [("bar0.read4(1)", "not a multiple of 4", 1), ("1 / 0", "ZeroDivisionError", 3),
     ("a b", "SyntaxError", 4), ("f(", "it is not finished", 1)],
)  # fmt: skip
def test_errors_at_the_prompt(
    edu: Device, capsys: pytest.CaptureFixture[str], typed: str, words: str, count: int
) -> None:
    prompt = Prompt(edu)
    prompt.lines(io.StringIO(typed))
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == count
    assert prompt.failed
    assert edu.record.inputs == []


def use_and_raise(
    pc: PciChipset, function: Function, devices: list[Device], raised: type[BaseException]
) -> None:
    with claimed(pc, function, "one") as pa:
        devices.append(Device(pa, function, [load_table("edureg")]))
        devices[0].dma(4096)
        devices[0].intr()
        with pytest.raises(DeviceBusy):
            pc.host.claim(function.address, "another")
        raise raised


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_the_device_is_released_whatever_was_raised(raised: type[BaseException]) -> None:
    with contextlib.closing(open_host("model:edu")) as host:
        function, pc = find_function(host, "00:01.0"), PciChipset(host)
        devices: list[Device] = []
        with pytest.raises(raised):
            use_and_raise(pc, function, devices, raised)
        assert (host.dma(), pc.claims) == ([], {})
        host.claim(function.address, "another").release()
        with pytest.raises(RumpciError):
            devices[0].regs.EDU_ID.read()


def test_where_history_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "rumpci/shell_history"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # to be ignored, says the specification
    assert history_file() == Path.home() / ".local/state/rumpci/shell_history"


TERMINAL = """
import os, pty, sys
from rumpci.tools.main import main
pid, fd = pty.fork()
if not pid:
    main(["shell", "model:edu", "00:01.0"])
seen = b""
def upto(words):
    global seen
    while words not in seen:
        seen += os.read(fd, 4096)
    seen = seen.partition(words)[2]
upto(b">>> ")
os.write(fd, b"regs.EDU_STATUS.IRQ\\t\\n")
upto(b"FACT")
upto(b">>> ")
os.write(fd, b"bar0.read4(1)\\n")
upto(b"rumpci: bus_space_read_4")
upto(b">>> ")
os.write(fd, b"\\x04")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_terminal(tmp_path: Path) -> None:
    pytest.importorskip("readline", reason="Python has no readline: apt-get install python3")
    if importlib.util.find_spec("IPython"):
        pytest.skip("IPython would be the prompt: pip uninstall ipython")
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL], check=False, timeout=240,
        env={"XDG_STATE_HOME": str(tmp_path), "TERM": "dumb", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0
    history = (tmp_path / "rumpci/shell_history").read_text()
    assert history == "regs.EDU_STATUS.IRQFACT\nbar0.read4(1)\n"


def test_ipython_is_fitted(edu: Device, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[object] = []
    hooks: dict[str, Any] = {}
    shell = SimpleNamespace(
        showtraceback=lambda exc=None: shown.append(exc),
        events=SimpleNamespace(register=hooks.__setitem__),
        set_custom_completer=lambda completer: hooks.__setitem__("complete", completer),
        user_ns=edu.names,
    )
    console._fit(shell, edu)
    hooks["pre_run_cell"](SimpleNamespace(raw_cell="bar0.read4(0)\n"))
    edu.bars[0].read4(0)
    assert edu.record.inputs[0].text == "bar0.read4(0)"
    assert hooks["complete"](None, "regs.EDU_ST") == ["regs.EDU_STATUS"]
    error = BadRange("this", "that", "mend it")
    shell.showtraceback((BadRange, error, None))
    assert capsys.readouterr().err == f"rumpci: {error}\n"
    other = (ZeroDivisionError, ZeroDivisionError(), None)
    shell.showtraceback(other)
    assert shown == [other]


# ---- saving ------------------------------------------------------------------------------------


def saved(device: Device, path: Path, *inputs: Typed) -> str:
    save(device.pa, [each.bar for each in device.bars.values()], inputs, path)
    (driver,) = load_drivers([str(path)])
    assert driver.match(device.pa)
    return path.read_text()


def test_many_accesses_are_counted(edu: Device, tmp_path: Path) -> None:
    for _ in range(KEPT + 5):
        edu.bars[0].read4(0)
    text = saved(edu, tmp_path / "many.py", *edu.record.inputs)
    assert text.count("bus_space_read_4(iot0") == KEPT
    assert "# ... and 5 more accesses" in text


names = st.text("abyz019_-. ", min_size=1, max_size=8) | st.sampled_from(
    ["driver", "none", "true", "false", "1card", "_", "é", *keyword.kwlist]
)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), names)
def test_whatever_was_typed_the_file_loads(
    tmp_path_factory: pytest.TempPathFactory, text: str, stem: str
) -> None:
    path = tmp_path_factory.mktemp("saved") / f"{stem}.py"
    with held("model:edu") as device:
        saved(device, path, Typed(text, [Access(0, True, 4, 4, 1, text)], took_memory=bool(text)))


@pytest.mark.parametrize("name", ["first.txt", "there.py", "no/such/place.py"])
def test_a_file_that_cannot_be_written(edu: Device, tmp_path: Path, name: str) -> None:
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(DriverError, match="saving"):
        edu.save(tmp_path / name)
    assert (tmp_path / "there.py").read_text() == "mine"
