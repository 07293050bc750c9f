"""Hosts by URL: `open_host("qemu:edu")`.

The schemes are a table; a host's module is imported when it is opened.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import cast

from rumpci.errors import BadURL
from rumpci.host import Host
from rumpci.hosts import url

SCHEMES = {
    "qemu": "rumpci.hosts.qemu",
    "model": "rumpci.hosts.model",
    "pci4": "rumpci.hosts.pci4",
    "vfio": "rumpci.hosts.vfio",
    "uio": "rumpci.hosts.uio",
}
"""The module of each scheme; it has `open_url(HostURL) -> Host`."""


def open_host(text: str, **defaults: str) -> Host:
    """Open the host that `text` names; close it when done (`contextlib.closing`).

    `defaults` are keys for when the URL does not give them.

    Raises BadURL (EINVAL), HostUnavailable (ENOENT), HostRefused (EINVAL),
    MachineDied (EIO).  Source: docs/hosts.md.
    """
    parsed = url.parse(text)
    if parsed.scheme not in SCHEMES:
        have = ", ".join(SCHEMES)
        raise BadURL(f"host {text!r}", f"unknown scheme {parsed.scheme!r}", f"schemes: {have}")
    parsed = replace(parsed, params=defaults | parsed.params)
    module = importlib.import_module(SCHEMES[parsed.scheme])
    return cast(Host, module.open_url(parsed))
