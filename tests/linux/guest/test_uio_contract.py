"""The contract of every host, on two edus that a real uio_pci_generic has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumpci.host import Host
from tests.contract.test_features import *  # noqa: F403
from tests.contract.test_host_contract import *  # noqa: F403  # every test of it
from tests.linux.binding import COM, E1000E, EDU, EDU_2
from tests.pci4_served import opened

pytestmark = pytest.mark.machine("uio")


@pytest.fixture  # type: ignore[no-redef]
def host() -> Iterator[Host]:
    with opened(f"uio:{EDU},{EDU_2},{COM},{E1000E}") as made:
        yield made
