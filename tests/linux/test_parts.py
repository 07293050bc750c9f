"""The parts of a guest that need no guest: the archive, the modules' order, the fetching."""

from __future__ import annotations

import lzma
import stat
from pathlib import Path

import pytest

from tests.linux import archive, built, kernel
from tests.linux.initrd import EXECUTABLE, Entry, newc
from tests.linux.modules import Tree, canonical, dep_file


def module(folder: Path, name: str, depends: str) -> None:
    (folder / name).write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0end\0")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    module(tmp_path, "vfio.ko", "")
    module(tmp_path, "vfio-pci-core.ko", "vfio,irqbypass")
    module(tmp_path, "vfio-pci.ko", "vfio-pci-core,vfio")
    packed = tmp_path / "irqbypass.ko"
    module(tmp_path, packed.name, "")
    (tmp_path / "irqbypass.ko.xz").write_bytes(lzma.compress(packed.read_bytes()))
    packed.unlink()
    return Tree(tmp_path)


def test_each_module_comes_after_what_it_needs(tree: Tree) -> None:
    names = [m.name for m in tree.closure(["vfio-pci", "no_such_module"])]
    assert names == ["vfio", "irqbypass", "vfio_pci_core", "vfio_pci"]


def test_modprobe_is_told_what_each_module_needs(tree: Tree) -> None:
    lines = dep_file(tree.closure(["vfio_pci"])).splitlines()
    assert "vfio_pci.ko: vfio_pci_core.ko vfio.ko irqbypass.ko" in lines
    assert "vfio.ko:" in lines


def test_a_packed_module_is_unpacked(tree: Tree) -> None:
    found = tree.find("irqbypass")
    assert found is not None
    assert found.code().startswith(b"\x7fELF")
    assert canonical(found.file.name) == "irqbypass"


@pytest.fixture
def debian(tmp_path: Path) -> kernel.Kernel:
    """A kernel without VFIO_NOIOMMU."""
    folder = tmp_path / "modules"
    folder.mkdir()
    module(folder, "vfio.ko", "")
    module(folder, "vfio-pci.ko", "vfio")
    (folder / ".config").write_text("CONFIG_VFIO=m\n# CONFIG_VFIO_NOIOMMU is not set\n")
    return kernel.Kernel("6.1", "6.1.0-1-amd64", tmp_path / "vmlinux", folder, tmp_path / "busybox")


NEEDS = ("VFIO_NOIOMMU",)


def test_what_a_kernel_lacks_is_named(
    debian: kernel.Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(built.VARIABLE, raising=False)
    assert built.lacking(debian, ("VFIO",)) is None
    told = built.lacking(debian, NEEDS)
    assert told is not None
    assert "without CONFIG_VFIO_NOIOMMU" in told
    assert f"{built.VARIABLE}=DIR" in told
    assert "DIR/6.1.0-1-amd64" in told
    monkeypatch.setenv(built.VARIABLE, str(tmp_path / "built"))
    own = tmp_path / "built" / debian.release
    own.mkdir(parents=True)
    module(own, "vfio.ko", "")
    assert built.lacking(debian, NEEDS) == told, "these modules have it as little"


def test_modules_that_were_built_take_their_place(
    debian: kernel.Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "built" / debian.release
    own.mkdir(parents=True)
    module(own, "vfio.ko", "iommufd")
    with (own / "vfio.ko").open("ab") as file:
        file.write(b"parm=enable_unsafe_noiommu_mode:bool\0")
    module(own, "iommufd.ko", "")
    monkeypatch.setenv(built.VARIABLE, str(tmp_path / "built"))
    assert built.lacking(debian, NEEDS) is None
    assert built.with_built(debian, (), tmp_path / "none") is debian, "nobody needs them"
    merged = built.with_built(debian, NEEDS, tmp_path / "merged")
    assert (merged.folder / "vfio.ko").read_bytes() == (own / "vfio.ko").read_bytes()
    lines = (merged.folder / "modules.dep").read_text().splitlines()
    assert "vfio_pci.ko: vfio.ko iommufd.ko" in lines
    assert (debian.folder / "vfio.ko").read_bytes() != (own / "vfio.ko").read_bytes()


def test_an_archive_has_every_byte_where_the_format_says() -> None:
    """One entry, then the trailer: headers of 110 bytes, everything padded to four."""
    made = newc([Entry("a", EXECUTABLE, b"12345")])
    assert made[:6] == b"070701"
    assert stat.S_IMODE(int(made[14:22], 16)) == 0o755
    assert int(made[54:62], 16) == 5
    assert made[110:112] == b"a\0"
    assert made[112:120] == b"12345\0\0\0"
    assert made[120:126] == b"070701"
    assert made[230:241] == b"TRAILER!!!\0"
    assert len(made) % 4 == 0


def test_vmlinux_comes_out_of_a_kernel_packed_with_xz() -> None:
    packed = lzma.compress(b"\x7fELF vmlinux") + b"size"
    header = bytearray(512 * 3 + 16)
    header[0x1F1] = 2
    header[0x248:0x24C] = (16).to_bytes(4, "little")
    header[0x24C:0x250] = len(packed).to_bytes(4, "little")
    assert kernel.payload(bytes(header) + packed) == b"\x7fELF vmlinux"
    with pytest.raises(lzma.LZMAError):
        kernel.payload(bytes(header) + b"\x28\xb5\x2f\xfd" + bytes(len(packed)))


def test_without_apt_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(archive.Unavailable, match="apt-get is missing"):
        archive.fetch("busybox-static")


def test_what_apt_says_is_in_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An apt that fails as it does without a network."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        (tmp_path / tool).write_text("#!/bin/sh\necho 'E: no way to the archive' >&2\nexit 100\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(archive, "CACHE", tmp_path / "cache")
    with pytest.raises(archive.Unavailable, match="no way to the archive"):
        archive.fetch("busybox-static")
