"""A served guard and its clients (pci4served.py), for the tests that ask for them by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.guard import Guard
from rumpci.pci4.server import Server
from tests.unit.pci4raw import Raw, serving
from tests.unit.pci4served import made_guard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pci0"


@pytest.fixture
def guard() -> Guard:
    return made_guard()


@pytest.fixture
def server(guard: Guard, path: Path) -> Iterator[Server]:
    with serving(guard, path) as server:
        yield server


@pytest.fixture
def raw(server: Server, path: Path) -> Iterator[Raw]:
    with Raw(path) as raw:
        yield raw


@pytest.fixture
def other(server: Server, path: Path) -> Iterator[Raw]:
    with Raw(path) as other:
        yield other
