"""edu's driver does DMA on QEMU, behind QEMU's IOMMU and without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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


class TestDma(edu_dma.OnAnyHost): ...


class TestBehindAnIommu(edu_dma.BehindAnIommu): ...


@pytest.mark.parametrize("intr", ["intx", "shim", "poll"])
def test_however_it_interrupts(intr: str) -> None:
    with attached("qemu:edu", intr=intr) as made:
        edu_dma.there_and_back(made, 0, 100)


def test_without_an_iommu_it_writes_anywhere() -> None:
    with attached("qemu:edu?iommu=off") as made:
        edu_dma.without_an_iommu_it_writes_anywhere(made)
