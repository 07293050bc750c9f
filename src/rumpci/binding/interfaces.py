"""What uses the network interfaces of a function: up, addresses, routes, bridges and bonds.

Source: Linux, Documentation/ABI/testing/sysfs-class-net, proc(5): net/route, net/if_inet6.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rumpci.binding.use import Use, below, text_of
from rumpci.machines.sysfs import SysFunction

_IFF_UP = 1
_SIOCGIFADDR = 0x8915


def interface_uses(function: SysFunction, root: Path) -> list[Use]:
    """Each use of an interface of the function's device."""
    return [use for entry in below(function, root, "net") for use in _uses(entry, root)]


def _uses(entry: Path, root: Path) -> Iterator[Use]:
    name = entry.name
    if int(text_of(entry / "flags") or "0", 16) & _IFF_UP:
        yield Use(f"{name} is up", f"ip link set {name} down")
    for address in _addresses(name, root):
        yield Use(f"{name} has the address {address}", f"ip address flush dev {name}")
    if name in _routed(root):
        yield Use(f"routes go through {name}", f"ip route flush dev {name}")
    for upper in sorted(entry.glob("upper_*")):
        other = upper.name.removeprefix("upper_")
        yield Use(f"{name} is a part of {other}", f"ip link set {name} nomaster, or delete {other}")


def _addresses(name: str, root: Path) -> Iterator[str]:
    for line in text_of(root / "proc/net/if_inet6").splitlines():
        fields = line.split()
        if fields[-1] == name:
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0]))
    if root == Path("/"):  # no file tells the IPv4 address of an interface that is down
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            asked = struct.pack("16s24x", name.encode())
            yield socket.inet_ntoa(fcntl.ioctl(any_socket, _SIOCGIFADDR, asked)[20:24])


def _routed(root: Path) -> set[str]:
    """Interfaces with an IPv4 route; those of IPv6 follow the addresses."""
    return {line.split()[0] for line in text_of(root / "proc/net/route").splitlines()[1:]}
