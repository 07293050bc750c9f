"""A Unix socket at which a server listens, and its file: of devices (pci4), of disks (nbd)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Self

from rumpci.errors import ServerError


class Listener:
    """A listening socket of a `kind` (SOCK_STREAM, ...) at `path`; `close` removes it.

    `mode` is its file's, `backlog` how many may wait, `where` what errors call it (else
    the path); it does not block.  One that nobody listens at any more is replaced.  Raises
    ServerError (EADDRINUSE or what the system says).
    """

    def __init__(
        self, path: str | os.PathLike[str], kind: socket.SocketKind, mode: int, backlog: int,
        where: str = "",
    ) -> None:  # fmt: skip
        self.path, where = Path(path), where or str(path)
        self._sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        try:
            _remove_stale(self.path, kind, where)
            self._sock.bind(str(self.path))
            self.path.chmod(mode)  # before it listens, nobody can connect
            self._sock.listen(backlog)
            self._inode = self.path.stat().st_ino
        except OSError as error:
            self._sock.close()
            raise _error(where, error.strerror or str(error), error.errno) from error
        except BaseException:
            self._sock.close()
            raise

    @classmethod
    def inherited(cls, fd: int, path: str | os.PathLike[str]) -> Self:
        """One that another process made, by its descriptor; the file stays that process's."""
        made = cls.__new__(cls)
        made.path, made._sock, made._inode = Path(path), socket.socket(fileno=fd), -1
        return made

    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def accept(self) -> socket.socket | None:
        """The next client; None if it is gone already.  Raises OSError without descriptors."""
        try:
            return self._sock.accept()[0]
        except (BlockingIOError, ConnectionError):
            return None

    def close(self) -> None:
        """Stop listening, and remove the socket's file unless it is somebody else's by now."""
        self._sock.close()
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


def _remove_stale(path: Path, kind: socket.SocketKind, where: str) -> None:
    """Remove the socket at `path` if nobody listens there.  Raises ServerError otherwise."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _error(where, "there is something else than a socket", errno.EEXIST)
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()
        return
    except BlockingIOError:  # somebody listens, and many wait there
        pass
    raise _error(where, "somebody serves there already", errno.EADDRINUSE)


def _error(where: str, why: str, number: int | None) -> ServerError:
    remedy = "end what serves there, or choose another path (107 bytes at most)"
    return ServerError(f"serving at {where}", why, remedy, errno=number)
