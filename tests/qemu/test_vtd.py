"""DMA remapping on QEMU's unit: what reaches memory, what does not, and what is said about it."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from rumpci.errors import BadDma, BadURL, DeviceBusy
from rumpci.host import Address, Feature
from rumpci.host_dma import Direction
from rumpci.hosts import open_host
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.machine import IommuFault
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine
from rumpci.machines.requester import source
from rumpci.machines.vtd.iommu import VtdDomain, VtdIommu
from tests.waiting import LIMIT_S

from .needs import qemu
from .raw_dma import PAGE, Pages, RawEdu, RawNvme, faults

pytestmark = [qemu]
FIRST, SECOND = Address(0, 0, 1, 0), Address(0, 0, 2, 0)
TABLES, DATA, MIB2 = 0x20_0000, 0x80_0000, 2 << 20
IOVA = 0x123_4000
PROBE = 0x18  # of the lowest priority: it arrives after whatever was sent before
READ, WRITE, BOTH = Direction.READ, Direction.WRITE, Direction.BOTH
TEXT = b"what memory says" * 4


class Bench:
    """A machine with its IOMMU started."""

    def __init__(self, *devices: DeviceSpec, memory: str = "64M") -> None:
        self.machine = QemuMachine(devices, Options(memory=memory))
        assert isinstance(self.machine.iommu, VtdIommu)
        self.iommu: VtdIommu = self.machine.iommu
        self.pages = Pages(self.machine, TABLES, DATA)
        self.memory = self.pages.memory
        self.iommu.start(self.pages)

    def put(self, at: int, data: bytes) -> None:
        self.memory[at : at + len(data)] = data

    def get(self, at: int, size: int = len(TEXT)) -> bytes:
        return self.memory[at : at + size]

    def faults(self, want: int = 1) -> list[IommuFault]:
        return faults(self.machine, want)

    def settle(self) -> None:
        """Wait until the events of all faults so far have arrived."""
        seen, interrupts = set[int](), self.machine.interrupts
        interrupts.watch(PROBE, True)
        self.machine.process.wire.ask(b"writel 0xfee00000 %#x\n" % PROBE)
        while PROBE not in seen:
            assert select.select([interrupts], [], [], LIMIT_S)[0]
            seen |= {vector for vector, _ in interrupts.collect()}
        interrupts.watch(PROBE, False)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(DeviceSpec("edu"), DeviceSpec("edu"))
    with contextlib.closing(made.machine):
        yield made


def copy(edu: RawEdu, source_: int, target: int) -> None:
    edu.read(source_)
    edu.write(target)


def test_what_is_granted_lands(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    domain.grant(IOVA, DATA, PAGE, WRITE)
    domain.grant(IOVA + PAGE, DATA + 5 * PAGE, PAGE, READ)
    bench.put(DATA + 8, TEXT)
    copy(edu, IOVA + 8, IOVA + PAGE + 16)
    assert bench.get(DATA + 5 * PAGE + 16) == TEXT
    assert bench.iommu.faults() == []


def test_each_direction_is_its_own(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    domain.grant(IOVA, DATA, PAGE, WRITE)
    domain.grant(IOVA + PAGE, DATA, PAGE, READ)
    bench.put(DATA, TEXT)
    edu.write(IOVA + 128)
    (fault,) = bench.faults()
    assert (fault.source, fault.addr, fault.write) == (source(FIRST), IOVA, True)
    assert "not granted for writing" in fault.reason
    edu.read(IOVA + PAGE)
    (fault,) = bench.faults()
    assert (fault.addr, fault.write) == (IOVA + PAGE, False)
    assert "not granted for reading" in fault.reason
    assert bench.get(DATA + 128) == bytes(len(TEXT))


def test_what_qemu_does_not_record_the_wrong_direction_of_a_cached_page(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    domain.grant(IOVA, DATA, PAGE, WRITE)
    bench.put(DATA, TEXT)
    edu.read(IOVA)
    edu.write(IOVA + 128)
    assert bench.get(DATA + 128) == bytes(len(TEXT)), "it is blocked all the same"
    bench.settle()
    assert bench.iommu.faults() == [], "QEMU records it now: say so in docs/hosts.md"


def test_who_has_no_domain_reaches_nothing(bench: Bench) -> None:
    edu = RawEdu(bench.machine, SECOND)
    edu.write(DATA)
    (fault,) = bench.faults()
    assert fault.source == source(SECOND)
    assert "reason 0x1]" in fault.reason
    bench.iommu.attach(FIRST)
    edu.write(DATA)
    (fault,) = bench.faults()
    assert "no domain" in fault.reason
    assert bench.get(DATA) == bytes(len(TEXT))


def test_revoking_takes_effect_because_the_unit_is_told(bench: Bench) -> None:
    """What the unit has cached outlives the table: with the invalidation left out, it shows."""
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    bench.put(DATA, TEXT)
    domain.grant(IOVA, DATA, PAGE, BOTH)
    edu.read(IOVA)
    domain._tables.clear(IOVA, PAGE)
    edu.write(IOVA + 128)
    assert bench.get(DATA + 128) == TEXT, "nothing was cached: this test shows nothing"
    domain.forget()
    edu.write(IOVA + 256)
    assert bench.faults()[0].addr == IOVA
    domain.grant(IOVA, DATA, PAGE, BOTH)
    edu.write(IOVA + 256)
    assert bench.get(DATA + 256) == TEXT
    domain.revoke([(IOVA, PAGE)])
    edu.write(IOVA + 384)
    assert bench.faults()[0].addr == IOVA
    assert bench.get(DATA + 384) == bytes(len(TEXT))


def test_a_replaced_page_is_out_of_reach(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    bench.put(DATA, TEXT)
    domain.grant(IOVA, DATA, PAGE, BOTH)
    edu.read(IOVA)
    domain.grant(IOVA, DATA + PAGE, PAGE, BOTH)
    edu.write(IOVA + 64)
    assert bench.get(DATA + PAGE + 64) == TEXT
    assert bench.get(DATA + 64) == bytes(len(TEXT))


def test_domains_are_apart(bench: Bench) -> None:
    one, two = bench.iommu.attach(FIRST), bench.iommu.attach(SECOND)
    bench.put(DATA, TEXT)
    one.grant(IOVA, DATA, PAGE, BOTH)
    two.grant(IOVA, DATA + PAGE, PAGE, BOTH)
    first, second = RawEdu(bench.machine, FIRST), RawEdu(bench.machine, SECOND)
    first.read(IOVA)
    one.revoke([(IOVA, PAGE)])
    second.write(IOVA)
    first.write(IOVA)
    assert bench.get(DATA) == TEXT
    assert bench.get(DATA + PAGE) == bytes(len(TEXT))
    assert [fault.source for fault in bench.faults()] == [source(FIRST)]
    (left,) = bench.iommu.entries()
    assert (left.device, left.page) == (SECOND, DATA + PAGE)


def test_after_detach_nothing_is_left(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    with pytest.raises(DeviceBusy, match="same id"):
        bench.iommu.attach(FIRST)
    domain.grant(IOVA, DATA, PAGE, BOTH)
    edu.write(IOVA)
    domain.detach()
    domain.detach()
    assert len(bench.pages.used) == 2, "the root table and the bus's"
    edu.write(IOVA)
    assert "no domain" in bench.faults()[0].reason
    with pytest.raises(BadDma, match="detached"):
        domain.grant(IOVA, DATA, PAGE, BOTH)
    again = bench.iommu.attach(FIRST)
    assert again.id == domain.id
    edu.write(IOVA)
    assert bench.faults()[0].addr == IOVA, "what the id could reach before is forgotten"


def test_large_pages_and_a_hole_in_one(bench: Bench) -> None:
    domain, edu = bench.iommu.attach(FIRST), RawEdu(bench.machine, FIRST)
    domain.grant(MIB2, DATA, MIB2, BOTH)
    assert [grant.size for grant in bench.iommu.entries()] == [MIB2]
    bench.put(DATA + 0x1_2345, TEXT)
    bench.put(DATA + 0x1_3345, TEXT)
    edu.read(MIB2 + 0x1_2345)
    domain.revoke([(MIB2 + 0x1_2000, PAGE)])
    edu.read(MIB2 + 0x1_2345)
    assert bench.faults()[0].addr == MIB2 + 0x1_2000
    edu.read(MIB2 + 0x1_1345 + 0x2000)
    edu.write(MIB2 + 0x1_3000)
    assert bench.get(DATA + 0x1_3000) == TEXT
    assert len(list(bench.iommu.entries())) == 511


def nvme(bench: Bench, at: Address, memory: int) -> tuple[VtdDomain, RawNvme]:
    """A controller with its queues in the two pages at `memory`."""
    domain = bench.iommu.attach(at)
    domain.grant(IOVA, memory, PAGE, WRITE)
    domain.grant(IOVA + PAGE, memory + PAGE, PAGE, READ)
    queues = memoryview(bench.memory)[memory : memory + 2 * PAGE]
    return domain, RawNvme(bench.machine, at, IOVA, queues)


NVME = DeviceSpec("nvme", {"serial": "1"})


@pytest.mark.parametrize("count", [2, 16, 100])
def test_many_ranges_at_once(count: int) -> None:
    """Each of which the unit had in its cache; more than MANY are the whole domain's."""
    bench = Bench(NVME)
    with contextlib.closing(bench.machine):
        domain, device = nvme(bench, FIRST, DATA)
        base, memory = 0x4000_0000, DATA + MIB2
        ranges = [(base + 2 * n * PAGE, PAGE) for n in range(count)]
        for n, (addr, size) in enumerate(ranges):
            domain.grant(addr, memory + n * PAGE, size, READ)
            device.identify(addr)
        assert bench.get(memory + (count - 1) * PAGE + 4, 1) == b"1"
        domain.revoke(ranges)
        bench.put(memory, bytes(count * PAGE))
        for addr, _ in ranges:
            device.identify(addr)
        assert bench.get(memory, count * PAGE) == bytes(count * PAGE)
        assert len(list(bench.iommu.entries())) == 2, "the queues"


