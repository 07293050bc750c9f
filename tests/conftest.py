"""What every test has: a processor of its own, so that none inherits another's handlers.

And a SIGINT that interrupts: a shell starts what runs in its background with it ignored.

Tests marked `soak` can do much more of the same: `./dev soak` has them do so, which takes
minutes, and say what they measured.

No time limit of Hypothesis fails a test: machines are shared and noisy.  Where CI is set, the
examples are the same in each run.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from rumpci.cpu import Cpu, own_cpu

signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile(
    "rumpci",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("rumpci")

SOAK_S = 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="tests that can last, at full length")
    parser.addoption("--all", action="store_true", help="guest tests on every kernel")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        for item in items:
            item.add_marker(pytest.mark.timeout(SOAK_S))


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether this is a run at full length."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(autouse=True)
def cpu() -> Iterator[Cpu]:
    with own_cpu() as made:
        yield made
