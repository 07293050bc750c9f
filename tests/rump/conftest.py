"""What the tests of rump kernels ask for by name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.rump import needs
from tests.rump.scene import Player

HERE = Path(__file__).parent
CC = ("cc", "-shared", "-fPIC", "-g", "-O1", "-Wall", "-Wextra", "-Werror")
SOURCES = {
    "rumpuser": ["user.c"],
    "rump": ["rump.c"],
    "rumpdev": ["dev.c"],
    "rumpdev_pci": ["pci.c", "theirs.c", "calls.c", "dmacalls.c", "intrcalls.c"],
}


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of libraries that play a rump kernel (stub/); its drivers are the test's."""
    folder = tmp_path_factory.mktemp("stub")
    for name, files in SOURCES.items():
        sources = [str(HERE / "stub" / file) for file in files]
        # the call of a driver is its last: its frame has to be there to be named
        command = [*CC, "-fno-optimize-sibling-calls", "-o", str(folder / f"lib{name}.so")]
        subprocess.run([*command, *sources], check=True)
    return folder


@pytest.fixture
def play(stub: Path, tmp_path: Path) -> Player:
    """Plays a function of the test's module in a process that has the stub's rump kernel."""
    return Player(str(stub), tmp_path)


@pytest.fixture
def rump(tmp_path: Path) -> Player:
    """Plays a function of the test's module in a process that has a rump kernel of NetBSD's."""
    return Player(needs.LIB, tmp_path / "play")
