"""Which feature is there on which host: the contract's tests ask, and docs/hosts.md shows it.

`python -m tests.contract.features` writes the table into docs/hosts.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from rumpci.host import Feature

HOSTS = ("model", "qemu", "pci4", "vfio", "iommufd", "noiommu", "uio")
"""The columns.  iommufd and noiommu are `vfio:` with a key."""

Cell = bool | str
"""Whether a host has it; or where it has it, in words: then the tests do not ask."""
AS_SERVED = "as served"
READABLE = "where /dev/kmsg can be read"

SEAM: dict[Feature, tuple[str, tuple[Cell, ...]]] = {
    Feature.MEMSPACE: ("BARs of memory", (True,) * 7),
    Feature.IOSPACE: ("BARs of I/O ports", (True,) * 7),
    Feature.EXTCONF: ("4 KiB of configuration space", (True,) * 7),
    Feature.MAPPED: (
        "registers as plain memory",
        (True, False, AS_SERVED, True, True, True, True),
    ),
    Feature.DMA: ("DMA", (True, True, "with `banks=`", True, True, True, True)),
    Feature.IOMMU: ("wild DMA is blocked", (True, True, AS_SERVED, True, True, False, False)),
}
"""What `rumpci.host.Feature` tells of a host: a row in words, and a cell for each of HOSTS."""

INTX, MSI, MSIX = "INTx", "MSI", "MSI-X"
FAULTS, RESET, USER = "blocked DMA is told", "reset on demand", "no privilege needed"

MORE: dict[str, tuple[Cell, ...]] = {
    INTX: (True,) * 7,
    MSI: (True, True, AS_SERVED, True, True, True, False),
    MSIX: ("of your models", True, AS_SERVED, True, True, True, False),
    FAULTS: (True, True, AS_SERVED, READABLE, READABLE, False, False),
    RESET: (False, False, False, True, True, True, False),
    USER: (True, True, True, "but the group's node", "but two nodes", False, "but for DMA"),
}
"""What else differs, by its row."""

DOCUMENT = Path(__file__).parents[2] / "docs" / "hosts.md"
FIRST, LAST = "<!-- features: begin -->", "<!-- features: end -->"
REGENERATE = "python -m tests.contract.features"


def column(url: str) -> str:
    """The column of the host that was opened with `url`."""
    parts = urlsplit(url)
    keys = parts.query.split("&")
    if "via=iommufd" in keys:
        return "iommufd"
    return "noiommu" if "noiommu=yes" in keys else parts.scheme


def cell(row: Feature | str, url: str) -> Cell:
    """What the table says of a host."""
    cells = MORE[row] if isinstance(row, str) else SEAM[row][1]
    return cells[HOSTS.index(column(url))]


def table() -> str:
    """The table, as Markdown."""
    rows = dict(SEAM.values()) | MORE
    lines = [["", *(f"`{host}`" for host in HOSTS)], ["---"] * (len(HOSTS) + 1)]
    lines += [[name, *map(_text, cells)] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(found: Cell) -> str:
    return found if isinstance(found, str) else "yes" if found else "-"


def with_table(text: str) -> str:
    """A document with the table where it belongs."""
    between = re.compile(f"{FIRST}.*?{LAST}", re.S)
    new, count = between.subn(lambda _: f"{FIRST}\n{table()}\n{LAST}", text)
    assert count == 1, f"{DOCUMENT.name} has no place for the table"
    return new


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
