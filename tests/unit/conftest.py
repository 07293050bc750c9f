"""Both ends of pci(4), for the tests that ask for them by name: pci4served.py, pci4_fake.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.guard import Guard
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.server import Server
from tests.unit.pci4_fake import Fake, fake_guard, opened
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


# ---- a client, and a server that is the test's ------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with fake_guard(tmp_path / "pci0") as made:
        yield made


@pytest.fixture
def host(fake: Fake) -> Iterator[Pci4Host]:
    with opened(fake) as made:
        yield made
