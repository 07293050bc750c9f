"""NetBSD's system calls, by ctypes: of a rump kernel in this process, or over its socket.

Numbers and structures are NetBSD's (netbsd.py); what fails raises OSError with this system's
errno.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from rumpci.errors import HostUnavailable
from rumpci.rump import netbsd

_PREFIX = "rump___sysimpl_"
_RENAMED = {"socket": "socket30", "mount": "mount50", "sysctl": "__sysctl"}
_SOCKADDR_MOST = 128
_SIZES = (
    "read",
    "write",
    "pread",
    "pwrite",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "readlink",
)
"""They return a ssize_t, the others an int: of a register's upper half that says nothing."""


class Syscalls:
    """`library` is librump, or librumpclient, which sends them to another process."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._functions: dict[str, Any] = {}

    def call(self, name: str, *arguments: object) -> int:
        """The system call `name`.  Raises OSError, HostUnavailable if there is no such call."""
        function = self._functions.get(name) or self._find(name)
        result = int(function(*arguments))
        if result < 0:
            raise netbsd.error_of(ctypes.get_errno(), name)
        return result

    def _find(self, name: str) -> Any:
        symbol = _PREFIX + _RENAMED.get(name, name)
        try:
            function = self._library[symbol]
        except AttributeError as error:
            raise HostUnavailable(
                f"the system call {name} of a rump kernel", f"it has no {symbol}",
                "load the component that has it, such as rumpvfs or rumpnet",
            ) from error  # fmt: skip
        function.restype = ctypes.c_ssize_t if name in _SIZES else ctypes.c_int
        self._functions[name] = function
        return function

    # ---- files --------------------------------------------------------------------------------

    def open(self, path: str, flags: int = netbsd.O_RDWR, mode: int = 0o666) -> int:
        """open(2): a descriptor of the rump kernel's."""
        return self.call("open", os.fsencode(path), flags, ctypes.c_int(mode))

    def close(self, fd: int) -> None:
        """close(2)."""
        self.call("close", fd)

    def read(self, fd: int, size: int) -> bytes:
        """read(2): at most `size` bytes."""
        buffer = ctypes.create_string_buffer(size)
        got = self.call("read", fd, buffer, ctypes.c_size_t(size))
        return buffer.raw[:got]

    def write(self, fd: int, data: bytes) -> int:
        """write(2): how many bytes were written."""
        return self.call("write", fd, data, ctypes.c_size_t(len(data)))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """pread(2)."""
        buffer = ctypes.create_string_buffer(size)
        asked = (fd, buffer, ctypes.c_size_t(size), ctypes.c_int64(offset))
        got = self.call("pread", *asked)
        return buffer.raw[:got]

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """pwrite(2)."""
        asked = (fd, data, ctypes.c_size_t(len(data)), ctypes.c_int64(offset))
        return self.call("pwrite", *asked)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        """mkdir(2)."""
        self.call("mkdir", os.fsencode(path), mode)

    def ioctl(self, fd: int, request: int, argument: bytearray) -> int:
        """ioctl(2); the argument is changed in place."""
        view = (ctypes.c_char * len(argument)).from_buffer(argument)
        return self.call("ioctl", fd, ctypes.c_ulong(request), view)

    def mount(self, kind: str, path: str, flags: int, argument: bytes) -> None:
        """mount(2); the argument is that file system's struct."""
        data = ctypes.create_string_buffer(argument, len(argument))
        asked = (kind.encode(), os.fsencode(path), flags, data, ctypes.c_size_t(len(argument)))
        self.call("mount", *asked)

    def unmount(self, path: str, flags: int = 0) -> None:
        """unmount(2)."""
        self.call("unmount", os.fsencode(path), flags)

    def sysctl(self, name: tuple[int, ...], size: int = 4096, new: bytes | None = None) -> bytes:
        """__sysctl(2) by numbers: the value, at most `size` bytes; `new` is set first."""
        buffer, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
        mib = (ctypes.c_int * len(name))(*name)
        asked = (
            mib,
            len(name),
            buffer,
            ctypes.byref(length),
            new,
            ctypes.c_size_t(len(new or b"")),
        )
        self.call("sysctl", *asked)
        return buffer.raw[: length.value]

    # ---- sockets --------------------------------------------------------------------------

    def socket(self, kind: int, family: int = netbsd.AF_INET, protocol: int = 0) -> int:
        """socket(2)."""
        return self.call("socket", family, kind, protocol)

    def bind(self, fd: int, address: str, port: int) -> None:
        """bind(2) to an Internet address."""
        self.call("bind", fd, netbsd.sockaddr_in(address, port), 16)

    def connect(self, fd: int, address: str, port: int) -> None:
        """connect(2)."""
        self.call("connect", fd, netbsd.sockaddr_in(address, port), 16)

    def listen(self, fd: int, backlog: int = 5) -> None:
        """listen(2)."""
        self.call("listen", fd, backlog)

    def accept(self, fd: int) -> tuple[int, tuple[str, int]]:
        """accept(2): a descriptor, and who it is."""
        name, length = _sockaddr()
        got = self.call("accept", fd, name, ctypes.byref(length))
        return got, netbsd.parse_sockaddr_in(name.raw)

    def sendto(self, fd: int, data: bytes, address: str, port: int) -> int:
        """sendto(2)."""
        to = netbsd.sockaddr_in(address, port)
        return self.call("sendto", fd, data, ctypes.c_size_t(len(data)), 0, to, 16)

    def recvfrom(self, fd: int, size: int) -> tuple[bytes, tuple[str, int]]:
        """recvfrom(2)."""
        buffer, (name, length) = ctypes.create_string_buffer(size), _sockaddr()
        asked = (fd, buffer, ctypes.c_size_t(size), 0, name, ctypes.byref(length))
        got = self.call("recvfrom", *asked)
        return buffer.raw[:got], netbsd.parse_sockaddr_in(name.raw)

    def setsockopt(self, fd: int, option: int, value: bytes | int) -> None:
        """setsockopt(2) at the level SOL_SOCKET."""
        data = value.to_bytes(4, "little") if isinstance(value, int) else value
        self.call("setsockopt", fd, netbsd.SOL_SOCKET, option, data, len(data))

    # ---- interfaces -----------------------------------------------------------------------

    def ifconfig(self, name: str, address: str, netmask: str = "255.255.255.0") -> None:
        """Give an interface an Internet address and switch it on, as ifconfig(8) does."""
        fd = self.socket(netbsd.SOCK_DGRAM)
        try:
            self.ioctl(fd, netbsd.SIOCAIFADDR, netbsd.ifaliasreq(name, address, netmask))
            self.ioctl(fd, netbsd.SIOCSIFFLAGS, netbsd.ifreq(name, netbsd.IFF_UP))
        finally:
            self.close(fd)


def _sockaddr() -> tuple[ctypes.Array[ctypes.c_char], ctypes.c_uint]:
    return ctypes.create_string_buffer(_SOCKADDR_MOST), ctypes.c_uint(_SOCKADDR_MOST)
