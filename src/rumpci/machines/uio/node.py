"""/dev/uioN: what the kernel has counted of a device's interrupts.

A read gives the count of all so far, 32 bits; it waits, or is EAGAIN, until that differs from
what was read last.  The kernel lets any number of processes open it; two that drive one device
would ruin it, so a lock on the node (flock) keeps our own apart.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from rumpci.machines.uio import errors

_COUNT = 4
_GONE = (errno.EIO, errno.ENODEV)


class UioNode:
    """The node `path`, which is closed until `open`; its descriptor `fd` stays the same.

    So who has the descriptor's number low has it closed early when the process dies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = _nothing()
        self._last = 0

    def open(self, tried: str) -> None:
        """Have it.  Raises HostUnavailable, HostRefused, DeviceBusy (EBUSY)."""
        fd = -1
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.dup2(fd, self.fd, inheritable=False)
        except OSError as error:
            if fd >= 0 and error.errno == errno.EAGAIN:
                raise errors.in_use(tried, self.path) from error
            raise errors.cannot_open(tried, self.path, error) from error
        finally:
            if fd >= 0:
                os.close(fd)
        self.fired()  # what came before is nobody's

    def leave(self) -> None:
        """Let it go.  Of a PCI function, the kernel ends its bus mastering then."""
        if self.fd >= 0:
            fd = _nothing()
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)

    def _read(self) -> int | None:
        """The count if it is a new one.  EIO: there is no interrupt, or no device any more."""
        try:
            return int.from_bytes(os.read(self.fd, _COUNT), "little")
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def counts(self) -> bool:
        """Whether the kernel counts an interrupt of this device."""
        try:
            os.read(self.fd, _COUNT)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return False
        return True

    def fired(self) -> int:
        """How often it fired since the last call."""
        count = self._read()
        if count is None:
            return 0
        fired = count - self._last & 0xFFFF_FFFF
        self._last = count
        return fired

    def control(self, on: bool) -> None:
        """Let it fire, or not, where the kernel's driver has a switch for that.  Raises OSError."""
        os.write(self.fd, int(on).to_bytes(_COUNT, "little"))

    def close(self) -> None:
        """Let go of the descriptor, too.  Doing it twice does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
