"""What a driver's process gives up before it is executed.

    another user           with --user, when the supervisor may choose
    no_new_privs           nothing that it executes gives it more (prctl(2))
    a user namespace       of its own: the kernel then lets it neither trace the supervisor
                           or QEMU nor open their descriptors, although the user is the same
    a session of its own   no controlling terminal: it can put nothing into our input
    no core file; the end of the supervisor is its end

Files and system calls are given up a little later, when the interpreter runs (confine.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rumpci.errors import NotPermitted

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER = 0x1000_0000
_PRLIMIT = "proc/sys/user/max_user_namespaces"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class User:
    """Whom a child runs as."""

    name: str
    uid: int
    gid: int


def find_user(name: str) -> User:
    """A user of this system.  Raises NotPermitted (EACCES) unless we may become it."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NotPermitted(f"running as {name}", "there is no such user", "see passwd(5)") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise NotPermitted(f"running as {name}", "only root may choose", "run it as root")
    return User(name, entry.pw_uid, entry.pw_gid)


def giving_up(user: User | None) -> Callable[[], None]:
    """What is to be called in the child, between fork and exec."""
    supervisor = os.getpid()

    def give_up() -> None:
        if user is not None and os.geteuid() != user.uid:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.unshare(_CLONE_NEWUSER)  # where there are none, `doctor` says so
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # last: the others undo it
        if os.getppid() != supervisor:  # it ended before
            os._exit(1)

    return give_up


def has_user_namespaces(root: Path) -> bool:
    """Whether the system at `root` has user namespaces, and, if it is this one, lets us have one.

    A process in chroot(2) gets none, whatever the kernel has.
    """
    with contextlib.suppress(OSError, ValueError):
        has = int((root / _PRLIMIT).read_text()) > 0
        return has and (root != Path("/") or _gets_one())
    return False


def _gets_one() -> bool:
    """Whether a process of ours gets a user namespace."""
    child = os.fork()
    if not child:
        os._exit(0 if _libc.unshare(_CLONE_NEWUSER) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0
