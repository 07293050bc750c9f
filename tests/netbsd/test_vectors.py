"""The shared vectors: the guard and the core both pass every one of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netbsd import vector_cases, vector_shims, vectors
from tests.netbsd.core import Core

FILES = sorted(path.stem for path in vectors.VECTORS.glob("*.json"))
REQUESTS = [name for name in FILES if name != "shim"]
CASES = {name: vectors.load(name) for name in FILES}


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is refused is no news."""
    with caplog.at_level(logging.ERROR, "rumpci"):
        yield


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with Core() as made:
        yield made


def test_the_files_have_the_cases() -> None:
    """And every rule has some that are refused, and some that are not."""
    assert set(FILES) == {"shim", *vector_cases.REQUESTS}
    assert [(c["name"], c["program"], c["reads"]) for c in CASES["shim"]["cases"]] == [
        (name, program.hex(), reads) for name, program, reads in vector_shims.shims()
    ], "python -m tests.netbsd.vectors"
    assert CASES["shim"]["windows"] == vector_shims.WINDOWS
    for name, (machine, cases) in vector_cases.REQUESTS.items():
        assert CASES[name]["machine"] == machine
        assert {c["name"]: c["do"] for c in CASES[name]["cases"]} == cases


def test_shims_with_the_guard() -> None:
    windows = vectors.limits_of(CASES["shim"]["windows"])
    for case in CASES["shim"]["cases"]:
        found = vectors.shim_by_guard(windows, bytes.fromhex(case["program"]), case["reads"])
        assert vectors.shim_answer(found) == case["answer"], case["name"]


def test_shims_with_the_core(core: Core) -> None:
    windows = vectors.limits_of(CASES["shim"]["windows"])
    for case in CASES["shim"]["cases"]:
        found = core.shim(bytes.fromhex(case["program"]), windows, case["reads"])
        assert vectors.shim_answer(found) == case["answer"], case["name"]


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_with_the_guard(name: str) -> None:
    machine = CASES[name]["machine"]
    for case in CASES[name]["cases"]:
        _compare(case, vectors.by_guard(machine, case["do"]))


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_with_the_core(name: str) -> None:
    machine = CASES[name]["machine"]
    for case in CASES[name]["cases"]:
        _compare(case, vectors.by_core(machine, case["do"], case["answers"]))


def _compare(case: Any, found: list[Any]) -> None:
    for step, answer, expected in zip(case["do"], found, case["answers"], strict=True):
        assert answer == expected, f"{case['name']}: {step}"
