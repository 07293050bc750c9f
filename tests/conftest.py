"""What every test has: a processor of its own, so that none inherits another's handlers.

And a SIGINT that interrupts: a shell starts what runs in its background with it ignored.
"""

import signal
from collections.abc import Iterator

import pytest

from rumpci.cpu import Cpu, own_cpu

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="guest tests on every kernel")


@pytest.fixture(autouse=True)
def cpu() -> Iterator[Cpu]:
    with own_cpu() as made:
        yield made
