"""docs/pci4-protocol.md names every operation, structure, field and limit, and none besides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rumpci.pci4 import abi, cheader
from rumpci.pci4.wire import Message

PAGE = (Path(__file__).parents[2] / "docs/pci4-protocol.md").read_text()
OPERATIONS = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| `(\w+)` \| (.+?) \| (.+) \|$", PAGE, re.M)
STRUCTURES = dict(re.findall(r"^\| `([A-Z][a-z]\w+)` \| (\d+ \|.*) \|$", PAGE, re.M))


def test_every_operation_is_there_with_its_number_and_structure() -> None:
    told = {(name, int(number), structure) for name, number, structure, *_ in OPERATIONS}
    assert told == {(op.name, int(op), kind.__name__) for op, kind in abi.STRUCTURES.items()}
    assert len(OPERATIONS) == len(abi.Op)
    assert all(who.strip() and text.strip() for *_, who, text in OPERATIONS)


def test_every_structure_is_there() -> None:
    assert STRUCTURES.keys() == {kind.__name__ for kind in cheader.structures()}


@pytest.mark.parametrize("kind", cheader.structures(), ids=lambda kind: kind.__name__)
def test_its_row_has_its_size_and_every_field(kind: type[Message]) -> None:
    size, _, text = STRUCTURES[kind.__name__].partition(" |")
    assert int(size) == kind.LAYOUT.size
    named = set(re.findall(r"`(\w+)`", text))
    assert named == {field.name for field in kind.FIELDS if field.name != "pad"}


def test_every_limit_is_told() -> None:
    limits = PAGE.partition("## Limits")[2].partition("##")[0]
    for name, (value, _) in cheader.limits().items():
        assert f"`{name}`" in limits
        if name not in ("MAGIC", "VERSION"):
            assert re.search(rf"`{name}`\s+{value}\b|\b{value} (up|in|of)|\s{value}\s", limits)
    assert f"{abi.MAGIC:#x}" in PAGE
    assert f"number is {abi.VERSION}." in " ".join(PAGE.split())


def test_every_control_is_told() -> None:
    for control in abi.Control:
        assert f"`{control.name}` {control.value}" in PAGE


def test_what_is_said_of_a_claim_is_told() -> None:
    for flag in abi.Holding:
        assert f"`{flag.name}` {flag.value}" in PAGE


def test_it_can_be_read() -> None:
    lines = PAGE.splitlines()
    assert len(lines) < 400
    assert all(len(line) <= 104 for line in lines if not line.startswith("|"))
