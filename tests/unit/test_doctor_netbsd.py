"""`rumpci doctor` about the nodes of a NetBSD in a folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from unittest import mock

import pytest

from rumpci.guard import Guard
from rumpci.hosts import pci4
from rumpci.machines.model.edu import Edu
from rumpci.machines.model.machine import ModelMachine
from rumpci.tools import doctor_netbsd
from rumpci.tools.finding import Finding
from tests.pci4_node import FakeNode
from tests.pci4_served import served


def nodes(root: Path) -> list[Finding]:
    return list(doctor_netbsd.nodes(root))


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    made = tmp_path / "dev"
    made.mkdir()
    return made


def test_without_a_node(dev: Path) -> None:
    for name in ("pci0", "pci", "upcix"):  # files, or others' names
        (dev / name).touch()
    (dev / "pciX").symlink_to("/dev/null")
    (found,) = nodes(dev.parent)
    assert (found.ok, "MAKEDEV" in found.remedy) == (False, True)


def test_a_node_that_speaks_nothing(dev: Path) -> None:
    (dev / "pci0").symlink_to("/dev/null")
    (found,) = nodes(dev.parent)
    assert (found.what, found.ok) == ("pci4:/dev/pci0", False)
    assert "does not speak" in found.found


def test_a_node_that_may_not_be_opened(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dev / "upci3").symlink_to("/dev/null")
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = nodes(dev.parent)
    assert (found.ok, "chown" in found.remedy) == (False, True)


def test_nodes_tell_how_much_is_free(dev: Path) -> None:
    with (
        contextlib.closing(Guard(ModelMachine([Edu(), Edu()]))) as guard,
        served(guard) as url,
        mock.patch.object(pci4, "Node", FakeNode),
    ):
        (dev / "pci0").symlink_to("/dev/null")
        (dev / "pci0.socket").symlink_to(url.removeprefix("pci4:"))
        guard.claim(guard.functions()[1].address, "somebody")
        (found,) = nodes(dev.parent)
    assert found == Finding("pci4:/dev/pci0", True, "1 functions can be claimed")


def test_dma_is_not_kept_from_anything() -> None:
    (found,) = doctor_netbsd.iommu(Path("/"))
    assert not found.ok
    assert found.remedy
