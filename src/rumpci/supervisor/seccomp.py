"""The system calls that a driver's process gives up, by way of libseccomp (seccomp(2)).

What is listed fails with EPERM; what is not listed works.  libseccomp is part of every Debian
system.  It is called as libc is: its binding on PyPI runs ldconfig(8) to find it, which takes
longer than all of this.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from pathlib import Path

OTHERS = (
    "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp migrate_pages "
    "move_pages setsid setpgid shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop "
    "semtimedop semctl mq_open mq_unlink"
)
"""Other processes, and leaving the group that is killed with this one."""
PROGRAMS = "execve execveat"
NETWORK = "socket connect bind listen"
ATTRIBUTES = (
    "truncate chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat "
    "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr open_by_handle_at "
    "fanotify_init"
)
"""What Landlock leaves open of files."""
SYSTEM = (
    "mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick "
    "mount_setattr swapon swapoff quotactl quotactl_fd acct reboot kexec_load kexec_file_load "
    "init_module finit_module delete_module bpf perf_event_open keyctl add_key request_key "
    "io_uring_setup io_uring_enter io_uring_register userfaultfd ioperm iopl modify_ldt unshare "
    "setns personality sethostname setdomainname settimeofday clock_settime clock_adjtime "
    "adjtimex syslog vhangup landlock_create_ruleset"
)
"""The machine's, and ways into the kernel that no driver needs."""
SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
NOT_OF_OTHERS = "prlimit64 sched_setaffinity sched_setparam sched_setscheduler sched_setattr"
"""Their first argument is a process, 0 for the own."""
_YOUNG = range(451, 512)
"""Calls younger than Linux 6.5, on every architecture: to this process they do not exist."""
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_NE, _MASKED_EQ = 1, 7
_ACT_BADARCH, _INT = 2, 0xFFFF_FFFF
_NEW_NAMESPACES = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)
_PR_SET_PDEATHSIG = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


class _Compare(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """libseccomp, if it is here."""
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    return found


def missing() -> str:
    """What stands in the way of a filter here: "" if nothing does."""
    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return "this kernel has no seccomp filters"
    return "" if library() else "libseccomp is not installed"


def restrict(signals: bool) -> None:
    """Give up the calls, in this thread and what it starts; `signals` to others, too.

    Needs no_new_privs, and that nothing is `missing`.  Raises OSError.
    """
    found = library()
    if found is None:
        raise OSError(errno.ENOENT, missing())
    rules = _Rules(found)
    try:
        _fill(rules)
        if signals:
            for name in SIGNALS.split():
                rules.refuse(name, _Compare(0, _NE, os.getpid(), 0))
            rules.refuse("pidfd_send_signal")
        rules.load()
    finally:
        rules.close()


def _fill(rules: _Rules) -> None:
    """What is refused whatever else there is."""
    for name in f"{OTHERS} {PROGRAMS} {NETWORK} {ATTRIBUTES} {SYSTEM}".split():
        rules.refuse(name)
    for name in NOT_OF_OTHERS.split():
        rules.refuse(name, _Compare(0, _NE, 0, 0))
    # A datagram's socket sends to whatever name it is given; the other kinds are just a pair.
    rules.refuse("socketpair", _Compare(1, _MASKED_EQ, 0xF, 2))
    rules.refuse("prctl", _Compare(0, _MASKED_EQ, _INT, _PR_SET_PDEATHSIG))
    for request in (_TIOCSTI, _TIOCLINUX):  # input for a terminal
        rules.refuse("ioctl", _Compare(1, _MASKED_EQ, _INT, request))
    for flag in _NEW_NAMESPACES:
        rules.refuse("clone", _Compare(0, _MASKED_EQ, flag, flag))
    # To open for reading with O_TRUNC writes, which Landlock did not know at first.
    for name, flags in (("open", 1), ("openat", 2)):
        mask = os.O_TRUNC | os.O_ACCMODE
        rules.refuse(name, _Compare(flags, _MASKED_EQ, mask, os.O_TRUNC))
    # Their arguments cannot be seen; the C library has others where these do not exist.
    for call in ("clone3", "openat2", *_YOUNG):
        rules.refuse(call, error=errno.ENOSYS)


class _Rules:
    """A filter that is being made."""

    def __init__(self, found: ctypes.CDLL) -> None:
        self._library = found
        self._context = ctypes.c_void_p(found.seccomp_init(ctypes.c_uint32(_ALLOW)))
        refused = ctypes.c_uint32(_ERRNO | errno.EPERM)
        found.seccomp_attr_set(self._context, ctypes.c_int(_ACT_BADARCH), refused)

    def refuse(self, call: str | int, *compare: _Compare, error: int = errno.EPERM) -> None:
        """Have a call fail, if all of `compare` hold.  Raises OSError."""
        resolve = self._library.seccomp_syscall_resolve_name
        number = resolve(call.encode()) if isinstance(call, str) else call
        if number < 0:
            return  # not one of this architecture's
        arguments = (_Compare * len(compare))(*compare)
        action = ctypes.c_uint32(_ERRNO | error)
        add = self._library.seccomp_rule_add_array
        self._check(add(self._context, action, number, len(compare), arguments))

    def load(self) -> None:
        """From now on.  Raises OSError."""
        self._check(self._library.seccomp_load(self._context))

    def close(self) -> None:
        """Let go of what it was made with."""
        self._library.seccomp_release(self._context)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(-result, f"seccomp: {os.strerror(-result)}")
