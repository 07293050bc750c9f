"""Landlock (landlock(7)): a process gives up files, for itself and for what it starts.

The three system calls, as the kernel has them on every architecture.  The bindings on PyPI
are young, and each runs ldconfig(8) to find the C library: longer than all of this takes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

READ_FILE, READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 1, 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = 1 | _WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
"""What a rule on something that is no directory may give."""
_ALL = (1 << 16) - 1
READ = READ_FILE | READ_DIR
CHANGE = _ALL & ~1 & ~_IOCTL_DEV
"""Read, write, make and remove; not execute."""
_TCP, _SCOPES = 0b11, 0b11
"""Bind and connect; abstract sockets and signals."""
SIGNALS_SINCE = 6
"""The version from which signals stay within what gave up the same."""
_NEW_FILE_RIGHTS = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("fs", "net", "scoped")]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32)]


def version() -> int:
    """The version of this kernel's Landlock; 0 if it has none, or does not let us."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)))


def restrict(rules: Iterable[tuple[Path, int]]) -> None:
    """Keep only the rights of `rules` on what is beneath their paths, and on what is open.

    A path that is missing, or that we may not reach, gives nothing.  Rights that this
    kernel does not know are not given up.  Needs no_new_privs.  Raises OSError, as
    landlock_restrict_self(2) and its siblings.
    """
    has = version()
    known = sum(right for since, right in _NEW_FILE_RIGHTS.items() if since <= has) | (_REFER - 1)
    sets = _Ruleset(known, _TCP if has >= 4 else 0, _SCOPES if has >= SIGNALS_SINCE else 0)
    ruleset = _call(_CREATE, ctypes.byref(sets), ctypes.c_size_t(ctypes.sizeof(sets)), 0)
    try:
        for path, rights in rules:
            _add(ruleset, path, rights & known)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _FILE_RIGHTS
        beneath = _Beneath(rights, fd)
        _call(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
