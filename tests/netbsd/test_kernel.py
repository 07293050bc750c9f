"""The NetBSD side on a kernel that was built elsewhere, and how netbsd/tests/run judges it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

RUN = Path(__file__).parents[2] / "netbsd/tests/run"
KERNEL = os.environ.get("RUMPCI_NETBSD_KERNEL", "")
ROOT = os.environ.get("RUMPCI_NETBSD_ROOT", "")

GOOD = (
    "boot\nRUN edu /dev/pci0\nok   /dev/pci0: x\nEND edu /dev/pci0 ok\nALL 1 programs, 0 failed\n"
)


@pytest.mark.skipif(
    not (KERNEL and ROOT),
    reason="no NetBSD kernel: RUMPCI_NETBSD_KERNEL=KERNEL RUMPCI_NETBSD_ROOT=PROGRAMS-OR-IMAGE "
    "./dev test tests/netbsd/test_kernel.py (docs/netbsd.md, On a kernel)",
)
@needs.program("qemu-system-x86_64", "qemu-system-x86")
@pytest.mark.timeout(3600)
def test_on_a_kernel() -> None:
    """Everything of netbsd/tests; its lines are the test's output."""
    ran = subprocess.run([sys.executable, RUN, KERNEL, ROOT], check=False)
    assert ran.returncode == 0


def _judged(scratch: Path, console: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What `run` says of a machine that prints this."""
    (scratch / "console").write_text(console)
    machine = scratch / "machine"
    machine.write_text(f"#!/bin/sh\ncat {scratch}/console\n")
    machine.chmod(0o755)
    root = scratch / "root.img"
    root.touch()
    return subprocess.run(
        [sys.executable, RUN, "--qemu", machine, *more, "kernel", root],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("console", "status"),
    [
        (GOOD, 0),
        (GOOD.replace("0 failed", "1 failed"), 1),
        (GOOD.replace("1 programs", "0 programs"), 2),
        (GOOD[: GOOD.index("ALL")], 1),
        ("[   3.14] panic: LOCKDEBUG: Mutex error\n" + GOOD, 1),
        ("Mutex error: _mutex_init,366: already initialized\n" + GOOD, 1),
        ("[   3.14] fatal page fault in supervisor mode\n" + GOOD, 1),
        ('panic: kernel diagnostic assertion "x" failed\n' + GOOD, 1),
        ("", 1),
    ],
)
def test_what_the_console_says_is_judged(tmp_path: Path, console: str, status: int) -> None:
    assert _judged(tmp_path, console).returncode == status


def test_the_tests_lines_are_told_and_all_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    told = _judged(tmp_path, GOOD, "--log", str(log)).stdout
    assert told == GOOD.removeprefix("boot\n")
    assert log.read_text() == GOOD


@needs.program("mke2fs", "e2fsprogs")
def test_a_directory_of_programs_becomes_a_root(tmp_path: Path) -> None:
    """`runall` is its /sbin/init; without it there is nothing to start."""
    programs = tmp_path / "programs"
    programs.mkdir()
    machine = tmp_path / "machine"
    machine.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nprintf "ALL 1 x, 0 failed\\n"\n')
    machine.chmod(0o755)
    command = [sys.executable, str(RUN), "--qemu", str(machine), "kernel", str(programs)]
    missing = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert missing.returncode != 0
    assert "no program `runall`" in missing.stderr
    (programs / "runall").write_text("")
    assert subprocess.run(command, check=False).returncode == 0
    asked = (tmp_path / "asked").read_text()
    assert "-kernel kernel" in asked
    assert "root.img" in asked
