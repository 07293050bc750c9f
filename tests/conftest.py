"""What every test has: a processor of its own, so that none inherits another's handlers."""

from collections.abc import Iterator

import pytest

from rumpci.cpu import Cpu, own_cpu


@pytest.fixture(autouse=True)
def cpu() -> Iterator[Cpu]:
    with own_cpu() as made:
        yield made