def test_a_gigabyte_in_one_entry() -> None:
    bench = Bench(NVME, memory="2100M")
    with contextlib.closing(bench.machine):
        gib = 1 << 30
        domain, device = nvme(bench, FIRST, DATA)
        domain.grant(3 * gib, gib, gib, READ)
        assert max(grant.size for grant in bench.iommu.entries()) == gib
        device.identify(3 * gib + 0x2345_6000)
        assert bench.get(gib + 0x2345_6000 + 4, 1) == b"1", "the serial number"


def test_many_faults_in_a_row() -> None:
    """Each is told, or said to be lost, and the unit goes on telling."""
    bench = Bench(NVME, NVME)
    with contextlib.closing(bench.machine):
        _, one = nvme(bench, FIRST, DATA)
        _, two = nvme(bench, SECOND, DATA + 2 * PAGE)
        for number in range(150):
            at = (number + 1) * MIB2
            one.identify(at)
            (fault,) = bench.faults()
            assert (fault.source, fault.addr, fault.lost) == (source(FIRST), at, False)
        for _ in range(50):
            one.identify(MIB2)
            two.identify(MIB2)
            found = bench.faults()
            while more := bench.iommu.faults():
                found += more
            assert len(found) == 2 or found[0].lost
        bench.settle()
        bench.iommu.faults()
        two.identify(PAGE)
        assert [(fault.source, fault.addr) for fault in bench.faults()] == [(source(SECOND), PAGE)]


