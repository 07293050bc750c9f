"""What the tests on QEMU ask for by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from .nvme_faulty import MIB, dice
from .runs import AtTerminal, Begin, Run, Terminal

C = TypeVar("C", Run, Terminal)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of 4 MiB of bytes that differ."""
    path = tmp_path / "image"
    path.write_bytes(dice(1).randbytes(4 * MIB))
    return path


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a `rumpci run` with these arguments, which ends with the test."""
    yield from _closing(Run)


@pytest.fixture
def at_terminal() -> Iterator[AtTerminal]:
    """The same, at a terminal."""
    yield from _closing(Terminal)


def _closing(make: Callable[..., C]) -> Iterator[Callable[..., C]]:
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(contextlib.closing(make(*arguments)))
