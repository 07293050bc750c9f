"""The other unchanged drivers on a real /dev/vfio: nvme, com on I/O ports, MSI-X of e1000e."""

from __future__ import annotations

from pathlib import Path

import pytest

from rumpci.autoconf import Driver
from rumpci.load import load_classes
from tests.linux.binding import COM, E1000E, NVME
from tests.linux.guest import drivers
from tests.linux.guest.urls import vfio

pytestmark = pytest.mark.machine("vfio")
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("intr", ["poll", "intx", "msix"])
def test_nvme_keeps_what_was_written(intr: str) -> None:
    drivers.keeps_what_was_written(vfio(NVME), intr)


def test_the_image_by_its_sha256() -> None:
    drivers.image_goes_there_and_back(vfio(NVME))


def test_com_echoes_in_its_own_loop() -> None:
    drivers.com_speaks_on_ports(vfio(COM))


def test_five_vectors_of_msix() -> None:
    (driver,) = load_classes(str(EXAMPLES / "msix.py"), Driver)
    with drivers.attached(vfio(E1000E), driver) as made:
        made.run()
