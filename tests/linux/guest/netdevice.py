"""A network interface of the guest's kernel, by ioctls of netdevice(7): there may be no ip(8)."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8913, 0x8914, 0x8916, 1


def name_of(address: str) -> str:
    """That of the interface that a PCI function is."""
    (found,) = (Path("/sys/bus/pci/devices") / address / "net").iterdir()
    return found.name


def interface(request: int, name: str, rest: bytes) -> bytes:
    """An ioctl with a struct ifreq; what comes back behind the name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = name.encode().ljust(16, b"\0") + rest.ljust(24, b"\0")
        return fcntl.ioctl(sock, request, asked)[16:]


def set_address(name: str, address: str) -> None:
    """0.0.0.0 takes it away."""
    there = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address))
    interface(SIOCSIFADDR, name, there)


def set_up(name: str, up: bool) -> None:
    (flags,) = struct.unpack_from("=H", interface(SIOCGIFFLAGS, name, b""))
    interface(SIOCSIFFLAGS, name, struct.pack("=H", flags | IFF_UP if up else flags & ~IFF_UP))
