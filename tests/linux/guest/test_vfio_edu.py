"""The unchanged edu driver on a real /dev/vfio: registers, interrupts, DMA, wild DMA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_DMA_MAX
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


@pytest.mark.parametrize(("offset", "size"), [(0, EDU_DMA_MAX), (EDU_DMA_MAX - 1, 1)])
def test_there_and_back(b: Bench, offset: int, size: int) -> None:
    edu_dma.there_and_back(b, offset, size)


def test_memory_of_its_own(b: Bench) -> None:
    edu_dma.memory_of_its_own(b)


def test_addresses_fit(b: Bench) -> None:
    edu_dma.addresses_fit(b)


@pytest.mark.parametrize("intr", ["intx", "shim", "poll"])
def test_dma_however_it_interrupts(intr: str) -> None:
    with attached(URL, intr=intr) as made:
        edu_dma.there_and_back(made, 0, 100)


def test_nothing_that_was_not_mapped(b: Bench) -> None:
    edu_dma.nothing_that_was_not_mapped(b)


def test_only_the_direction_that_was_asked_for(b: Bench) -> None:
    edu_dma.only_the_direction_that_was_asked_for(b)
