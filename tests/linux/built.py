"""Modules that you have built: what Debian's kernels have switched off, for machines that need it.

`RUMPCI_GUEST_MODULES=DIR`: DIR/RELEASE/*.ko take the place of that kernel's modules, or add to
them, on machines that need an option which the kernel lacks (`Machine.needs`), and on no others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.linux.kernel import Kernel
from tests.linux.modules import Tree, code, dep_file

VARIABLE = "RUMPCI_GUEST_MODULES"

MARKS = {
    "IOMMUFD": ("iommufd", b"iommufd"),
    "VFIO_DEVICE_CDEV": ("vfio", b"vfio/devices/"),
    "VFIO_NOIOMMU": ("vfio", b"enable_unsafe_noiommu_mode"),
}
"""Options of a kernel: the module that has each, and bytes that it has with the option only."""


def folder_of(kernel: Kernel) -> Path | None:
    """Where the modules for this kernel are, if there are any."""
    told = os.environ.get(VARIABLE)
    if not told:
        return None
    folder = Path(told).resolve() / kernel.release
    return folder if folder.is_dir() else None


def lacking(kernel: Kernel, needs: Sequence[str]) -> str | None:
    """Why the kernel cannot do what is needed, and what would provide it; None: it can."""
    missing = [need for need in needs if not kernel.has(need)]
    folder = folder_of(kernel)
    if folder is not None:
        missing = [need for need in missing if not provided(folder, need)]
    if not missing:
        return None
    options = ", ".join(f"CONFIG_{need}" for need in missing)
    return (
        f"Linux {kernel.release} is without {options}: {VARIABLE}=DIR with modules that you have "
        f"built, in DIR/{kernel.release}, would provide it (see CONTRIBUTING.md)"
    )


def provided(folder: Path, need: str) -> bool:
    """Whether the modules in a folder have an option: they are asked, not their names."""
    name, mark = MARKS.get(need, ("", b""))
    module = Tree(folder).find(name)
    return module is not None and mark in code(module.file)


def with_built(kernel: Kernel, needs: Sequence[str], into: Path) -> Kernel:
    """The kernel with these modules among its own, in the new folder `into`, if it needs them."""
    folder = folder_of(kernel)
    if folder is None or all(kernel.has(need) for need in needs):
        return kernel
    into.mkdir(exist_ok=True)
    own, more = Tree(kernel.folder).all(), Tree(folder).all()
    for module in (own | more).values():
        (into / f"{module.name}.ko").write_bytes(module.code())
    (into / ".config").write_bytes((kernel.folder / ".config").read_bytes())
    merged = Tree(into)
    (into / "modules.dep").write_text(dep_file(merged.closure(merged.all())))
    return replace(kernel, folder=into)
