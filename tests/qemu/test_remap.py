"""Interrupt remapping: a device fires the vectors that are its own."""

import contextlib
import select
from collections.abc import Iterator

import pytest

from rumpci.errors import BadURL
from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine
from rumpci.machines.requester import source
from rumpci.machines.vtd.vtdreg import IRTE, IRTE_HI
from rumpci.pcireg import PCI_CAP_MSI
from tests.waiting import LIMIT_S

from .needs import qemu

pytestmark = [qemu]
OWNER, OTHER = Address(0, 0, 1, 0), Address(0, 0, 2, 0)
VECTOR, RAISE = 0x60, 0x60


@pytest.fixture
def machine() -> Iterator[QemuMachine]:
    with contextlib.closing(QemuMachine([DeviceSpec("edu")] * 2, Options())) as made:
        made.interrupts.watch(VECTOR, True)
        yield made


def program(machine: QemuMachine, at: Address, message: tuple[int, int]) -> None:
    """As a device that was taken over would: any message it likes, and bus mastering."""
    cap = 0x40
    assert machine.conf_read(at, cap) & 0xFF == PCI_CAP_MSI
    address, data = message
    for reg, value in ((4, address & 0xFFFF_FFFF), (8, address >> 32), (0xC, data)):
        machine.conf_write(at, cap + reg, value)
    machine.conf_write(at, 4, 6)
    machine.conf_write(at, cap, machine.conf_read(at, cap) | 1 << 16)


def fires(machine: QemuMachine, at: Address) -> bool:
    """Whether raising at the device fires VECTOR; one of lower priority says when to stop."""
    machine.bar(at, 0).write(RAISE, 4, 1)
    machine.bar(at, 0).barrier()
    probe = VECTOR - 0x10
    machine.interrupts.watch(probe, True)
    machine.process.wire.ask(b"writel 0xfee00000 %#x\n" % probe)  # the processor's own: no unit
    seen: set[int] = set()
    while probe not in seen:
        assert select.select([machine.interrupts], [], [], LIMIT_S)[0]
        seen |= {vector for vector, _ in machine.interrupts.collect()}
    return VECTOR in seen


def test_the_owner_fires_its_vector_and_nobody_else_does(machine: QemuMachine) -> None:
    message = machine.interrupts.message(VECTOR, OWNER)
    program(machine, OWNER, message)
    program(machine, OTHER, message)
    assert fires(machine, OWNER)
    assert not fires(machine, OTHER)


def test_a_revoked_vector_is_nobodys(machine: QemuMachine) -> None:
    program(machine, OWNER, machine.interrupts.message(VECTOR, OWNER))
    machine.interrupts.revoke(VECTOR)
    assert not fires(machine, OWNER)
    machine.interrupts.message(VECTOR, OWNER)
    assert fires(machine, OWNER)


def test_a_handle_that_was_never_given_is_blocked(machine: QemuMachine) -> None:
    address, data = machine.interrupts.message(VECTOR, OWNER)
    machine.interrupts.revoke(VECTOR)
    program(machine, OTHER, (address, data))
    assert not fires(machine, OTHER)


def test_what_qemu_does_not_enforce_messages_without_a_handle(machine: QemuMachine) -> None:
    program(machine, OTHER, (0xFEE0_0000, VECTOR))
    assert fires(machine, OTHER), "QEMU blocks compatibility format now: say so in docs/hosts.md"


def test_without_an_iommu_messages_carry_the_vector() -> None:
    options = Options(iommu="off")
    with contextlib.closing(QemuMachine([DeviceSpec("edu")], options)) as machine:
        assert machine.interrupts.message(VECTOR, OWNER) == (0xFEE0_0000, VECTOR)
        machine.interrupts.watch(VECTOR, True)
        program(machine, OWNER, machine.interrupts.message(VECTOR, OWNER))
        assert fires(machine, OWNER)


def test_more_changes_than_the_queue_has_slots(machine: QemuMachine) -> None:
    for _ in range(300):
        machine.interrupts.message(VECTOR, OWNER)
    program(machine, OWNER, machine.interrupts.message(VECTOR, OWNER))
    assert fires(machine, OWNER)


def test_iommu_is_on_or_off() -> None:
    with pytest.raises(BadURL, match="neither on nor off"):
        open_host("qemu:edu?iommu=maybe")


def test_entries_as_the_specification_draws_them() -> None:
    assert int(IRTE(P=1, VECTOR=0x31, TM=1)) == 0x31_0011
    assert int(IRTE_HI(SVT=1, SID=source(Address(0, 1, 2, 3)))) == 0x4_0113
