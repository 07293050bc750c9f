"""What every test in a guest has: the kernel's series, as a part of its name."""

import pytest

from tests.linux.plugin import chosen


@pytest.hookimpl(trylast=True)  # so that a name does not depend on what else is collected
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("series", chosen(metafunc.config), indirect=True, scope="session")


@pytest.fixture(autouse=True, scope="session")
def series(request: pytest.FixtureRequest) -> str:
    """The kernel's series: 6.1."""
    return str(request.param)
