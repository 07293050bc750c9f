"""`rumpci doctor` about what this kernel lets a program have: modules, nodes, limits, lockdown.

Source: Linux, Documentation/driver-api/vfio.rst, driver-api/uio-howto.rst,
admin-guide/mm/hugetlbpage.rst, kernel_lockdown(7), proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rumpci.binding.use import text_of
from rumpci.machines import sysfs
from rumpci.tools.common import size_text
from rumpci.tools.finding import Finding

MODULES = {
    "vfio": "VFIO",
    "vfio_pci": "VFIO for PCI devices",
    "vfio_iommu_type1": "VFIO's DMA",
    "iommufd": "VFIO's DMA since Linux 6.6, instead",
    "uio_pci_generic": "UIO for PCI devices",
}
"""Modules of the kernel, and what they are for."""
_MEMLOCK_WANTED = 64 << 20
"""What a vfio: host takes unless its URL says memory=."""


def modules(root: Path) -> Iterator[Finding]:
    """Each module that is there or can be loaded; one finding for those that were not made."""
    directory = root / "lib/modules" / text_of(root / "proc/sys/kernel/osrelease")
    builtin, made = text_of(directory / "modules.builtin"), text_of(directory / "modules.dep")
    missing = []
    for name, purpose in MODULES.items():
        file = re.compile(rf"(^|/){name.replace('_', '[-_]')}\.ko\b", re.M)
        if (root / "sys/module" / name).is_dir() or file.search(builtin):
            yield Finding(f"module {name}", True, f"loaded: {purpose}")
        elif file.search(made):
            remedy = f"as root: modprobe {name.replace('_', '-')}"
            yield Finding(f"module {name}", False, f"not loaded: {purpose}", remedy)
        else:
            missing.append(name)
    if missing and missing != ["iommufd"]:  # the others do without
        yield _missing(", ".join(missing), directory, known=bool(made))


def _missing(names: str, directory: Path, *, known: bool) -> Finding:
    where = f"Linux {directory.name}"
    found = f"{where} has no {names}" if known else f"not loaded: {names}; {where} lists no modules"
    remedy = "if you need them, use another kernel (Debian's -cloud kernels have fewer)"
    return Finding("modules", False, found, remedy)


def vfio(root: Path) -> Iterator[Finding]:
    """The nodes of VFIO, and whether this user may open them."""
    directory = root / "dev/vfio"
    if not (directory / "vfio").exists():
        yield Finding("VFIO", False, "no /dev/vfio/vfio", "as root: modprobe vfio-pci")
        return
    pattern = re.compile(r"(noiommu-)?\d+")
    nodes = [node for node in sorted(directory.iterdir()) if pattern.fullmatch(node.name)]
    nodes += sorted((directory / "devices").glob("vfio*"))
    if not nodes:
        yield Finding(
            "VFIO devices", False, "vfio-pci has no device", "as root: rumpci bind ADDRESS vfio-pci"
        )
    yield _node("VFIO", directory / "vfio", root, "")
    if (root / "dev/iommu").exists():
        yield _node("iommufd", root / "dev/iommu", root, "")
    for node in nodes:
        whose = ", ".join(f.directory.name for f in sysfs.functions(root) if f.group == node.name)
        yield _node(f"VFIO {node.name}", node, root, f" ({whose})" if whose else "")


def uio(root: Path) -> Iterator[Finding]:
    """The nodes of UIO, and whether this user may open them."""
    nodes = sorted((root / "sys/class/uio").glob("uio*"))
    if not nodes:
        remedy = "as root: modprobe uio_pci_generic, and rumpci bind ADDRESS uio_pci_generic"
        yield Finding("UIO", False, "no device", remedy)
    for node in nodes:
        whose = (node / "device").resolve().name if (node / "device").exists() else ""
        yield _node(f"UIO {node.name}", root / "dev" / node.name, root, whose and f" ({whose})")
    if nodes:
        yield Finding(
            "UIO and DMA",
            False,
            "nothing keeps a device that uio: drives from any memory of this computer",
            "where there is an IOMMU, bind it to vfio-pci and use vfio:",
        )


def _node(what: str, node: Path, root: Path, whose: str) -> Finding:
    usable = os.access(node, os.R_OK | os.W_OK)
    found = "can be opened" if usable else "may not be opened by this user"
    path = Path("/") / node.relative_to(root)
    user = os.environ.get("USER", str(os.geteuid()))
    return Finding(what, usable, f"{path}{whose} {found}", f"as root: chown {user} {path}")


def memlock(root: Path) -> Iterator[Finding]:
    """How much memory this user's programs may give to devices."""
    limits = re.search(r"^Max locked memory\s+(\S+)", text_of(root / "proc/self/limits"), re.M)
    if limits is None:
        return
    text = limits[1]
    enough = text == "unlimited" or int(text) >= _MEMLOCK_WANTED or os.geteuid() == 0
    size = text if text == "unlimited" else size_text(int(text))
    yield Finding(
        "memlock",
        enough,
        f"{size} for the DMA memory of a user's vfio: hosts",
        "`ulimit -l`, `USER - memlock unlimited` in /etc/security/limits.conf (log in again), or "
        "LimitMEMLOCK= of a systemd unit; or ask for less: vfio:ADDRESS?memory=4M",
    )


def hugepages(root: Path) -> Iterator[Finding]:
    """Pages of 2 MiB: what has contiguous memory for a device without an IOMMU."""
    directory = root / "sys/kernel/mm/hugepages/hugepages-2048kB"
    if not directory.is_dir():
        return
    total, free = (int(text_of(directory / f"{n}_hugepages") or "0") for n in ("nr", "free"))
    yield Finding(
        "huge pages",
        free > 0,
        f"{free} of {total} pages of 2 MiB are free, for large DMA memory with UIO",
        "as root: sysctl vm.nr_hugepages=32",
    )


def lockdown(root: Path) -> Iterator[Finding]:
    """What Secure Boot takes away: BARs through sysfs, which UIO needs.  VFIO still works."""
    state = re.search(r"\[(\w+)\]", text_of(root / "sys/kernel/security/lockdown"))
    if state is not None:
        yield Finding(
            "lockdown",
            state[1] == "none",
            "off"
            if state[1] == "none"
            else f"{state[1]}: no BARs or ports for UIO, not even as root",
            "use VFIO; or switch Secure Boot off in the firmware, and boot without lockdown=",
        )
