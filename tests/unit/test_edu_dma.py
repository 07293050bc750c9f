"""edu's driver does DMA on the model: end to end, through the guard and the model of an IOMMU."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator

import pytest

from rumpci import pcireg as pr
from rumpci.autoconf import Autoconf, Console
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_MAX
from rumpci.errors import BadRange, DriverAttachError
from rumpci.hosts import open_host
from rumpci.machines.model.machine import ModelMachine
from rumpci.supervisor.inside import Job, run
from tests.unit import edu_dma
from tests.unit.edu_dma import AT, Bench, attached

HOSTS = ["model:edu", "model:edu?iommu=off", "model:edu?scatter=3", "model:edu?iommu=off&scatter=3"]


def misuse(b: Bench) -> list[str]:
    machine = b.guard.machine
    assert isinstance(machine, ModelMachine)
    return machine.unit.misuse if machine.unit else []


@pytest.fixture(params=HOSTS)
def b(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with attached(request.param) as made:
        yield made
        assert misuse(made) == []


@pytest.fixture
def guarded() -> Iterator[Bench]:
    with attached("model:edu") as made:
        yield made
        assert misuse(made) == []


class TestDma(edu_dma.OnAnyHost): ...


class TestBehindAnIommu(edu_dma.BehindAnIommu): ...


@pytest.mark.parametrize("intr", ["msi", "intx", "shim", "poll"])
def test_however_it_interrupts(intr: str) -> None:
    with attached("model:edu", intr=intr) as made:
        edu_dma.there_and_back(made, 0, 100)
        assert made.edu.factorial(5) == 120


def test_without_an_iommu_it_writes_anywhere() -> None:
    with attached("model:edu?iommu=off") as made:
        edu_dma.without_an_iommu_it_writes_anywhere(made)


def test_more_faults_than_records(guarded: Bench) -> None:
    for i in range(20):
        guarded.stray(edu_dma.STRAY + i * 4096, 1, to_ram=True)
    faults = guarded.faults()
    assert faults
    assert len(faults) == 20 or faults[-1].lost
    guarded.stray(edu_dma.STRAY, 1, to_ram=True)
    assert len(guarded.faults()) == 1


def test_a_fault_wakes_who_waits() -> None:
    with attached("model:edu", intr="poll") as made:
        controller = made.guard.machine.interrupts
        assert not select.select([controller], [], [], 0)[0]
        made.stray(edu_dma.STRAY, 1, to_ram=True)
        assert select.select([controller], [], [], 0)[0]
        made.guard.router.service()
        assert not select.select([controller], [], [], 0)[0]
        assert len(made.faults()) == 1


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 0), (-1, 1), (0, 4096), (EDU_DMA_MAX, 1), (1, EDU_DMA_MAX), (5000, 1)]
)
def test_offsets_that_would_end_qemu(guarded: Bench, offset: int, size: int) -> None:
    with pytest.raises(BadRange, match="edu0"):
        guarded.edu.dma_write(offset, bytes(size))
    if size > 0:
        with pytest.raises(BadRange, match="edu0"):
            guarded.edu.dma_read(offset, size)


def test_detached_it_is_no_bus_master() -> None:
    with contextlib.closing(open_host("model:edu")) as host:
        with Autoconf(host) as autoconf:
            (edu,) = autoconf.attach([Edu])
            assert isinstance(edu, Edu)
            edu.dma_write(0, b"x")
            command = host.conf_read(AT, pr.PCI_COMMAND_STATUS_REG)
            assert command & pr.PCI_COMMAND_MASTER_ENABLE
        command = host.conf_read(AT, pr.PCI_COMMAND_STATUS_REG)
        assert not command & pr.PCI_COMMAND_MASTER_ENABLE
        assert host.dma() == []
        assert host.iommu() == []


def test_attach_tries_it_when_asked() -> None:
    for wanted, lines in (("on", 1), ("off", 0)):
        text: list[str] = []
        with contextlib.closing(open_host("model:edu")) as host:
            properties = {"edu": {"dma": wanted}}
            with Autoconf(host, Console(text.append), properties) as autoconf:
                autoconf.attach([Edu])
        assert "".join(text).count("edu0: DMA of 4095 bytes both ways: ok") == lines


def test_wherever_its_handler_runs() -> None:
    text: list[str] = []
    job = Job(["edu"], [Edu], "model:edu", {"edu": {"dma": "on"}})
    for seed in range(12):
        run(job, Console(text.append), seed)
    assert "".join(text).count("both ways: ok") == 12


def test_a_property_that_is_neither() -> None:
    with (
        contextlib.closing(open_host("model:edu")) as host,
        Autoconf(host, properties={"edu": {"dma": "yes"}}) as autoconf,
        pytest.raises(DriverAttachError, match="dma=yes"),
    ):
        autoconf.attach([Edu])
