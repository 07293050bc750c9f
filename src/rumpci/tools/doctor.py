"""`rumpci doctor`: what this machine can host; every finding has its remedy.

It only looks: nothing is loaded, bound or claimed.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from rumpci import __version__, _native, pcidevs
from rumpci.tools import doctor_netbsd
from rumpci.tools.common import json_option, print_json
from rumpci.tools.finding import Check, Finding

__all__ = ["CHECKS", "Check", "Finding", "command"]

_APT = "apt-get install --no-install-recommends"


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Say what this machine can host, and what to do about the rest."""
    findings = [finding for check in CHECKS for finding in check(Path("/"))]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    usable = ("qemu: hosts", doctor_netbsd.NODES)
    return 0 if any(f.ok for f in findings if f.what.startswith(usable)) else 1


def _print(finding: Finding) -> None:
    click.echo(f"{'ok ' if finding.ok else '-- '} {finding.what:<23} {finding.found}")
    if not finding.ok and finding.remedy:
        click.echo(f"{'':27} {finding.remedy}")


def _rumpci(root: Path) -> Iterator[Finding]:
    del root
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    yield Finding("rumpci", True, f"{__version__} on {system}")


def _model(root: Path) -> Iterator[Finding]:
    del root
    yield Finding("model: hosts", True, "always there: devices written in Python")


def _qemu(root: Path) -> Iterator[Finding]:
    del root
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        yield Finding("qemu: hosts", False, "no QEMU", f"run `{_APT} qemu-system-x86`")
        return
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    lines = words.stdout.splitlines() or ["no version"]
    yield Finding("qemu: hosts", words.returncode == 0, f"{program}, {lines[0]}")


def _names(root: Path) -> Iterator[Finding]:
    del root
    yield Finding(
        "device names",
        pcidevs.available(),
        "pci.ids" if pcidevs.available() else "no pci.ids: devices are shown by number",
        f"run `{_APT} pci.ids`",
    )


def native(root: Path) -> Iterator[Finding]:
    """Whether what is fast was compiled."""
    del root
    there = not (_native.__file__ or "").endswith(".py")
    yield Finding(
        "native modules",
        there,
        "compiled: a mapped register is one instruction"
        if there
        else "none: registers and memory go through Python's memoryview, which is slower; "
        "one access is one access all the same",
        "install rumpci with a C compiler; only qemu:, vfio:, rump and sockets need them",
    )


def _checks() -> tuple[Check, ...]:
    if sys.platform != "linux":
        return (_rumpci, native, doctor_netbsd.nodes, doctor_netbsd.iommu)
    from rumpci.tools import doctor_apart, doctor_iommu, doctor_linux

    return (
        _rumpci,
        _model,
        native,
        _qemu,
        _names,
        doctor_iommu.iommu,
        doctor_iommu.groups,
        doctor_iommu.noiommu,
        doctor_linux.modules,
        doctor_linux.vfio,
        doctor_linux.uio,
        doctor_linux.memlock,
        doctor_linux.hugepages,
        doctor_linux.lockdown,
        doctor_apart.isolation,
    )


CHECKS = _checks()
"""What this system has to be looked at for."""
