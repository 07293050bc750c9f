"""The system calls of a rump kernel in another process, over its socket.

    with connect("unix:///run/rump") as sys:
        print(sys.sysctl((1, 1)))

librumpclient is what does it; it has one connection in the life of a process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator

from rumpci.errors import HostUnavailable, NotSupported
from rumpci.rump.libraries import Libraries
from rumpci.rump.netbsd import error_of
from rumpci.rump.syscalls import Syscalls

LIBRARY = "rumpclient"
_SERVER = "RUMP_SERVER"
_UNIX = "unix://"
_connected: list[str] = []


@contextlib.contextmanager
def connect(server: str | None = None, libraries: Libraries | None = None) -> Iterator[Syscalls]:
    """Connect to the rump kernel at `server` (else RUMP_SERVER), a URL such as unix://PATH.

    Its descriptors are closed when the connection ends.  Raises HostUnavailable (ENOENT) if no
    rump kernel answers there or there is no librumpclient, NotSupported (EOPNOTSUPP) the second
    time.
    """
    url = server or os.environ.get(_SERVER)
    if url is None:
        raise HostUnavailable(
            "a rump kernel in another process", "nobody says where", f"set {_SERVER}"
        )
    if _connected:
        raise NotSupported(
            f"a connection to the rump kernel at {url}",
            f"this process had one, to {_connected[0]}", "use another process",
        )  # fmt: skip
    library = _load(libraries or Libraries.find())
    _init(library, url)
    _connected.append(url)
    try:
        yield Syscalls(library)
    finally:
        _hang_up(url)


def _load(libraries: Libraries) -> ctypes.CDLL:
    path = libraries.paths.get(LIBRARY)
    if path is None:
        raise HostUnavailable(
            "a rump kernel in another process", f"no lib{LIBRARY}.so in {libraries.folder}",
            "install the library",
        )  # fmt: skip
    return ctypes.CDLL(str(path), use_errno=True)


def _init(library: ctypes.CDLL, url: str) -> None:
    before = os.environ.get(_SERVER)
    os.environ[_SERVER] = url  # where it looks
    try:
        failed = library.rumpclient_init()
    finally:
        del os.environ[_SERVER]
        if before is not None:
            os.environ[_SERVER] = before
    if failed:
        why = str(error_of(ctypes.get_errno(), "rumpclient_init"))
        raise HostUnavailable(f"the rump kernel at {url}", why, "see that it runs, and its URL")


def _hang_up(url: str) -> None:
    """The library has no word for it: end the conversation on its socket."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as end:
            if end.family == socket.AF_UNIX and f"{_UNIX}{end.getpeername()}" == url:
                end.shutdown(socket.SHUT_RDWR)
