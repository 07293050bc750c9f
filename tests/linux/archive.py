"""Debian packages as files, by apt, for any user: nothing is installed."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CACHE = Path(__file__).parents[2] / ".cache" / "linux"
"""Everything that is fetched and made of it; git ignores it, and it may be deleted at any time."""

APT_SECONDS = 300
"""What one run of apt may take: an index is 10 MB, a kernel 70 MB."""


class Unavailable(Exception):
    """What was wanted cannot be had here: the text says why, and which command would get it."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time makes `name` in the cache; the others wait and find it made."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def found_or_made(name: str, find: Callable[[], T], make: Callable[[], object]) -> T:
    """What `find` finds of `name` in the cache; if it raises Unavailable, `make` makes it first."""
    with locked(name):
        try:
            return find()
        except Unavailable:
            make()
    return find()


def fetch(pattern: str) -> Path:
    """The newest package whose name is `pattern`, a regular expression: its .deb in the cache.

    The archive is the one that this machine's apt is set up for, and apt checks the signatures.
    Raises Unavailable when there is no apt, no such package, or no way to the archive.
    """
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing: Debian's kernels are fetched with it")
    failures = []
    for prepare in (_system, _private):
        try:
            return _download(pattern, prepare())
        except Unavailable as failure:
            failures.append(str(failure))
    raise Unavailable("; then, with a new index: ".join(failures))


def _system() -> Sequence[str]:
    """The index that this machine has."""
    return ("-o", "APT::Sandbox::User=root")


def _private() -> Sequence[str]:
    """An index of our own, which needs no root, made now."""
    state, cache = CACHE / "apt" / "state", CACHE / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = (
        *_system(),
        *("-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}"),
        *("-o", "Acquire::Languages=none", "-o", "APT::Update::Post-Invoke::="),
    )
    _run(["apt-get", "-qq", *options, "update"])
    return options


def _download(pattern: str, options: Sequence[str]) -> Path:
    names = _run(["apt-cache", *options, "pkgnames"]).split()
    found = sorted((n for n in names if re.fullmatch(pattern, n)), key=_numbers)
    if not found:
        raise Unavailable(f"this machine's apt knows no package {pattern}")
    folder = CACHE / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "-qq", *options, "download", found[-1]], folder)
    return max(folder.glob(f"{found[-1]}_*.deb"), key=lambda deb: deb.stat().st_mtime)


def _numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", name)]


def _run(command: list[str], folder: Path | None = None) -> str:
    """Standard output.  Raises Unavailable with what the command said."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=APT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{' '.join(command)}: no end after {APT_SECONDS} s") from late
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise Unavailable(f"{command[0]} {command[-1]}: {said or done.returncode}")
    return done.stdout
