"""`rumpci doctor`: what this machine can host; every finding has its remedy.

It only looks: nothing is loaded, bound or opened.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from rumpci import __version__, pcidevs
from rumpci.supervisor.isolate import has_user_namespaces
from rumpci.tools.common import json_option, print_json

_APT = "apt-get install --no-install-recommends"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, what was found, and what to do if it is not ok."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


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
    click.echo(f"{'ok ' if finding.ok else '-- '} {finding.what:<18} {finding.found}")
    if not finding.ok and finding.remedy:
        click.echo(f"{'':22} {finding.remedy}")


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


def _iommu(root: Path) -> Iterator[Finding]:
    groups = root / "sys/kernel/iommu_groups"
    count = len(list(groups.iterdir())) if groups.is_dir() else 0
    yield Finding(
        "IOMMU",
        count > 0,
        f"{count} groups" if count else "off, or none: no group is listed",
        "switch it on in the firmware (VT-d, AMD-Vi) and boot with intel_iommu=on",
    )


def _vfio(root: Path) -> Iterator[Finding]:
    directory = root / "dev/vfio"
    if not (directory / "vfio").exists():
        yield Finding("VFIO", False, "no /dev/vfio/vfio", "run `modprobe vfio-pci` as root")
        return
    nodes = [node for node in sorted(directory.iterdir()) if node.name.isdigit()]
    if not nodes:
        yield Finding("VFIO", False, "no device is bound to vfio-pci", "bind one to vfio-pci")
    for node in nodes:
        usable = os.access(node, os.R_OK | os.W_OK)
        found = "can be opened" if usable else "may not be opened by this user"
        yield Finding(f"VFIO group {node.name}", usable, found, f"run `chown $USER {node}` as root")


def _uio(root: Path) -> Iterator[Finding]:
    nodes = sorted((root / "sys/class/uio").glob("uio*"))
    if not nodes:
        remedy = "run `modprobe uio_pci_generic` as root and bind a device to it"
        yield Finding("UIO", False, "no /dev/uio*", remedy)
    for node in nodes:
        device = root / "dev" / node.name
        usable = os.access(device, os.R_OK | os.W_OK)
        found = "can be opened" if usable else "may not be opened by this user"
        yield Finding(f"UIO {node.name}", usable, found, f"run `chown $USER {device}` as root")
    if nodes:
        yield Finding(
            "UIO and DMA",
            False,
            "nothing keeps a device that uio: drives from any memory of this computer",
            "where there is an IOMMU, bind it to vfio-pci and use vfio:",
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
    lsm = root / "sys/kernel/security/lsm"
    has = lsm.is_file() and "landlock" in lsm.read_text()
    yield Finding(
        "files and calls",
        False,
        f"Landlock {'is in the kernel and not used' if has else 'is not in the kernel'}, and "
        "system calls are not filtered: a driver opens what its user may",
        "use `rumpci run --user NAME` as root, with a user that owns nothing",
    )


Check = Callable[[Path], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (_rumpci, _qemu, _names, _iommu, _vfio, _uio, _isolation)
"""Each takes the root of the file system to look at."""
