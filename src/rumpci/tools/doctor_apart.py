"""`rumpci doctor` about drivers in a process of their own (docs/run.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rumpci.supervisor import landlock, seccomp
from rumpci.supervisor.isolate import has_user_namespaces
from rumpci.tools.finding import Finding

_APT = "apt-get install --no-install-recommends"


def isolation(root: Path) -> Iterator[Finding]:
    """What a driver's process can be kept from."""
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
