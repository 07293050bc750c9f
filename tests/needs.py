"""What a test needs, as a mark: where it is missing, the reason says what would provide it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest


def found(program: str) -> str | None:
    """Where a program is; /usr/sbin is not in every user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing(program: str, package: str) -> str | None:
    """Why a program cannot be run, and the command that provides it; None: it can."""
    if found(program):
        return None
    return f"{program} is missing: apt-get install --no-install-recommends {package}"


def program(name: str, package: str) -> pytest.MarkDecorator:
    """The test runs a program."""
    why = missing(name, package)
    return pytest.mark.skipif(why is not None, reason=why or "")


_COMPILER = ("cc", "gcc libc6-dev")
compiler = program(*_COMPILER)


def cc() -> str:
    """The system's compiler.  Skips without one."""
    if why := missing(*_COMPILER):
        pytest.skip(why)
    return _COMPILER[0]


def file(path: Path, package: str) -> pytest.MarkDecorator:
    """The test reads a file of a Debian package."""
    return pytest.mark.skipif(
        not path.exists(),
        reason=f"{path} is missing: apt-get install --no-install-recommends {package}",
    )


def open_to_all(path: Path) -> bool:
    """Whether another user may pass through all of a directory's parents."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can be another user: sudo ./dev test -k NAME-OF-THE-TEST"
)
user = pytest.mark.skipif(
    os.geteuid() == 0, reason="root may use everything: run ./dev test as an ordinary user"
)
open_tmp = pytest.mark.skipif(
    not open_to_all(Path(tempfile.gettempdir()) / "x"),
    reason="no other user reaches the temporary directory: chmod o+x it and its parents",
)
