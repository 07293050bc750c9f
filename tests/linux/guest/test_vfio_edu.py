"""The unchanged edu driver on a real /dev/vfio: registers, interrupts, DMA, wild DMA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumpci.drivers.edu import Edu
from tests.linux.binding import EDU
from tests.linux.guest import drivers
from tests.linux.guest.urls import vfio
from tests.unit import edu_dma
from tests.unit.edu_dma import Bench, attached

pytestmark = pytest.mark.machine("vfio")
URL = vfio(EDU)


@pytest.fixture
def b() -> Iterator[Bench]:
    with attached(URL) as made:
        yield made


@pytest.fixture
def guarded(b: Bench) -> Bench:
    return b


@pytest.fixture(params=["poll", "intx", "shim", "msi"])
def edu(request: pytest.FixtureRequest) -> Iterator[Edu]:
    with drivers.attached(URL, Edu, intr=request.param) as made:
        assert isinstance(made, Edu)
        yield made


def test_registers_are_plain_memory(edu: Edu) -> None:
    assert edu.ioh.mapped
    assert edu.alive(0x0F0F_1234)


def test_however_it_interrupts(edu: Edu) -> None:
    drivers.factorials(edu)


class TestDma(edu_dma.OnAnyHost): ...


class TestBehindAnIommu(edu_dma.BehindAnIommu): ...


@pytest.mark.parametrize("intr", ["intx", "shim", "poll"])
def test_dma_however_it_interrupts(intr: str) -> None:
    with attached(URL, intr=intr) as made:
        edu_dma.there_and_back(made, 0, 100)
