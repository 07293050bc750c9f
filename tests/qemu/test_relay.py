"""The relay: its image is what relay.S says, and no interrupt of a bare machine is lost in it."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci import kern, pcireg as pr
from rumpci.autoconf import Autoconf
from rumpci.drivers.edu import Edu
from rumpci.errors import MachineDied, MachineSilent
from rumpci.guard import Guard
from rumpci.host import Address, IntrType
from rumpci.hosts import open_host
from rumpci.machines.qemu import firmware, machine as machine_module
from rumpci.machines.qemu.firmware import LINES
from rumpci.machines.qemu.machine import QemuMachine
from rumpci.machines.qemu.relay import Relay
from rumpci.machines.vtd.remap import Remapping
from tests.needs import program

from . import needs

pytestmark = needs.qemu

SOURCE = Path(machine_module.__file__).with_name("relay.S")
STATUS, RAISE, ACK = 0x24, 0x60, 0x64
LIMIT_US = 20_000_000
PROBE = 0x18  # of the lowest priority: it arrives after whatever was sent before


@pytest.fixture
def source() -> str:
    return SOURCE.read_text()


@program("as", "binutils")
@program("objcopy", "binutils")
def test_image_is_what_the_assembler_makes_of_the_source(tmp_path: Path) -> None:
    made, image = tmp_path / "relay.o", tmp_path / "relay.bin"
    subprocess.run(["as", "--32", "-o", made, SOURCE], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, image], check=True)
    assert image.read_bytes() == firmware.image()


def test_constants_are_those_of_the_source(source: str) -> None:
    found = {n: int(v, 0) for n, v in re.findall(r"\.set\s+(\w+), (0x\w+|\d+)\b", source)}
    same = ("AWAKE", "READY", "COUNTS", "WANT", "ENTRY", "PORT", "APPLY", "LINES", "PINS", "MASKED")
    assert {name: found[name] for name in same} == {name: getattr(firmware, name) for name in same}
    assert (found["STUBS"], found["IDT"]) == (firmware._STUBS, firmware._IDT)
    assert found["BASE"] == firmware._BASE_HIGH << 16
    assert found["STACK"] < Relay.low_ram


# ---- lines -----------------------------------------------------------------------------


class Bench:
    """A machine of edus, raw: what fired on which vector."""

    def __init__(self, machine: QemuMachine) -> None:
        self.machine, self.controller = machine, machine.interrupts
        self.edus = [f.address for f in machine.functions() if f.id == 0x11E8_1234]
        for at in self.edus:
            machine.conf_write(at, pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE)
        for vector in (PROBE, *range(LINES + 16, LINES + 24)):
            self.controller.watch(vector, True)

    def write(self, at: Address, register: int, value: int = 1) -> None:
        self.machine.bar(at, 0).write(register, 4, value)

    def fired(self) -> dict[int, int]:
        """How often each pin fired, once everything that was sent before has arrived."""
        self.controller._apic.write(0, 4, PROBE)
        limit, counts = kern.deadline(LIMIT_US), dict[int, int]()
        while PROBE not in counts:
            assert not limit.passed()
            select.select([self.controller], [], [], limit.remaining())
            for vector, count in self.controller.collect():
                counts[vector] = counts.get(vector, 0) + count
        return {vector - LINES: count for vector, count in counts.items() if vector != PROBE}


@contextlib.contextmanager
def bench(*devices: str) -> Iterator[Bench]:
    with contextlib.closing(open_host("qemu:" + "+".join(devices))) as host:
        assert isinstance(host, Guard)
        assert isinstance(host.machine, QemuMachine)
        yield Bench(host.machine)


SLOTS = [f"edu,addr={slot:02x}" for slot in range(2, 31)]
BRIDGES = {
    "root ports": [
        part
        for slot in (3, 4, 5, 0x1A, 0x1E)
        for part in (
            f"pcie-root-port,id=p{slot},chassis={slot},addr={slot:02x}",
            f"edu,bus=p{slot}",
        )
    ],
    "a conventional bridge": [
        "pcie-pci-bridge,id=a,addr=03",
        *(f"edu,bus=a,addr={slot:02x}" for slot in (1, 2, 3, 4, 31)),
    ],
    "nested": [
        "pcie-root-port,id=r,chassis=1,addr=05", "pcie-pci-bridge,id=a,bus=r",
        "pci-bridge,id=b,bus=a,chassis_nr=2,addr=02", "pci-bridge,id=c,bus=b,chassis_nr=3,addr=03",
        *(f"edu,bus=c,addr={slot:02x}" for slot in (1, 2, 3, 4)),
        "edu,bus=b,addr=01", "edu,bus=a,addr=06",
    ],
    "a switch": [
        "pcie-root-port,id=r,chassis=1,addr=1b", "x3130-upstream,id=u,bus=r",
        "xio3130-downstream,id=d0,bus=u,chassis=2,addr=00",
        "xio3130-downstream,id=d3,bus=u,chassis=3,addr=03",
        "edu,bus=d0", "edu,bus=d3",
    ],
    "functions": [
        "edu,addr=04.0,multifunction=on", "edu,addr=04.5",
        "edu,addr=1c.0,multifunction=on", "edu,addr=1c.3",
    ],
}  # fmt: skip


@pytest.mark.parametrize("devices", [SLOTS, *BRIDGES.values()], ids=["slots", *BRIDGES])
def test_intx_arrives_on_the_predicted_pin(devices: list[str]) -> None:
    with bench(*devices) as b:
        predicted, arrived = {}, {}
        for at in b.edus:
            pin = b.machine.conf_read(at, pr.PCI_INTERRUPT_REG) >> 8 & 0xFF
            predicted[at] = [b.controller.pin(at, pin - 1)]
            for line in range(16, 24):
                b.controller.unmask_line(line)
            b.write(at, RAISE)
            arrived[at] = sorted(b.fired())
            b.write(at, ACK)
        assert len(b.edus) == sum(device.startswith("edu") for device in devices)
        assert arrived == predicted


@pytest.fixture(scope="module")
def one() -> Iterator[Bench]:
    with bench("edu,addr=02") as made:
        yield made


@pytest.fixture
def edu(one: Bench) -> tuple[Bench, Address, int]:
    """A quiet edu, its pin masked."""
    (at,) = one.edus
    pin = one.controller.pin(at, 0)
    one.controller.mask_line(pin)
    one.write(at, ACK, 0xFFFF_FFFF)
    one.fired()
    return one, at, pin


def test_a_line_that_fired_is_masked_until_it_is_unmasked(edu: tuple[Bench, Address, int]) -> None:
    b, at, pin = edu
    b.controller.unmask_line(pin)
    b.write(at, RAISE)
    assert b.fired() == {pin: 1}
    b.write(at, ACK)
    b.write(at, RAISE, 2)
    assert b.fired() == {}
    b.controller.unmask_line(pin)
    assert b.fired() == {pin: 1}


def test_a_line_that_stays_asserted_fires_once_for_each_unmasking(
    edu: tuple[Bench, Address, int],
) -> None:
    b, at, pin = edu
    b.write(at, RAISE)
    for _ in range(20):
        b.controller.unmask_line(pin)
        assert b.fired() == {pin: 1}
    b.write(at, ACK)
    b.controller.unmask_line(pin)
    assert b.fired() == {}


def test_what_is_raised_while_masked_fires_when_it_is_unmasked(
    edu: tuple[Bench, Address, int],
) -> None:
    b, at, pin = edu
    for cause in (1, 2, 4):
        b.write(at, RAISE, cause)
    assert b.fired() == {}
    b.controller.unmask_line(pin)
    assert b.fired() == {pin: 1}
    assert b.machine.bar(at, 0).read(STATUS, 4) == 7


def test_masking_a_line_that_was_open(edu: tuple[Bench, Address, int]) -> None:
    b, at, pin = edu
    b.controller.unmask_line(pin)
    b.controller.mask_line(pin)
    b.write(at, RAISE)
    assert b.fired() == {}


def test_lines_do_not_disturb_each_other() -> None:
    with bench(*(f"edu,addr={slot:02x}" for slot in (2, 3, 4, 5))) as b:
        pins = [b.controller.pin(at, 0) for at in b.edus]
        for pin in pins[1:]:
            b.controller.unmask_line(pin)
        for at in b.edus:
            b.write(at, RAISE)
        assert b.fired() == dict.fromkeys(pins[1:], 1)
        b.controller.unmask_line(pins[0])
        assert b.fired() == {pins[0]: 1}


# ---- messages ----------------------------------------------------------------------------


class Message:
    """An edu that interrupts by MSI, and what its events told."""

    def __init__(self, host: Guard) -> None:
        self.at = next(f.address for f in host.functions() if f.id == 0x11E8_1234)
        self.claim = host.claim(self.at, "test")
        (self.interrupt,) = self.claim.intr_alloc(IntrType.MSI, [0])
        self.claim.conf_write(
            pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE
        )
        self.interrupt.establish()
        self.window = self.claim.window(0, 0, 0x80)
        self.count = self.causes = 0

    def handle(self) -> None:
        """Acknowledge what there is, if there was an event."""
        for event in self.interrupt.read():
            self.count += event.count
            causes = self.window.read(STATUS, 4)
            self.window.write(ACK, 4, causes)
            self.causes |= causes

    def wait(self, cause: int) -> None:
        limit = kern.deadline(LIMIT_US)
        while not self.causes & cause:
            assert not limit.passed()
            select.select([self.interrupt], [], [], limit.remaining())
            self.handle()


@pytest.fixture
def message() -> Iterator[Message]:
    with contextlib.closing(open_host("qemu:edu")) as host:
        assert isinstance(host, Guard)
        yield Message(host)


@pytest.mark.parametrize("chunk", [10_000, 64])
def test_after_the_last_of_many_messages_an_event_comes(message: Message, chunk: int) -> None:
    """The local APIC merges a message with an equal one that is pending: counts may be less."""
    for number in range(9_999):
        message.window.write(RAISE, 4, 1)
        if number % chunk == chunk - 1:
            message.handle()
    message.window.write(RAISE, 4, 2)
    message.wait(2)
    assert 1 <= message.count <= 10_000
    assert message.window.read(STATUS, 4) == 0


def test_messages_that_are_waited_for_are_one_event_each(message: Message) -> None:
    for number in range(1, 301):
        message.causes = 0
        message.window.write(RAISE, 4, number)
        message.wait(0xFFFF_FFFF)
        assert (message.count, message.causes) == (number, number)


def test_who_looks_is_not_woken_and_who_stops_looking_is(message: Message) -> None:
    interrupt = message.interrupt
    for number in range(1, 101, 2):
        assert not interrupt.ready()  # from here on it looks
        message.window.write(RAISE, 4, 1)
        limit = kern.deadline(LIMIT_US)
        while not interrupt.ready():
            assert not limit.passed()
        assert not select.select([interrupt], [], [], 0)[0], "nothing need wake who looks"
        assert interrupt.arm(), "what came while it looked is told"
        message.handle()
        assert message.count == number
        message.window.write(RAISE, 4, 1)
        assert select.select([interrupt], [], [], LIMIT_US / 1e6)[0], "it had stopped looking"
        message.handle()
        assert message.count == number + 1


def test_who_stops_looking_without_a_find_is_woken(message: Message) -> None:
    for number in range(1, 51):
        assert not message.interrupt.ready()
        assert not message.interrupt.arm()
        message.window.write(RAISE, 4, 1)
        assert select.select([message.interrupt], [], [], LIMIT_US / 1e6)[0]
        message.handle()
        assert message.count == number


# ---- the end -------------------------------------------------------------------------------


def test_a_machine_that_is_killed_ends_the_wait_for_its_interrupts() -> None:
    with contextlib.closing(open_host("qemu:edu")) as host, Autoconf(host) as autoconf:
        assert isinstance(host, Guard)
        assert isinstance(host.machine, QemuMachine)
        (edu,) = autoconf.attach([Edu])
        assert isinstance(edu, Edu)
        kern.callout_reset(
            kern.callout_init(), 1, lambda pid: os.kill(pid, signal.SIGKILL),
            host.machine.process.pid,
        )  # fmt: skip
        kern.mutex_enter(edu.lock)
        with pytest.raises(MachineDied, match="SIGKILL"):
            kern.cv_wait(edu.cv, edu.lock)
        with contextlib.suppress(MachineDied):
            autoconf.close()


@pytest.mark.parametrize("type_", [IntrType.INTX, IntrType.MSI])
def test_nothing_stays_open_after_a_machine_died(type_: IntrType) -> None:
    def opened() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def die() -> None:
        with contextlib.closing(open_host("qemu:edu")) as host:
            assert isinstance(host, Guard)
            assert isinstance(host.machine, QemuMachine)
            message = Message(host)
            message.claim.intr_release()
            (interrupt,) = message.claim.intr_alloc(type_, [0])
            message.claim.conf_write(
                pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE
            )
            interrupt.establish()
            pid = host.machine.process.pid
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            with pytest.raises(MachineDied):
                message.window.read(STATUS, 4)

    die()
    before = opened()
    die()
    assert opened() == before


# ---- a processor that never comes ---------------------------------------------------------------


def impatient(monkeypatch: pytest.MonkeyPatch, starts: list[str], silent: int) -> None:
    """The relays of the first `silent` machines are not waited for."""
    real = Relay.start

    def start(relay: Relay, remapping: Remapping | None) -> None:
        starts.append(str(relay._wire.ask(b"endianness\n")))
        if len(starts) <= silent:
            raise MachineSilent("starting the relay", "a test", "open it again")
        real(relay, remapping)

    monkeypatch.setattr(Relay, "start", start)


def test_a_qemu_whose_processor_never_comes_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts, before = list[str](), len(os.listdir("/proc/self/fd"))
    impatient(monkeypatch, starts, 2)
    with contextlib.closing(open_host("qemu:edu")) as host:
        assert 0x11E8_1234 in [f.id for f in host.functions()]
    assert len(starts) == 3
    assert caplog.text.count("another QEMU takes its place") == 2
    assert "EIP=" in caplog.text  # so that the cause can be found
    assert len(os.listdir("/proc/self/fd")) == before


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, before = list[str](), len(os.listdir("/proc/self/fd"))
    impatient(monkeypatch, starts, 9)
    with pytest.raises(MachineSilent, match=r"starting the relay: a test; .*EIP="):
        open_host("qemu:edu")
    assert len(starts) == 3
    assert len(os.listdir("/proc/self/fd")) == before
