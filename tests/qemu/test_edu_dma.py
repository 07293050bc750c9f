"""edu's driver does DMA on QEMU, behind QEMU's IOMMU and without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumpci.drivers.edureg import EDU_DMA_MAX
from tests.unit import edu_dma
from tests.unit.edu_dma import Bench, attached


@pytest.fixture(params=["qemu:edu", "qemu:edu?iommu=off&scatter=3"])
def b(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with attached(request.param) as made:
        yield made


@pytest.fixture
def guarded() -> Iterator[Bench]:
    with attached("qemu:edu") as made:
        yield made


@pytest.mark.parametrize(("offset", "size"), [(0, EDU_DMA_MAX), (EDU_DMA_MAX - 1, 1)])
def test_there_and_back(b: Bench, offset: int, size: int) -> None:
    edu_dma.there_and_back(b, offset, size)


def test_memory_of_its_own(b: Bench) -> None:
    edu_dma.memory_of_its_own(b)


def test_addresses_fit(b: Bench) -> None:
    edu_dma.addresses_fit(b)


@pytest.mark.parametrize("intr", ["intx", "shim", "poll"])
def test_however_it_interrupts(intr: str) -> None:
    with attached("qemu:edu", intr=intr) as made:
        edu_dma.there_and_back(made, 0, 100)


def test_nothing_that_was_not_mapped(guarded: Bench) -> None:
    edu_dma.nothing_that_was_not_mapped(guarded)


def test_only_the_direction_that_was_asked_for(guarded: Bench) -> None:
    edu_dma.only_the_direction_that_was_asked_for(guarded)


def test_without_an_iommu_it_writes_anywhere() -> None:
    with attached("qemu:edu?iommu=off") as made:
        edu_dma.without_an_iommu_it_writes_anywhere(made)
