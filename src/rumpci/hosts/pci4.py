"""`pci4:` hosts: a guard at the other end of a Unix socket, or a kernel behind a device node."""

from __future__ import annotations

import errno
import os
from urllib.parse import unquote

from rumpci.errors import BadURL, HostUnavailable
from rumpci.hosts.url import HostURL
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_link import Connection
from rumpci.pci4.client_node import NodeConnection
from rumpci.pci4.node import Node, is_node

KEYS = ("limit",)
LIMIT = 20.0
"""Seconds that an answer may take: longer than the guard waits for its machine."""
_LIMIT_MAX = 3600.0


def open_url(url: HostURL) -> Pci4Host:
    """Connect to the guard at the URL's path, or open the node that is there.

    Raises BadURL (EINVAL), HostUnavailable (ENOENT), HostRefused (EINVAL).
    """
    url.check_params(KEYS)
    if not url.place:
        raise BadURL(
            f"host {url.text!r}", "no path", "name the socket of `rumpci serve`, or /dev/pci0"
        )
    path = unquote(url.place)
    if not is_node(path):
        return Pci4Host(_connected(path, _limit(url.params.get("limit"))), url.text)
    if "limit" in url.params:
        raise BadURL(f"host {url.text!r}", "a kernel's answers have no limit", "leave limit= out")
    return open_node(path, url.text)


def open_node(path: str, url: str) -> Pci4Host:
    """The kernel behind a node.  Raises HostUnavailable (ENOENT or as open(2)), HostRefused."""
    return Pci4Host(NodeConnection(Node(path)), url)


def _connected(path: str, limit: float) -> Connection:
    try:
        from rumpci.pci4.client_socket import SocketConnection
    except ImportError as error:
        if not os.path.exists(path):
            raise HostUnavailable(
                f"opening {path}", os.strerror(errno.ENOENT), "name a node, such as /dev/pci0"
            ) from error
        raise HostUnavailable(
            f"connecting to {path}", f"there is no native module: {error}",
            "build rumpci with a C compiler; device nodes, such as /dev/pci0, need none",
        ) from error  # fmt: skip
    return SocketConnection(path, limit)


def _limit(text: str | None) -> float:
    try:
        limit = LIMIT if text is None else float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit <= _LIMIT_MAX:
        raise BadURL(f"limit={text}", "no time", f"write seconds, up to {_LIMIT_MAX:g}")
    return limit
