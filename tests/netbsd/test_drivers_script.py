"""netbsd/tests/drivers.py does what it says: here on nodes that a guard stands behind."""

from __future__ import annotations

import contextlib
import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from rumpci.errors import NoSuchDevice
from rumpci.guard import Guard
from rumpci.machines.model.edu import Edu
from rumpci.machines.model.machine import ModelMachine
from tests.netbsd.build import ROOT
from tests.pci4_node import noded


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "netbsd/tests/drivers.py"), run_name="script")


@pytest.fixture
def url() -> Iterator[str]:
    with (
        contextlib.closing(Guard(ModelMachine([Edu()], banks=4))) as guard,
        noded(guard) as made,
    ):
        yield made


@pytest.mark.parametrize(
    ("attempt", "lines"), [("edu", 4), ("registers", 1), ("waiting", 2), ("refusals", 12)]
)
def test_all_is_well(
    script: dict[str, Any], url: str, attempt: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    script[attempt](url)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if not line.startswith(("ok  ", "     "))] == []
    assert sum(line.startswith("ok  ") for line in said) == lines


def test_what_is_not_so_is_told(script: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    script["check"](False, "this")
    assert capsys.readouterr().out == "FAIL this\n"
    assert script["check"].__globals__["failed"] == 1

    def other() -> None:
        raise NoSuchDevice("this", "that", "nothing")

    assert script["refused"](NoSuchDevice, other)
    assert not script["refused"](ValueError, other)
    assert not script["refused"](NoSuchDevice, lambda: None)