def test_faults_while_they_are_read() -> None:
    """A controller that faults all the time, and one that reads: none is the last one told."""
    bench = Bench(NVME, NVME)
    with contextlib.closing(bench.machine):
        _, one = nvme(bench, FIRST, DATA)
        _, two = nvme(bench, SECOND, DATA + 2 * PAGE)
        told = 0
        for _ in range(20):
            one.post(MIB2, 30)
            two.post(MIB2, 30)
            for _ in range(30):
                one.take(1)
                two.take(1)
                told += len(bench.iommu.faults())
        bench.settle()
        while bench.iommu.faults():
            told += 1
        assert told > 5
        two.identify(PAGE)
        assert [(fault.source, fault.addr) for fault in bench.faults()] == [(source(SECOND), PAGE)]


def test_faults_of_several_functions_at_once_are_told_or_lost(bench: Bench) -> None:
    first, second = RawEdu(bench.machine, FIRST), RawEdu(bench.machine, SECOND)
    for _ in range(3):
        first.start(0x40000, DATA, 64, 3)
        second.start(0x40000, DATA, 64, 3)
        first.finish()
        second.finish()
        (fault,) = bench.faults()
        assert fault.lost, "there is one record"


def test_a_fault_wakes_who_waits(bench: Bench) -> None:
    bench.machine.interrupts.collect()
    RawEdu(bench.machine, FIRST).start(0x40000, DATA, 64, 3)
    assert select.select([bench.machine.interrupts], [], [], LIMIT_S)[0]
    assert bench.iommu.faults()
    assert bench.machine.interrupts.collect() == []


