"""Kernel modules: what each needs, in the order in which they can be loaded."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """A module's file, and the names of the modules that have to be there before it."""

    file: Path
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonical(self.file.name)

    def code(self) -> bytes:
        """The object file, unpacked."""
        return code(self.file)


def canonical(name: str) -> str:
    """The kernel's name of a module: `vfio_pci` for vfio-pci, vfio-pci.ko and vfio-pci.ko.xz."""
    return name.split(".ko", maxsplit=1)[0].replace("-", "_")


def code(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data


def modinfo(module: bytes, key: str) -> list[str]:
    """Every value of `key` in the module's .modinfo: NUL-terminated key=value strings."""
    found = re.findall(rb"\0" + key.encode() + rb"=([^\0]*)\0", module)
    return [value.decode() for value in found]


class Tree:
    """The modules under a folder.  Names may be written with - or _."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {canonical(f.name): f for f in folder.rglob("*.ko*")}

    def find(self, name: str) -> Module | None:
        """None when the kernel has no such module: built in, or not at all."""
        file = self._files.get(canonical(name))
        if file is None:
            return None
        needs = ",".join(modinfo(code(file), "depends")).split(",")
        return Module(file, tuple(canonical(n) for n in needs if n))

    def all(self) -> dict[str, Module]:
        """Every module, by its name."""
        found = {name: self.find(name) for name in self._files}
        return {name: module for name, module in found.items() if module is not None}

    def closure(self, names: Iterable[str]) -> list[Module]:
        """The modules and all that they need, each after what it needs."""
        order: dict[str, Module] = {}

        def add(name: str) -> None:
            module = self.find(name)
            if module is None or module.name in order:
                return
            for need in module.needs:
                add(need)
            order[module.name] = module

        for name in names:
            add(name)
        return list(order.values())


def dep_file(modules: Iterable[Module]) -> str:
    """modules.dep, which modprobe reads: a file, then all that it needs, the nearest first.

    The modules lie side by side in one folder, as they do in the cache.
    """
    by_name = {module.name: module for module in modules}

    def chain(module: Module) -> list[str]:
        found: dict[str, None] = {}
        for need in module.needs:
            if need in by_name:
                found |= dict.fromkeys([need, *chain(by_name[need])])
        return list(found)

    lines = []
    for module in by_name.values():
        needs = " ".join(f"{name}.ko" for name in chain(module))
        lines.append(f"{module.name}.ko: {needs}".rstrip())
    return "\n".join(lines) + "\n"
