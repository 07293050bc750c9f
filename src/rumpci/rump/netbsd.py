"""NetBSD's numbers and structures, as its system calls take them (amd64).

Names and layouts are those of <sys/errno.h>, <sys/fcntl.h>, <sys/socket.h>, <netinet/in.h>,
<net/if.h>, <sys/sockio.h> and <sys/ioccom.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

O_RDONLY, O_WRONLY, O_RDWR = 0, 1, 2
O_NONBLOCK, O_CREAT, O_TRUNC, O_EXCL = 0x4, 0x200, 0x400, 0x800
AF_INET, SOCK_STREAM, SOCK_DGRAM = 2, 1, 2
SOL_SOCKET, SO_REUSEADDR, SO_RCVTIMEO = 0xFFFF, 0x4, 0x100C
SO_SNDBUF, SO_RCVBUF = 0x1001, 0x1002
IFF_UP = 0x1
IFNAMSIZ = 16

_ABOVE_34 = (
    "EAGAIN", "EINPROGRESS", "EALREADY", "ENOTSOCK", "EDESTADDRREQ", "EMSGSIZE", "EPROTOTYPE",
    "ENOPROTOOPT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EOPNOTSUPP", "EPFNOSUPPORT",
    "EAFNOSUPPORT", "EADDRINUSE", "EADDRNOTAVAIL", "ENETDOWN", "ENETUNREACH", "ENETRESET",
    "ECONNABORTED", "ECONNRESET", "ENOBUFS", "EISCONN", "ENOTCONN", "ESHUTDOWN", "ETOOMANYREFS",
    "ETIMEDOUT", "ECONNREFUSED", "ELOOP", "ENAMETOOLONG", "EHOSTDOWN", "EHOSTUNREACH",
    "ENOTEMPTY", "EPROCLIM", "EUSERS", "EDQUOT", "ESTALE", "EREMOTE", "EBADRPC", "ERPCMISMATCH",
    "EPROGUNAVAIL", "EPROGMISMATCH", "EPROCUNAVAIL", "ENOLCK", "ENOSYS", "EFTYPE", "EAUTH",
    "ENEEDAUTH", "EIDRM", "ENOMSG", "EOVERFLOW", "EILSEQ", "ENOTSUP", "ECANCELED", "EBADMSG",
    "ENODATA", "ENOSR", "ENOSTR", "ETIME", "ENOATTR", "EMULTIHOP", "ENOLINK", "EPROTO",
)  # fmt: skip
_NAMES = {35 + i: name for i, name in enumerate(_ABOVE_34)} | {11: "EDEADLK"}
_NUMBERS = {
    getattr(errno, name): number
    for number, name in reversed(_NAMES.items())
    if hasattr(errno, name)
}
"""Back: what two names have here is the first of NetBSD's, EOPNOTSUPP before ENOTSUP."""
_SHARED_MOST = 34
"""Up to here, numbers but these mean the same to both."""


def to_host(number: int) -> int:
    """This system's number for an errno of NetBSD's; EIO where it has none."""
    name = _NAMES.get(number)
    if name is None:
        return number
    return int(getattr(errno, name, errno.EIO))


def from_host(number: int) -> int:
    """NetBSD's number for an errno of this system's; EIO where it has none."""
    shared = number if number <= _SHARED_MOST else errno.EIO
    return _NUMBERS.get(number, shared)


def error_of(number: int, tried: str) -> OSError:
    """An OSError for what NetBSD returned, with this system's number."""
    host = to_host(number)
    name = _NAMES.get(number) or errno.errorcode.get(number, str(number))
    return OSError(host, f"{tried}: {os.strerror(host)} (NetBSD's {name})")


def sockaddr_in(address: str = "0.0.0.0", port: int = 0) -> bytes:  # noqa: S104
    """A struct sockaddr_in."""
    return struct.pack("!BBH4s8x", 16, AF_INET, port, socket.inet_aton(address))


def parse_sockaddr_in(data: bytes) -> tuple[str, int]:
    """Address and port of a struct sockaddr_in."""
    _, _, port, address = struct.unpack_from("!BBH4s", data)
    return socket.inet_ntoa(address), port


def timeval(seconds: float) -> bytes:
    """A struct timeval."""
    whole = int(seconds)
    return struct.pack("<qi4x", whole, int((seconds - whole) * 1e6))


def ior(group: str, number: int, size: int) -> int:
    """_IOR of <sys/ioccom.h>."""
    return 0x4000_0000 | size << 16 | ord(group) << 8 | number


def iow(group: str, number: int, size: int) -> int:
    """_IOW."""
    return ior(group, number, size) ^ 0xC000_0000


def iowr(group: str, number: int, size: int) -> int:
    """_IOWR."""
    return 0xC000_0000 | size << 16 | ord(group) << 8 | number


_IFREQ = 144
SIOCSIFFLAGS = iow("i", 16, _IFREQ)
SIOCGIFFLAGS = iowr("i", 17, _IFREQ)
SIOCAIFADDR = iow("i", 26, 64)


def ifreq(name: str, flags: int = 0) -> bytearray:
    """A struct ifreq with flags."""
    return bytearray(struct.pack(f"<{IFNAMSIZ}sh126x", name.encode(), flags))


def ifaliasreq(name: str, address: str, netmask: str) -> bytearray:
    """A struct ifaliasreq for an Internet address."""
    host, mask = struct.unpack("!II", socket.inet_aton(address) + socket.inet_aton(netmask))
    broadcast = socket.inet_ntoa(struct.pack("!I", host & mask | ~mask & 0xFFFF_FFFF))
    three = (sockaddr_in(address), sockaddr_in(broadcast), sockaddr_in(netmask))
    return bytearray(name.encode().ljust(IFNAMSIZ, b"\0") + b"".join(three))
