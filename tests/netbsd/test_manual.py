"""upci(4): the manual page names every operation, and is good mdoc."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from tests.netbsd.build import ROOT

PAGE = ROOT / "netbsd/share/man/man4/upci.4"
HEADER = ROOT / "netbsd/sys/dev/pci/pci4_abi.h"
NEEDS = "no mdoc: apt-get install --no-install-recommends mandoc"


def command() -> list[str]:
    """What checks mdoc, and says nothing of a good page.  Skips without any."""
    if found := shutil.which("mandoc"):
        return [found, "-Tlint", "-Wwarning", str(PAGE)]
    if found := shutil.which("groff"):
        return [found, "-mdoc", "-ww", "-Tascii", "-z", str(PAGE)]
    pytest.skip(NEEDS)


def test_it_is_good_mdoc() -> None:
    done = subprocess.run(command(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_operation_is_there_with_its_structure() -> None:
    structures = dict(re.findall(r"PCI4_IOC_(\w+) +_IOWR\('p', \d+, struct (\w+)\)",
                                 HEADER.read_text()))  # fmt: skip
    assert set(structures) == {op.name for op in Op}
    items = [line for line in PAGE.read_text().splitlines() if line.startswith(".It Dv PCI4")]
    told = dict[str, str]()
    for item in items:
        kinds = re.findall(r"Vt struct (\w+)", item)
        names = re.findall(r"PCI4_IOC_(\w+)", item)
        told |= dict(zip(names, kinds if len(kinds) > 1 else kinds * len(names), strict=True))
    assert told == structures


def test_its_numbers_are_the_protocols() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"up to {abi.ACCESSES} of them in order" in text
    for name in re.findall(r"\b(PCI4_(?!IOC)\w+)", text):
        assert f" {name}" in HEADER.read_text()


def test_the_examples_structures_have_these_fields() -> None:
    example = PAGE.read_text().partition(".Bd -literal")[2].partition(".Ed")[0]
    kinds = {kind.__name__.lower(): kind for kind in abi.STRUCTURES.values()}
    for name, fields in re.findall(r"struct pci4_(\w+) \w+ = \{([^}]*)\}", example):
        kind = kinds[name.replace("_", "")]
        assert set(re.findall(r"\.(\w+) =", fields)) <= set(kind.OFFSETS)
