"""The contract of every host, on two edus of a real /dev/vfio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumpci.host import Host
from tests.contract.test_features import *  # noqa: F403
from tests.contract.test_host_contract import *  # noqa: F403  # every test of it
from tests.linux.binding import COM, E1000E, EDU, EDU_2
from tests.linux.guest.urls import vfio
from tests.pci4_served import opened

pytestmark = pytest.mark.machine("vfio")


@pytest.fixture  # type: ignore[no-redef]
def host() -> Iterator[Host]:
    with opened(vfio(EDU, EDU_2, COM, E1000E)) as made:
        yield made
