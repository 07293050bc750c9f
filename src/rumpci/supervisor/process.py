"""A child: its process, its descriptors, what it said, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from rumpci.errors import DriverError
from rumpci.supervisor import control
from rumpci.supervisor.beat import Beat, make_page
from rumpci.supervisor.failure import is_ours
from rumpci.supervisor.isolate import User, giving_up

_CRASH_MOST = 8192


class Process:
    """A child that is started at once, and waits for the host.  Raises DriverError (EIO).

    `bus` is the guard's end of its connection, `told` ours of the conversation about it, `since`
    when it was started (time.time_ns).  `module` is what it runs; what it prints goes to the
    descriptor `stdout`, if one is given.
    """

    def __init__(
        self,
        job: dict[str, Any],
        user: User | None = None,
        *,
        module: str = "rumpci.supervisor.child",
        stdout: int | None = None,
    ) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self.bus, bus = _pair(ours, theirs)
            self.told, told = _pair(ours, theirs)
            self._crash = _file(ours, os.memfd_create("crash", os.MFD_CLOEXEC))
            page = _file(theirs, make_page())
            self.beat = Beat(page)
            ours.callback(self.beat.close)
            fds = (bus.fileno(), told.fileno(), self._crash, page)
            self.since = time.time_ns()
            self._popen = _spawn(module, fds, user, stdout)
            ours.callback(self._end)
            self.pidfd = _file(ours, os.pidfd_open(self._popen.pid))
            control.send(self.told, **job)
            self.told.setblocking(False)  # a child that does not read holds nobody
            self._resources = ours.pop_all()

    @property
    def pid(self) -> int:
        """Its process, and the group of all that it started."""
        return self._popen.pid

    def signal(self, number: int) -> None:
        """Send it a signal; one that has ended gets none."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """How it ended, once its descriptor says that it did: as Popen.returncode."""
        status = self._popen.wait()
        self._kill_group()
        with contextlib.suppress(OSError):  # a child of its own may still have the other end
            self.bus.shutdown(socket.SHUT_RDWR)
        return status

    def crash(self) -> list[str]:
        """Where it was, as its interpreter wrote when it crashed; the innermost place first."""
        written = os.pread(self._crash, _CRASH_MOST, 0).decode(errors="replace")
        lines = (line.strip() for line in written.splitlines())
        places = [_place(line) for line in lines if line.startswith("File ")]
        return [control.text(place) for place in places if not is_ours(place)][:8]

    def close(self) -> None:
        """End it, if it lives, and all that was its."""
        self._resources.close()

    def _end(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


def _spawn(
    module: str, fds: tuple[int, ...], user: User | None, stdout: int | None
) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-P", "-m", module, *map(str, fds)]
    who = f" as {user.name}" if user else ""
    try:
        return subprocess.Popen(  # noqa: S603
            arguments, pass_fds=fds, start_new_session=True, stdout=stdout,
            preexec_fn=giving_up(user),  # noqa: PLW1509
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise DriverError(
            f"starting a driver's process{who}",
            str(error),
            "that user has to be able to read and execute Python, rumpci and the driver's file",
        ) from error


def _pair(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[socket.socket, ...]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours.enter_context(pair[0]), theirs.enter_context(pair[1])


def _file(owner: contextlib.ExitStack, fd: int) -> int:
    owner.callback(os.close, fd)
    return fd


def _place(line: str) -> str:
    """`File "x.py", line 6 in attach` as FILE:LINE in FUNCTION."""
    name, _, rest = line.removeprefix("File ").partition(", line ")
    return f"{name.strip(chr(34))}:{rest}"