BRIDGES = [
    ([("pcie-root-port", {"id": "b", "chassis": "1"})], None),
    ([("pcie-pci-bridge", {"id": "b"})], 0x100),
    ([("i82801b11-bridge", {"id": "b"})], 0x08),
    ([("pcie-pci-bridge", {"id": "a"}),
      ("pci-bridge", {"id": "b", "bus": "a", "chassis_nr": "1", "addr": "3"})], 0x100),
    ([("pcie-root-port", {"id": "a", "chassis": "1"}),
      ("pcie-pci-bridge", {"id": "b", "bus": "a"})], 0x200),
]  # fmt: skip


@pytest.mark.parametrize(("bridges", "alias"), BRIDGES)
def test_requester_behind_bridges(
    bridges: list[tuple[str, dict[str, str]]], alias: int | None
) -> None:
    slot = "0" if alias is None else "4"
    devices = [DeviceSpec(*spec) for spec in bridges]
    bench = Bench(*devices, DeviceSpec("edu", {"bus": "b", "addr": slot}))
    with contextlib.closing(bench.machine):
        (at,) = [f.address for f in bench.machine.functions() if f.id == 0x11E8_1234]
        wanted = source(at) if alias is None else alias
        assert bench.iommu.requester(at) == wanted
        edu = RawEdu(bench.machine, at)
        edu.write(DATA)
        assert bench.faults()[0].source == wanted, "who it is to QEMU"
        domain = bench.iommu.attach(at)
        domain.grant(IOVA, DATA, PAGE, BOTH)
        bench.put(DATA, TEXT)
        copy(edu, IOVA, IOVA + 128)
        assert bench.get(DATA + 128) == TEXT
        assert [grant.device for grant in bench.iommu.entries()] == [at]
        assert fires(bench.machine, at)


def fires(machine: QemuMachine, at: Address) -> bool:
    """Whether the function's message passes interrupt remapping."""
    machine.interrupts.watch(0x60, True)
    address, data = machine.interrupts.message(0x60, at)
    for reg, value in ((0x44, address), (0x48, 0), (0x4C, data)):
        machine.conf_write(at, reg, value)
    machine.conf_write(at, 0x40, machine.conf_read(at, 0x40) | 1 << 16)
    machine.bar(at, 0).write(0x60, 4, 1)
    return bool(select.select([machine.interrupts], [], [], LIMIT_S)[0])


def test_functions_behind_a_conventional_bridge_share_one_domain() -> None:
    edus = [DeviceSpec("edu", {"bus": "b", "addr": n}) for n in ("4", "5")]
    bench = Bench(DeviceSpec("pcie-pci-bridge", {"id": "b"}), *edus)
    with contextlib.closing(bench.machine):
        one, two = [f.address for f in bench.machine.functions() if f.id == 0x11E8_1234]
        domain = bench.iommu.attach(one)
        with pytest.raises(DeviceBusy, match=str(one)):
            bench.iommu.attach(two)
        domain.detach()
        bench.iommu.attach(two)


def test_memory_and_features(bench: Bench) -> None:
    assert bench.machine.memory.usable == [(0x1_0000, 0xA_0000), (0x10_0000, 64 << 20)]
    assert bench.iommu.address_bits == 39
    assert Feature.DMA | Feature.IOMMU in bench.machine.features
    with contextlib.closing(QemuMachine([DeviceSpec("edu")], Options(iommu="off"))) as bare:
        assert bare.iommu is None
        assert Feature.IOMMU not in bare.features
    with pytest.raises(BadURL, match="at most 2815M"):
        open_host("qemu:edu?memory=2816M")


def test_memory_up_to_the_limit_is_where_its_addresses_are() -> None:
    bench = Bench(NVME, memory="2815M")
    with contextlib.closing(bench.machine):
        last = bench.machine.memory.size - PAGE
        domain, device = nvme(bench, FIRST, DATA)
        domain.grant(0, last, PAGE, READ)
        device.identify(0)
        assert bench.get(last + 4, 1) == b"1"


def test_what_it_costs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To grant, and to learn that all is well, touches no register; ./dev bench has the times."""
    domain, unit = bench.iommu.attach(FIRST), bench.iommu._unit
    domain.grant(IOVA, DATA, PAGE, BOTH)
    bench.iommu.faults()
    registers = Mock(wraps=unit._registers)
    monkeypatch.setattr(unit, "_registers", registers)
    domain.revoke([(IOVA, PAGE)])
    assert [call[0] for call in registers.method_calls] == ["write"], "the tail of the queue"
    domain.grant(IOVA, DATA, PAGE, BOTH)
    assert bench.iommu.faults() == []
    assert len(registers.method_calls) == 1
