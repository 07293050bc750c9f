"""Which libraries there are, their order, and what is said when one is not there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rumpci.errors import DriverLoadError, HostUnavailable
from rumpci.rump.libraries import Libraries
from tests.needs import compiler

pytestmark = compiler
Make = Callable[..., Libraries]
"""Libraries by name; each is the symbols that it defines, and (with a -) those that it needs."""
BASE = {"rumpuser": "rumpuser_getparam", "rump": "rump_init rumpns_malloc -rumpuser_getparam"}


def source(symbols: str) -> str:
    wanted = [name[1:] for name in symbols.split() if name.startswith("-")]
    defined = [name for name in symbols.split() if not name.startswith("-")]
    lines = [f"extern int {name}(void);" for name in wanted]
    lines += [f"int {name}(void) {{ return 0; }}" for name in defined]
    calls = "".join(f"{name}();" for name in wanted)
    return "\n".join([*lines, f"void unique_{abs(hash(symbols))}(void) {{ {calls} }}"])


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(**libraries: str) -> Libraries:
        for name, symbols in {**BASE, **libraries}.items():
            path = tmp_path / f"lib{name}.so"
            command = ["cc", "-shared", "-fPIC", "-nostdlib", "-xc", "-", "-o", str(path)]
            subprocess.run(command, input=source(symbols), text=True, check=True)
        return Libraries.find(tmp_path)

    return made


def test_each_comes_after_what_it_needs(make: Make) -> None:
    libraries = make(
        rumpdev="rumpns_config -rumpns_malloc",
        rumpdev_pci="rumpns_pci -rumpns_config -rumpcomp_pci_map -rumpns_bus_space_read_8",
        rumpdev_pci_if_xx="-rumpns_pci -rumpns_mii -rumpns_bus_dmamap_load",
        rumpdev_miiphy="rumpns_mii -rumpns_config",
        rumpnet="rumpns_ether -rumpns_malloc",
        rumpnet_unused="rumpns_unused",
    )
    order = list(libraries.order([libraries.named("xx"), "rumpnet"]))
    assert order[:4] == ["rumpuser", "rump", "rumpdev", "rumpnet"]
    assert sorted(order[4:]) == ["rumpdev_miiphy", "rumpdev_pci", "rumpdev_pci_if_xx"]
    assert order[-1] == "rumpdev_pci_if_xx"


def test_libraries_that_need_each_other_are_both_there(make: Make) -> None:
    libraries = make(rumpnet_a="rumpns_a -rumpns_b", rumpnet_b="rumpns_b -rumpns_a")
    assert set(libraries.order(["rumpnet_a"])) == {"rumpuser", "rump", "rumpnet_a", "rumpnet_b"}


def test_of_two_that_define_a_symbol_the_less_special_one(make: Make) -> None:
    libraries = make(rumpvfs="rumpns_fifo", rumpvfs_fifofs="rumpns_fifo", rumpdev_x="-rumpns_fifo")
    assert list(libraries.order(["rumpdev_x"]))[2:] == ["rumpvfs", "rumpdev_x"]


def test_a_symbol_that_nothing_defines_is_named(make: Make) -> None:
    libraries = make(rumpdev_pci="-rumpns_absent")
    with pytest.raises(DriverLoadError, match=r"librumpdev_pci\.so.*rumpns_absent"):
        libraries.order(["rumpdev_pci"])


def test_symbols_of_the_system_are_not_looked_for(make: Make) -> None:
    assert list(make(rumpdev_x="-printf").order(["rumpdev_x"]))[2:] == ["rumpdev_x"]


def test_a_driver_that_is_not_there(make: Make) -> None:
    libraries = make(rumpdev_pci_if_wm="", rumpdev_pci_virtio="")
    with pytest.raises(DriverLoadError, match=r"'re'.*there are: virtio, wm"):
        libraries.named("re")


def test_names_that_a_library_has(make: Make) -> None:
    libraries = make(rumpdev_pci_if_wm="", rumpdev_usb="", rumpfs_ffs="")
    names = [libraries.named(name) for name in ("wm", "usb", "fs_ffs", "rumpfs_ffs")]
    assert names == ["rumpdev_pci_if_wm", "rumpdev_usb", "rumpfs_ffs", "rumpfs_ffs"]
    assert libraries.drivers() == {"wm": "rumpdev_pci_if_wm"}
    assert "rumpdev_usb" in libraries.components()


def test_what_usually_goes_with_a_driver_if_it_is_there(make: Make) -> None:
    libraries = make(rumpnet_netinet="", rumpdev_pci_if_wm="", rumpkern_sysproxy="")
    assert libraries.usual(["wm"]) == ["rumpkern_sysproxy", "rumpnet_netinet"]


def test_no_librumpuser(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "librumpuser.so").unlink()
    with pytest.raises(HostUnavailable, match=r"librumpuser\.so"):
        Libraries.find(tmp_path).order([])


def test_the_file_without_a_number_is_taken(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "librump.so.0").write_bytes(b"")
    (tmp_path / "librumpvfs.so.0").write_bytes(b"")
    paths = Libraries.find(tmp_path).paths
    assert [paths[name].name for name in ("rump", "rumpvfs")] == ["librump.so", "librumpvfs.so.0"]


def test_a_library_that_is_none_is_named(make: Make, tmp_path: Path) -> None:
    make(rumpvfs="")
    (tmp_path / "librumpfs_bad.so").write_text("not ELF")
    with pytest.raises(HostUnavailable, match="librumpfs_bad"):
        Libraries.find(tmp_path).order(["rumpvfs"])


def test_no_libraries_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostUnavailable, match="RUMPCI_RUMP_LIB"):
        Libraries.find(tmp_path)
    with pytest.raises(HostUnavailable, match="nowhere"):
        Libraries.find(tmp_path / "nowhere")
    monkeypatch.setenv("RUMPCI_RUMP_LIB", str(tmp_path / "told"))
    with pytest.raises(HostUnavailable, match="told"):
        Libraries.find()
