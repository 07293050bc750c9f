"""Debian's kernels, as QEMU boots them: `python -m tests.linux.kernel` fetches them."""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.linux import archive
from tests.linux.archive import CACHE, Unavailable
from tests.linux.modules import Tree, dep_file

FETCH = "./dev guest"
"""The command that provides what the tests of this package need."""

SERIES = ("6.1", "6.12")
"""The kernels that are known to work here; the first is the standard."""

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What the first file system needs to reach the host's files."""

MODULES = (
    *BOOT_MODULES,
    *("vfio", "vfio_pci", "vfio_iommu_type1", "iommufd"),
    *("uio", "uio_pci_generic", "uio_pdrv_genirq", "uio_netx", "uio_cif"),
    *("nvme", "e1000e", "8250_pci", "virtio_mmio", "virtio_blk", "virtio_net", "brd", "loop"),
    *("ext4", "crc32c_generic", "nbd", "hpet", "qemu_fw_cfg"),
)
"""What is unpacked where the kernel has it; tests load them with modprobe."""


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache."""

    series: str
    release: str
    """What `uname -r` says in the guest."""
    image: Path
    folder: Path
    """Its modules, with modules.dep, and .config."""
    busybox: Path

    def has(self, option: str) -> bool:
        """Is `CONFIG_option` =y or =m?"""
        lines = (self.folder / ".config").read_text().splitlines()
        return f"CONFIG_{option}=y" in lines or f"CONFIG_{option}=m" in lines


def cached(series: str) -> Kernel:
    """The kernel, if it has been fetched.  Raises Unavailable with the command that does."""
    marker = CACHE / series / "kernel.json"
    if not marker.exists() or json.loads(marker.read_text())["modules"] != list(MODULES):
        raise Unavailable(f"no Linux {series} in {CACHE}: {FETCH} fetches it from Debian's archive")
    told = json.loads(marker.read_text())
    folder = marker.parent
    modules = folder / "modules"
    return Kernel(series, told["release"], folder / told["image"], modules, folder / "busybox")


def fetched(series: str) -> Kernel:
    """The kernel, fetched when it is not there yet.  Raises Unavailable when it cannot be."""
    return archive.found_or_made(series, lambda: cached(series), lambda: _make(series))


def _make(series: str) -> None:
    """Everything in a new folder, which then takes its place: half a kernel is never found."""
    dotted = series.replace(".", r"\.")
    image = archive.fetch(rf"linux-image-{dotted}\.\d+(-\d+|\+deb\d+)?-amd64")
    busybox = archive.fetch("busybox-static")
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        new = Path(name) / series
        new.mkdir()
        with unpacked(busybox) as tree:
            shutil.copy(tree / "bin" / "busybox", new)
        with unpacked(image) as tree:
            _take(tree, new)
        shutil.rmtree(CACHE / series, ignore_errors=True)
        new.rename(CACHE / series)


@contextmanager
def unpacked(deb: Path) -> Iterator[Path]:
    """The package's files, for as long as they are needed."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        try:
            subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
        except subprocess.CalledProcessError as failure:
            raise Unavailable(f"{deb} cannot be unpacked: delete it and try again") from failure
        yield Path(folder)


def _take(tree: Path, new: Path) -> None:
    """From the unpacked package what a guest needs."""
    packed = next((tree / "boot").glob("vmlinuz-*"))
    release = packed.name.removeprefix("vmlinuz-")
    image = new / "vmlinux"
    try:
        image.write_bytes(payload(packed.read_bytes()))
    except lzma.LZMAError:
        image.unlink(missing_ok=True)
        image = new / "vmlinuz"  # packed with something else: it unpacks itself
        shutil.copy(packed, image)
    modules = new / "modules"
    modules.mkdir()
    shutil.copy(tree / "boot" / f"config-{release}", modules / ".config")
    wanted = Tree(next(tree.rglob(f"modules/{release}"))).closure(MODULES)
    for module in wanted:
        (modules / f"{module.name}.ko").write_bytes(module.code())
    (modules / "modules.dep").write_text(dep_file(wanted))
    told = {"release": release, "image": image.name, "modules": MODULES}
    (new / "kernel.json").write_text(json.dumps(told))


def payload(bzimage: bytes) -> bytes:
    """vmlinux out of a bzImage that was packed with xz; QEMU boots it by PVH, 2.5 s sooner.

    Linux's Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset at 0x248,
    payload_length at 0x24c.  Raises lzma.LZMAError when it is packed with something else.
    """
    sectors = bzimage[0x1F1] or 4
    start = (sectors + 1) * 512 + int.from_bytes(bzimage[0x248:0x24C], "little")
    length = int.from_bytes(bzimage[0x24C:0x250], "little")
    return lzma.LZMADecompressor().decompress(bzimage[start : start + length])


def main(arguments: list[str]) -> int:
    """Fetch the series named, or all; 1 when one cannot be had."""
    status = 0
    for series in arguments or SERIES:
        try:
            print(f"Linux {series}: {fetched(series).release}")  # a command
        except Unavailable as failure:
            print(f"Linux {series}: {failure}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
