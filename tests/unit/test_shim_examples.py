"""docs/shim.md and the code say the same, and the page's examples work on small devices."""

import json
import re
from pathlib import Path

import pytest

from rumpci.errors import BadShim
from rumpci.guard.shim import NOT_OURS, BarLimits, Outcome, verify
from rumpci.host import Space
from rumpci.shim import MAX_STEPS, STEP, Op, Shim, Step, check_form, disassemble
from rumpci.tools.main import main

from .shim_fakes import EXAMPLES, PAGE


def test_the_page_has_the_four_examples() -> None:
    assert list(EXAMPLES) == ["edu", "e1000", "NE2000", "AHCI"]
    assert PAGE.count("```python") == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_shows_what_is_assembled(name: str) -> None:
    shim, listing, program = EXAMPLES[name]
    assert shim.encode() == program
    assert disassemble(program) == listing
    assert Shim.decode(program) == shim


def used(op: int, name: str) -> bool:
    """Whether the op has this field: else a one there is refused as not used."""
    try:
        check_form(0, Step(Op(op), *(int(field == name) for field in Step._fields[1:])))
    except BadShim as refused:
        return "does not use" not in str(refused)
    return True


def test_the_page_lists_the_ops() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| ([\w ]*)\|", PAGE, re.M)
    assert {(int(number), name) for number, name, _ in rows} == {(op.value, op.name) for op in Op}
    for number, _, uses in rows:
        assert set(uses.split()) == {name for name in Step._fields[1:] if used(int(number), name)}
    assert f"1 to {MAX_STEPS} steps of {STEP.size} bytes" in PAGE.replace("\n", " ")


# ---- small devices -----------------------------------------------------------


class Device:
    """Registers by offset; `w1c` ones clear, `rc` ones clear when they are read."""

    bar, space, size = 0, Space.MEM, 0x1000
    w1c: frozenset[int] = frozenset()
    rc: frozenset[int] = frozenset()

    def __init__(self, **registers: int) -> None:
        self.registers = {int(name[1:], 16): value for name, value in registers.items()}
        self.writes: list[tuple[int, int]] = []

    def read(self, bar: int, offset: int, width: int) -> int:
        assert (bar, width) == (self.bar, 4)
        value = self.registers.get(offset, 0)
        if offset in self.rc:
            self.registers[offset] = 0
        return value

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        assert (bar, width) == (self.bar, 4)
        self.writes.append((offset, value))
        if offset in self.w1c:
            self.registers[offset] &= ~value
        else:
            self.registers[offset] = value


def interrupt(name: str, device: Device) -> Outcome:
    limits = BarLimits(device.space, ((0, device.size),))
    program = EXAMPLES[name].program
    return verify(program, {device.bar: limits}).run(device.read, device.write)


class EduDevice(Device):
    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        assert (bar, offset, width) == (0, 0x64, 4)
        self.registers[0x24] &= ~value


def test_edu() -> None:
    edu = EduDevice(r24=0x1001)
    assert interrupt("edu", edu) == Outcome(True, (0x1001, 0, 0, 0))
    assert edu.registers[0x24] == 0
    assert interrupt("edu", edu) == NOT_OURS


class E1000Device(Device):
    rc = frozenset({0xC0})


def test_e1000() -> None:
    nic = E1000Device(rC0=0x8000_0084)
    assert interrupt("e1000", nic) == Outcome(True, (0x8000_0084, 0, 0, 0))
    assert nic.registers[0xC0] == 0
    assert interrupt("e1000", nic) == NOT_OURS
    assert nic.writes == []


class Ne2000Device(Device):
    """Offset 7 is the interrupt status in page 0, a multicast byte in page 1."""

    space, size = Space.IO, 0x20

    def __init__(self, command: int, status: int) -> None:
        super().__init__()
        self.command, self.status, self.multicast = command, status, 0xA5
        self.transmitted = 0

    def read(self, bar: int, offset: int, width: int) -> int:
        assert (bar, width) == (0, 1)
        if offset == 0:
            return self.command
        return self.multicast if self.command >> 6 else self.status

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        assert (bar, width) == (0, 1)
        if offset == 0:
            self.transmitted += value >> 2 & 1
            self.command = value | self.command & 4
        elif self.command >> 6:
            self.multicast = value
        else:
            self.status &= ~value | 0x80  # the reset state stays


@pytest.mark.parametrize("command", [0x22, 0x62, 0x66, 0xA2])
def test_ne2000_acknowledges_from_any_page_and_puts_it_back(command: int) -> None:
    nic = Ne2000Device(command, 0x83)
    assert interrupt("NE2000", nic) == Outcome(True, (0x03, 0, 0, command))
    assert (nic.status, nic.command) == (0x80, command)
    assert interrupt("NE2000", nic) == NOT_OURS
    assert (nic.status, nic.command) == (0x80, command)
    assert (nic.multicast, nic.transmitted) == (0xA5, 0)


class AhciDevice(Device):
    """IS shows a port's bit again for as long as that port has a cause."""

    bar = 5
    w1c = frozenset({0x08, 0x110, 0x190, 0x210})

    def read(self, bar: int, offset: int, width: int) -> int:
        for port in range(3):
            if self.registers.get(0x110 + 0x80 * port):
                self.registers[0x08] |= 1 << port
        return super().read(bar, offset, width)


@pytest.mark.parametrize(
    ("causes", "status"),
    [((1, 0), (1, 1, 0, 0)), ((0, 0x40), (2, 0, 0x40, 0)), ((5, 6), (3, 5, 6, 0))],
)
def test_ahci(causes: tuple[int, int], status: tuple[int, ...]) -> None:
    hba = AhciDevice(r08=0, r110=causes[0], r190=causes[1])
    assert interrupt("AHCI", hba) == Outcome(True, status)
    assert hba.registers == {0x08: 0, 0x110: 0, 0x190: 0}
    assert [offset for offset, _ in hba.writes][-1] == 0x08
    assert interrupt("AHCI", hba) == NOT_OURS


def test_ahci_leaves_other_ports_alone() -> None:
    hba = AhciDevice(r08=0, r110=0, r190=0, r210=1)
    assert interrupt("AHCI", hba) == NOT_OURS
    assert hba.writes == []


# ---- the command -------------------------------------------------------------


def rumpci(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code, *capfd.readouterr()


def test_the_command_disassembles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "edu.shim"
    file.write_bytes(EXAMPLES["edu"].program)
    status, out, _ = rumpci(capfd, "shim", "disassemble", str(file))
    assert (status, out.splitlines()) == (0, EXAMPLES["edu"].listing)
    _, out, _ = rumpci(capfd, "shim", "disassemble", "--json", str(file))
    assert json.loads(out)["steps"][0] == {
        "step": 0, "op": "READ", "width": 4, "bar": 0, "arg": 0, "offset": 0x24, "k": 0,
        "text": "read.4 bar0[0x24]",
    }  # fmt: skip


def test_the_command_s_errors_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.shim"
    file.write_bytes(EXAMPLES["edu"].program[:-1])
    for name, why in ((file, "[EINVAL]"), (tmp_path / "none", "[ENOENT]"), (tmp_path, "[EISDIR]")):
        status, out, err = rumpci(capfd, "shim", "disassemble", str(name))
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert why in err
