"""`rumpci doctor` on NetBSD: the nodes of pci(4) and upci(4), and what there is no IOMMU for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rumpci.errors import RumpciError
from rumpci.hosts.pci4 import open_node
from rumpci.pci4.node import is_node
from rumpci.tools.finding import Finding

NODES = "pci4:"
"""What the name of a finding about a node begins with."""
_NAME = re.compile(r"u?pci[0-9]+")


def nodes(root: Path) -> Iterator[Finding]:
    """Each node: whether it may be opened, and speaks the protocol."""
    named = [path for path in sorted((root / "dev").glob("*pci*")) if _NAME.fullmatch(path.name)]
    found = [path for path in named if is_node(str(path))]
    if not found:
        yield Finding(
            NODES, False, "no /dev/pci0", "as root: cd /dev && sh MAKEDEV pci (docs/netbsd.md)"
        )
    for path in found:
        yield _node(path, f"{NODES}/{path.relative_to(root)}")


def _node(path: Path, what: str) -> Finding:
    if not os.access(path, os.R_OK | os.W_OK):
        user = os.environ.get("USER", str(os.geteuid()))
        return Finding(what, False, "may not be opened by this user", f"as root: chown {user} it")
    try:
        host = open_node(str(path), what)
    except RumpciError as error:
        return Finding(what, False, error.why, error.remedy)
    try:
        count = len([f for f in host.functions() if not f.is_bridge and f.claimed_by is None])
    finally:
        host.close()
    return Finding(what, True, f"{count} functions can be claimed")


def iommu(root: Path) -> Iterator[Finding]:
    """What keeps a device from memory."""
    del root
    yield Finding(
        "DMA",
        False,
        "no kernel of NetBSD's keeps a device of this computer from any memory",
        "let only users have a node who may have all memory (docs/netbsd.md)",
    )
