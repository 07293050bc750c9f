"""`pci4:` hosts: a guard in another process, at the other end of a Unix socket."""

from __future__ import annotations

from urllib.parse import unquote

from rumpci.errors import BadURL
from rumpci.hosts.url import HostURL
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_link import Connection

KEYS = ("limit",)
LIMIT = 20.0
"""Seconds that an answer may take: longer than the guard waits for its machine."""
_LIMIT_MAX = 3600.0


def open_url(url: HostURL) -> Pci4Host:
    """Connect to the guard at the URL's path.

    Raises BadURL (EINVAL), HostUnavailable (ENOENT), HostRefused (EINVAL).
    """
    url.check_params(KEYS)
    if not url.place:
        raise BadURL(f"host {url.text!r}", "no path", "name the socket of `rumpci serve`")
    limit = _limit(url.params.get("limit"))
    return Pci4Host(Connection(unquote(url.place), limit), url.text)


def _limit(text: str | None) -> float:
    try:
        limit = LIMIT if text is None else float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit <= _LIMIT_MAX:
        raise BadURL(f"limit={text}", "no time", f"write seconds, up to {_LIMIT_MAX:g}")
    return limit
