"""What a driver's process gives up once its interpreter runs, before any driver is loaded.

Landlock takes the files that it has no need of, seccomp the system calls.  Where the kernel
or libseccomp is missing, so is that part, and `rumpci doctor` says it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import rumpci
from rumpci.errors import DriverError
from rumpci.supervisor import landlock, seccomp

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/proc/self", "/sys/devices/system/cpu", "/dev/zero", "/dev/random",
    "/dev/urandom", "/etc/group", "/etc/inputrc", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd", "/etc/terminfo",
)  # fmt: skip
"""What Python and the C library read, and that says nothing of the user."""
_HOMES = Path("/home")


def confine(files: Iterable[Path], path: Iterable[str], writes: Sequence[str] = ()) -> None:
    """Give up files and system calls.

    What is read from now on: the interpreter, rumpci, the directories of `files` (the
    drivers') and of `path` (sys.path).  Below `writes` all may be changed.  Raises
    DriverError (EIO) if the kernel has what it takes and refuses.
    """
    has = landlock.version()
    try:
        if has:
            landlock.restrict(_rules(files, path, writes))
        if not seccomp.missing():
            seccomp.restrict(signals=has < landlock.SIGNALS_SINCE)
    except OSError as error:
        raise DriverError(
            "confining a driver's process", str(error), "see `rumpci doctor`, or use --in-process"
        ) from error


def _rules(
    files: Iterable[Path], path: Iterable[str], writes: Iterable[str]
) -> Iterator[tuple[Path, int]]:
    """Every path with what may be done beneath it."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    for name in {*_SYSTEM, *prefixes, str(Path(rumpci.__file__).parent)}:
        yield Path(name), landlock.READ
    imported = {Path(entry or ".").resolve() for entry in path}
    for place in imported | {file.resolve().parent for file in files}:
        yield from _place(place)
    yield Path(os.devnull), landlock.CHANGE
    for name in writes:
        yield Path(name), landlock.CHANGE


def _place(place: Path) -> Iterator[tuple[Path, int]]:
    """What is read of a directory of modules: all, unless it has more than a project in it."""
    if not is_wide(place):
        yield place, landlock.READ
        return
    yield place, landlock.READ_DIR  # the importer lists it
    for module in place.glob("*.py"):
        yield module, landlock.READ


def is_wide(place: Path) -> bool:
    """Whether a directory is a home or above one, or everybody's, as /tmp is."""
    homes = (Path.home(), Path("/root"), _HOMES)
    if place.parent == _HOMES or any(home.is_relative_to(place) for home in homes):
        return True
    try:
        return bool(place.stat().st_mode & stat.S_ISVTX)
    except OSError:
        return False
