"""`rumpci doctor`: what this machine can host; every finding has its remedy.

It only looks: nothing is loaded, bound or opened.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from rumpci import __version__, pcidevs
from rumpci.supervisor import landlock, seccomp
from rumpci.supervisor.isolate import has_user_namespaces
from rumpci.tools import doctor_iommu, doctor_linux
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
    return 0 if any(f.ok for f in findings if f.what == "qemu: hosts") else 1


def _print(finding: Finding) -> None:
    click.echo(f"{'ok ' if finding.ok else '-- '} {finding.what:<23} {finding.found}")
    if not finding.ok and finding.remedy:
        click.echo(f"{'':27} {finding.remedy}")


def _rumpci(root: Path) -> Iterator[Finding]:
    del root
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    yield Finding("rumpci", True, f"{__version__} on {system}")
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


def _isolation(root: Path) -> Iterator[Finding]:
    there = has_user_namespaces(root)
    yield Finding(
        "drivers apart",
        there,
        "user namespaces: a driver's process cannot open what rumpci and QEMU have open"
        if there
        else "no user namespaces: a driver's process may trace those of the same user",
        "raise user.max_user_namespaces with sysctl, or use `rumpci run --user NAME` as root",
    )
    yield from _confinement()


def _confinement() -> Iterator[Finding]:
    """Of the kernel that runs: a file system cannot tell what it has."""
    has = landlock.version()
    yield Finding(
        "drivers' files",
        has > 0,
        f"Landlock {has}: a driver reads Python, rumpci and its own directory, and writes nothing"
        if has
        else "no Landlock: a driver opens what its user may",
        "boot Linux 5.13 or later with landlock in lsm=, or use `rumpci run --user NAME` as root",
    )
    missing = seccomp.missing()
    yield Finding(
        "drivers' calls",
        not missing,
        f"{missing}: a driver makes any system call"
        if missing
        else "seccomp: a driver executes nothing, has no network and signals nobody else",
        f"run `{_APT} libseccomp2`, on a kernel with CONFIG_SECCOMP_FILTER",
    )


CHECKS: tuple[Check, ...] = (
    _rumpci,
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
    _isolation,
)
