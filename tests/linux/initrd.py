"""The guest's first file system: a cpio archive with busybox, a few modules and init."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.linux.kernel import BOOT_MODULES, Kernel
from tests.linux.modules import Tree

FOLDER, EXECUTABLE, PLAIN = 0o040755, 0o100755, 0o100644


@dataclass(frozen=True)
class Entry:
    """A file or folder of an archive."""

    name: str
    mode: int
    data: bytes = b""


def newc(entries: Iterable[Entry]) -> bytes:
    """The archive in the format newc, which Linux unpacks at boot.

    Linux's Documentation/driver-api/early-userspace/buffer-format.rst: thirteen fields of eight
    hexadecimal digits after the magic number; name and data padded to four bytes.
    """
    archive = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        archive += bytes(-len(archive) % 4)
        archive += entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def build(kernel: Kernel) -> bytes:
    """What the kernel is booted with: `init.sh` runs first, and hands over to `stage2.sh`."""
    modules = Tree(kernel.folder).closure(BOOT_MODULES)
    scripts = Path(__file__).parent
    return newc(
        [
            *(Entry(name, FOLDER) for name in ("dev", "proc", "sys", "lower", "upper", "new")),
            Entry("busybox", EXECUTABLE, kernel.busybox.read_bytes()),
            Entry("init", EXECUTABLE, (scripts / "init.sh").read_bytes()),
            Entry("order", PLAIN, "".join(f"/{m.name}.ko\n" for m in modules).encode()),
            *(Entry(f"{m.name}.ko", PLAIN, m.code()) for m in modules),
        ]
    )
