"""A device node that speaks the protocol by ioctl(2): the system calls, and nothing else.

    /dev/pciN    every function that no driver of the kernel's has
    /dev/upciN   one function

One open node is one client of the kernel's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat

from rumpci.errors import HostUnavailable

GROUP = ord("p")
"""The ioctls' group."""
_INOUT, _SIZE_MAX = 0xC000_0000, 0x1FFF
_RECORDS = 4096
_REMEDIES = {
    errno.EACCES: "be a user that may read and write it",
    errno.EPERM: "be root: see kauth(9)",
    errno.ENXIO: "see pci(4) and upci(4): nothing of that number is attached",
    errno.EBUSY: "end the program that has it open",
}


def is_node(path: str) -> bool:
    """Whether there is a device node at a path."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def command(op: int, size: int) -> int:
    """The number of an operation's ioctl: NetBSD's _IOWR of a structure of so many bytes."""
    if not 0 < size <= _SIZE_MAX:
        raise ValueError(f"an ioctl of {size} bytes")
    return _INOUT | size << 16 | GROUP << 8 | op


class Node:
    """An open node.  Raises HostUnavailable as open(2) does."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unavailable(path, error) from error

    def again(self) -> Node:
        """The node opened once more: another client."""
        return Node(self.path)

    def ioctl(self, op: int, structure: bytearray) -> None:
        """Make an operation; the structure becomes its answer.  Raises OSError."""
        number = command(op, len(structure))
        while True:
            try:
                fcntl.ioctl(self._fd, number, structure, True)
            except InterruptedError:  # by a signal, before anything was done
                continue
            return

    def read(self) -> bytes:
        """Records of events, whole ones; empty if there are none.  Raises OSError."""
        try:
            return os.read(self._fd, _RECORDS)
        except BlockingIOError:
            return b""

    def readable(self) -> bool:
        """Whether there is an event, or the end of them."""
        waiting = select.poll()
        waiting.register(self._fd, select.POLLIN)
        return bool(waiting.poll(0))

    def fileno(self) -> int:
        """The descriptor, which polls readable when there is an event."""
        return self._fd

    def share(self, place: int) -> tuple[int, int]:
        """What to map for a place of its mmap(2): a descriptor, the caller's, and its offset."""
        return os.dup(self._fd), place

    def close(self) -> None:
        """Close it.  What is still mapped, or shared, keeps the client."""
        os.close(self._fd)


def _unavailable(path: str, error: OSError) -> HostUnavailable:
    remedy = _REMEDIES.get(error.errno or 0, "see docs/netbsd.md")
    why = os.strerror(error.errno or 0)
    return HostUnavailable(f"opening {path}", why, remedy, errno=error.errno)
