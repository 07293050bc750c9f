"""A kernel's sysfs in a folder, as far as drivers of PCI functions go: what is written acts."""

from __future__ import annotations

import errno
from pathlib import Path

from tests.unit.sysfs_tree import Sysfs

Tree = dict[str, str]

NVME, E1000E, VGA, XHCI, BRIDGE = (0x010802, 0x020000, 0x030000, 0x0C0330, 0x060400)
"""Class codes."""


class FakeKernel(Sysfs):
    """`root` is for those who read; `write` is what they write with; `log` is what was written."""

    def __init__(self, root: Path, drivers: tuple[str, ...] = ("vfio-pci",)) -> None:
        super().__init__(root)
        self.log = list[str]()
        self.fits: dict[str, str] = {}
        self.refusing: set[str] = set()
        self.file("sys/bus/pci/drivers_probe")
        for driver in drivers:
            self.load(driver)

    def add(
        self,
        address: str,
        driver: str | None = None,
        *,
        group: int | None = 1,
        code: int = NVME,
        fits: str | None = None,
        override: str = "",
    ) -> Path:
        """A function, with `driver`; `fits` is the driver that the kernel would choose."""
        header = 1 if code == BRIDGE else 0
        place = self.function(address, driver, group, class_=code, header=header)
        (place / "driver_override").write_text(f"{override or '(null)'}\n")
        type_ = place / "iommu_group" / "type"
        if group is not None and not type_.exists():
            type_.write_text("DMA-FQ\n")
        if fits or driver:
            self.fits[address] = fits or str(driver)
        return place

    def below(self, address: str, kind: str, name: str, /, **texts: str) -> Path:
        """Something of a class below a function; its files."""
        place = f"{self.place(address)}/{kind}/{name}"
        (self.root / place).mkdir(parents=True)
        self.link(f"sys/class/{kind}/{name}", place)
        for file, text in texts.items():
            self.file(f"{place}/{file.replace('__', '/')}", f"{text}\n")
        return self.root / place

    def driver(self, address: str) -> str | None:
        link = self.bus / "devices" / address / "driver"
        return link.resolve().name if link.is_symlink() else None

    def tree(self) -> Tree:
        """Everything that sysfs shows."""
        found = {}
        for path in sorted((self.root / "sys").rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = path.read_bytes().decode("latin-1")
        return found

    # ---- what writes do ----------------------------------------------------------------

    def write(self, path: Path, line: str) -> None:
        """One write(2) into one file."""
        assert line.endswith("\n")
        word = line.strip()
        self.log.append(f"echo {word} > {path}" if word else f"echo > {path}")
        actions = {
            "unbind": self._unbind,
            "bind": self._bind,
            "drivers_probe": self._probe,
            "driver_override": self._override,
            "type": self._type,
        }
        actions[path.name](path, word)

    def _unbind(self, path: Path, address: str) -> None:
        driver = path.parent.resolve().name
        if self.driver(address) != driver:
            raise OSError(errno.ENODEV, "No such device")
        (self.bus / "devices" / address / "driver").unlink()

    def _bind(self, path: Path, address: str) -> None:
        if not path.parent.is_dir():
            raise OSError(errno.ENOENT, "No such file or directory")
        if self._choice(address) != path.parent.name or self.driver(address):
            raise OSError(errno.ENODEV, "No such device")
        self.attach(address, path.parent.name)

    def _probe(self, _path: Path, address: str) -> None:
        choice = self._choice(address)
        loaded = choice is not None and (self.bus / "drivers" / choice).is_dir()
        if choice and loaded and not self.driver(address) and choice not in self.refusing:
            self.attach(address, choice)

    def _override(self, path: Path, word: str) -> None:
        path.write_text(f"{word or '(null)'}\n")

    def _type(self, path: Path, kind: str) -> None:
        members = (path.parent / "devices").iterdir()
        if any(self.driver(member.name) for member in members):
            raise OSError(errno.EBUSY, "Device or resource busy")
        path.write_text(f"{kind}\n")

    def _choice(self, address: str) -> str | None:
        override = (self.bus / "devices" / address / "driver_override").read_text().strip()
        return self.fits.get(address) if override == "(null)" else override
