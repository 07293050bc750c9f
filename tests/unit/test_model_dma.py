"""Models as bus masters: what stops them, what they reach, and edu's DMA at physical addresses."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator

import pytest

from rumpci import pcireg as pr
from rumpci.host import Address
from rumpci.machines.model.config import ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.edu import Edu
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.model.memory import ModelMemory

AT = Address(0, 0, 1, 0)
SIZE = 1 << 20
MASTER = pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE
PAGE = 4096


class Master(Model):
    config = ConfigSpec(vendor=0x1234, product=0x0003, class_=0x088000)


def plugged(model: Model, *, iommu: bool = True) -> ModelMachine:
    machine = ModelMachine([model], memory=SIZE, iommu=iommu)
    machine.conf_write(AT, pr.PCI_COMMAND_STATUS_REG, MASTER)
    return machine


@pytest.fixture(params=[True, False], ids=["iommu", "none"])
def master(request: pytest.FixtureRequest) -> Iterator[Master]:
    """A model with bus mastering on; a unit that is there translates nothing yet."""
    model = Master()
    machine = plugged(model, iommu=request.param)
    yield model
    machine.close()


def test_memory_ends() -> None:
    memory = ModelMemory(PAGE + 1)
    assert memory.size == 2 * PAGE
    assert memory.usable == []
    assert memory.write(memory.size - 2, b"ab")
    assert memory.read(memory.size - 2, 2) == b"ab"
    assert not memory.write(memory.size - 1, b"ab")
    assert memory.read(memory.size - 1, 2) is None
    assert memory.read(-1, 1) is None
    memory.close()
    memory.close()


def test_the_machine_keeps_its_first_pages() -> None:
    memory = ModelMemory()
    assert memory.usable == [(0x10000, 64 << 20)]
    memory.close()


@pytest.mark.parametrize("size", [0, 1, PAGE, 3 * PAGE + 5])
@pytest.mark.parametrize("addr", [0x20000, 0x20FFF, 0x21001])
def test_what_is_written_is_read(master: Master, addr: int, size: int) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))
    assert master.dma.write(addr, data)
    assert master.dma.read(addr, size) == data


def test_bus_mastering_off_stops_everything() -> None:
    model = Master()
    machine = plugged(model)
    assert model.dma.write(0x20000, b"x")
    machine.conf_write(AT, pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE)
    assert not model.dma.write(0x20000, b"y")
    assert model.dma.read(0x20000, 1) is None
    assert machine.memory.read(0x20000, 1) == b"x"
    machine.close()


def test_the_end_of_memory(master: Master) -> None:
    assert not master.dma.write(SIZE - PAGE, bytes([1]) * (PAGE + 1))
    assert master.dma.read(SIZE - 1, 1) == b"\1", "the first page was written"
    assert master.dma.read(SIZE - 1, 2) is None
    assert master.dma.read(SIZE, 1) is None
    assert master.dma.read((1 << 64) - 1, 1) is None


def test_messages_are_no_memory(master: Master) -> None:
    assert not master.dma.write(0xFEE0_0000, bytes(4))
    assert master.dma.read(0xFEE0_0000, 4) is None


# ---- through the unit ------------------------------------------------------------------------


@pytest.fixture
def translated() -> Iterator[tuple[Master, ModelMachine]]:
    """The page at 0x5000 is 0x30000 of memory; translation is on."""
    model = Master()
    machine = plugged(model)
    put = machine.memory.write
    assert put(0x10000, struct.pack("<QQ", 0x11001, 0))
    assert put(0x11000 + 16 * 8, struct.pack("<QQ", 0x12001, 3 << 8 | 1))
    assert put(0x12000, struct.pack("<Q", 0x13003))
    assert put(0x13000, struct.pack("<Q", 0x14003))
    assert put(0x14000 + 8 * 5, struct.pack("<Q", 0x30003))
    assert machine.unit is not None
    machine.unit.write(0x20, 8, 0x10000)
    machine.unit.write(0x18, 4, 1 << 30 | 1 << 26)
    machine.unit.write(0x18, 4, 1 << 31 | 1 << 26)
    yield model, machine
    assert machine.unit.misuse == []
    machine.close()


def test_a_model_reaches_what_its_tables_say(translated: tuple[Master, ModelMachine]) -> None:
    model, machine = translated
    assert model.dma.write(0x5010, b"hello")
    assert machine.memory.read(0x30010, 5) == b"hello"
    assert model.dma.read(0x5010, 5) == b"hello"


def test_what_came_before_a_fault_is_written(translated: tuple[Master, ModelMachine]) -> None:
    model, machine = translated
    assert not model.dma.write(0x5FFE, b"abcd")
    assert machine.memory.read(0x30FFE, 4) == b"ab\0\0"
    assert model.dma.read(0x4FFF, 2) is None
    assert machine.unit is not None
    assert machine.unit.faults.recorded == 2
    low, high = (machine.unit.read(0x220 + 8 * i, 8) for i in range(2))
    assert (low, high & 0xFFFF, high >> 32 & 0xFF) == (0x6000, 8, 5)


def test_without_bus_mastering_there_is_no_fault(translated: tuple[Master, ModelMachine]) -> None:
    model, machine = translated
    machine.conf_write(AT, pr.PCI_COMMAND_STATUS_REG, 0)
    assert not model.dma.write(0, b"x")
    assert machine.unit is not None
    assert machine.unit.faults.recorded == 0


# ---- edu -------------------------------------------------------------------------------------

SRC, DST, CNT, CMD = 0x80, 0x88, 0x90, 0x98
RUN, TO_RAM, IRQ = 1, 2, 4
BUFFER = 0x40000


class Bench:
    def __init__(self) -> None:
        self.machine = plugged(Edu(), iommu=False)
        self.bar = self.machine.bar(AT, 0)
        self.memory = self.machine.memory

    def run(self, src: int, dst: int, count: int, command: int) -> None:
        for reg, value in ((SRC, src), (DST, dst), (CNT, count), (CMD, command | RUN)):
            self.bar.write(reg, 8, value)
        assert not self.bar.read(CMD, 8) & RUN


@pytest.fixture
def edu() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.machine.close()


@pytest.mark.parametrize("size", [1, 100, 4095])
def test_edu_there_and_back(edu: Bench, size: int) -> None:
    data = bytes(i * 3 & 0xFF for i in range(size))
    edu.memory.write(0x20FF0, data)
    edu.run(0x20FF0, BUFFER, size, 0)
    edu.run(BUFFER, 0x50000, size, TO_RAM)
    assert edu.memory.read(0x50000, size + 1) == data + b"\0"
    assert edu.bar.read(0x24, 4) == 0


def test_edu_interrupts_when_it_is_done(edu: Bench) -> None:
    edu.run(0x20000, BUFFER, 1, IRQ)
    assert edu.bar.read(0x24, 4) == 0x100
    edu.bar.write(0x64, 4, 0x100)
    assert edu.bar.read(0x24, 4) == 0


def test_edu_has_28_address_bits(edu: Bench) -> None:
    edu.memory.write(0x20000, b"x")
    edu.run(0xABC0000000 | 0x20000, BUFFER + 7, 1, 0)
    edu.run(BUFFER + 7, 0x10020001, 1, TO_RAM)
    assert edu.memory.read(0x20000, 2) == b"xx"


@pytest.mark.parametrize(
    ("inside", "count"), [(BUFFER, 4096), (BUFFER + 4095, 1), (BUFFER - 1, 1), (0, 1), (BUFFER, 0)]
)
@pytest.mark.parametrize("command", [0, TO_RAM])
def test_edu_ignores_what_is_outside_its_buffer(
    edu: Bench, inside: int, count: int, command: int, caplog: pytest.LogCaptureFixture
) -> None:
    edu.memory.write(0x20000, b"\xff" * 5000)
    src, dst = (inside, 0x20000) if command else (0x20000, inside)
    with caplog.at_level(logging.WARNING):
        edu.run(src, dst, count, command)
    assert "outside its buffer" in caplog.text
    assert edu.memory.read(0x20000, 5000) == b"\xff" * 5000


def test_edu_takes_32_and_64_bits(edu: Bench) -> None:
    edu.bar.write(SRC, 8, 0x1_2345_6789)
    assert edu.bar.read(SRC, 8) == 0x1_2345_6789
    assert edu.bar.read(SRC, 4) == 0x2345_6789
    edu.bar.write(SRC, 4, 5)
    assert edu.bar.read(SRC, 8) == 5
    edu.bar.write(SRC, 2, 6)
    assert edu.bar.read(SRC, 8) == 5
    edu.bar.write(CMD, 8, TO_RAM)
    assert edu.bar.read(CMD, 8) == 0, "nothing is started"
