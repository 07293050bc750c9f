"""vfio: hosts that cannot be had: each mistake has its own words, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from rumpci.errors import (
    BadURL,
    DeviceBusy,
    HostRefused,
    HostUnavailable,
    NoSuchDevice,
    RumpciError,
)
from rumpci.host import Address, Feature, Holder, Host, Space
from rumpci.hosts import open_host
from rumpci.hosts.vfio.group import Options
from rumpci.hosts.vfio.host import VfioHost
from rumpci.machines import sysfs
from tests.unit.sysfs_tree import Tree

AT = Address(0, 1, 0, 0)
NAME = str(AT)
BARS = """\
0x00000000fea00000 0x00000000feafffff 0x0000000000040200
0x000000000000c000 0x000000000000c007 0x0000000000040101
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000800000000 0x0000000800003fff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000feb00000 0x00000000feb0ffff 0x0000000000046200
"""

Way = Callable[[Tree], VfioHost]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def opened(tree: Tree) -> VfioHost:
    return VfioHost(f"vfio:{NAME}", [AT], Options(1 << 20, root=tree.root))


def without_iommu(tree: Tree, allowed: str = "Y") -> VfioHost:
    parameter = tree.root / "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    parameter.parent.mkdir(parents=True)
    parameter.write_text(f"{allowed}\n")
    options = Options(2 << 20, noiommu=True, root=tree.root)
    return VfioHost(f"vfio:{NAME}?noiommu=yes", [AT], options)


def nothing(tree: Tree) -> None:
    """No function at all."""


def no_iommu(tree: Tree) -> None:
    tree.function(NAME, group=None)


def no_iommu_though_asked(tree: Tree) -> None:
    tree.function(NAME, group=None)
    (tree.root / "proc/cmdline").write_text("quiet intel_iommu=on\n")


def bound_elsewhere(tree: Tree) -> None:
    tree.function(NAME, "nvme")


def bound_nowhere(tree: Tree) -> None:
    tree.function(NAME, None)


def not_viable(tree: Tree) -> None:
    tree.function(NAME)
    tree.function("0000:01:00.1", "snd_hda_intel")
    tree.function("0000:00:01.0", "pcieport", class_=0x06_0400, header=1)
    tree.function("0000:01:00.2", None)


def no_module(tree: Tree) -> None:
    tree.function(NAME)


def no_group_node(tree: Tree) -> None:
    tree.function(NAME)
    tree.node("vfio")


def in_made_up_group(tree: Tree) -> None:
    """As vfio makes it where there is no IOMMU."""
    tree.function(NAME)
    (tree.root / "sys/kernel/iommu_groups/1/name").write_text("vfio-noiommu\n")


ROWS: list[tuple[Way, Callable[[Tree], None], type[RumpciError], int, str, str]] = [
    (opened, nothing, NoSuchDevice, errno.ENXIO, "no function at 0000:01:00.0", "lspci"),
    (opened, no_iommu, HostUnavailable, errno.ENODEV, "uses no IOMMU", "intel_iommu=on"),
    (opened, no_iommu_though_asked, HostUnavailable, errno.ENODEV, "found no IOMMU", "firmware"),
    (opened, bound_elsewhere, DeviceBusy, errno.EBUSY, "driver nvme has it", "rumpci bind"),
    (opened, bound_nowhere, DeviceBusy, errno.EBUSY, "no driver has it", f"bind {NAME} vfio-pci"),
    (opened, not_viable, DeviceBusy, errno.EBUSY, "0000:01:00.1 (snd_hda_intel)",
     "bind 0000:01:00.1"),
    (opened, no_module, HostUnavailable, errno.ENOENT, "there is no", "modprobe vfio"),
    (opened, no_group_node, HostUnavailable, errno.ENOENT, "dev/vfio/1", "modprobe vfio-pci"),
    (without_iommu, nothing, NoSuchDevice, errno.ENXIO, "no function", "lspci"),
    (without_iommu, no_iommu, HostUnavailable, errno.ENODEV, "before the kernel was told",
     "bind it again"),
    (without_iommu, bound_elsewhere, DeviceBusy, errno.EBUSY, "driver nvme has it", "rumpci bind"),
    (without_iommu, no_module, HostRefused, errno.EINVAL, "an IOMMU keeps it (group 1)",
     "noiommu=yes out"),
    (without_iommu, in_made_up_group, HostUnavailable, errno.ENOENT, "dev/vfio/vfio",
     "modprobe vfio"),
]  # fmt: skip


@pytest.mark.parametrize(("way", "broken", "kind", "number", "why", "remedy"), ROWS)
def test_what_cannot_be_had(
    tree: Tree, way: Way, broken: Callable[[Tree], None], kind: type[RumpciError],
    number: int, why: str, remedy: str,
) -> None:  # fmt: skip
    broken(tree)
    with pytest.raises(kind) as caught:
        way(tree)
    assert caught.value.errno == number
    assert why in caught.value.why
    assert remedy in caught.value.remedy


def test_only_what_blocks_is_named(tree: Tree) -> None:
    not_viable(tree)
    with pytest.raises(DeviceBusy) as caught:
        opened(tree)
    assert "pcieport" not in str(caught.value)
    assert "0000:01:00.2" not in str(caught.value)


def test_a_node_of_somebody_else(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.function(NAME)
    node = tree.node("vfio"), tree.node("1")
    monkeypatch.setattr("os.access", lambda path, _mode: path != node[1])
    with pytest.raises(HostUnavailable, match=r"may not open .*vfio/1.*chown") as caught:
        opened(tree)
    assert caught.value.errno == errno.EACCES


def test_what_the_kernel_lists(tree: Tree) -> None:
    tree.function(NAME, resource=BARS)
    found = sysfs.find(AT, tree.root)
    assert found is not None
    bars = {bar.index: bar for bar in found.function().bars}
    assert {index: bar.size for index, bar in bars.items()} == {0: 1 << 20, 1: 8, 4: 0x4000}
    assert bars[1].space is Space.IO
    assert bars[4].width64
    assert bars[4].prefetchable
    assert not bars[0].prefetchable
    assert found.conf_read(0) == 0x11E8_1234
    assert found.conf_read(0x100) == 0xFFFF_FFFF, "past the end"


def test_a_host_lists_what_it_names_and_bridges(tree: Tree) -> None:
    tree.function(NAME, resource=BARS)
    tree.function("0000:00:00.0", None, 2, class_=0x06_0000)
    tree.function("0000:02:00.0", "nvme", 3)
    tree.node("vfio")
    tree.node("1")
    host = opened(tree)
    assert [str(f.address) for f in host.functions()] == ["0000:00:00.0", NAME]
    assert Feature.IOSPACE | Feature.MEMSPACE | Feature.IOMMU in host.features
    assert Feature.EXTCONF not in host.features
    with pytest.raises(DeviceBusy, match="bridge"):
        host.claim(Address(0, 0, 0, 0), "one")
    with pytest.raises(DeviceBusy, match="does not name it"):
        host.claim(Address(0, 2, 0, 0), "one")
    with pytest.raises(NoSuchDevice):
        host.claim(Address(0, 3, 0, 0), "one")
    host.close()
    host.close()


def test_no_kernel_does_without_an_iommu_unasked(tree: Tree) -> None:
    options = Options(1 << 20, noiommu=True, root=tree.root)
    with pytest.raises(HostUnavailable, match="VFIO_NOIOMMU") as caught:
        VfioHost(f"vfio:{NAME}?noiommu=yes", [AT], options)
    assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(HostUnavailable, match="not told") as caught:
        without_iommu(tree, "N")
    assert caught.value.errno == errno.EOPNOTSUPP


def test_without_an_iommu_it_warns_each_time(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    in_made_up_group(tree)
    tree.node("vfio")
    tree.node("noiommu-1")
    host = without_iommu(tree)
    assert "nothing keeps its devices from any memory" in caplog.text
    assert Feature.IOMMU not in host.features
    host.close()


def test_nobody_does_without_an_iommu_by_mistake(tree: Tree) -> None:
    in_made_up_group(tree)
    with pytest.raises(HostUnavailable, match="no IOMMU keeps it") as caught:
        opened(tree)
    assert caught.value.errno == errno.ENODEV
    assert "?noiommu=yes" in caught.value.remedy


def test_a_kernel_without_nodes_of_devices(tree: Tree) -> None:
    tree.function(NAME)
    options = Options(1 << 20, via="iommufd", root=tree.root)
    with pytest.raises(HostUnavailable, match="VFIO_DEVICE_CDEV"):
        VfioHost(f"vfio:{NAME}?via=iommufd", [AT], options)
    (tree.devices / NAME / "vfio-dev" / "vfio0").mkdir(parents=True)
    with pytest.raises(HostUnavailable, match=r"no .*/dev/iommu.*modprobe iommufd"):
        VfioHost(f"vfio:{NAME}?via=iommufd", [AT], options)


def test_who_holds_what(tree: Tree) -> None:
    bridge = Address(0, 0, 1, 0)
    tree.function(str(bridge), "pcieport", class_=0x06_0400, header=1)
    tree.function(NAME)
    tree.node("vfio")
    tree.node("1")
    with contextlib.closing(opened(tree)) as opened_host:
        host: Host = opened_host  # a host in every respect: mypy looks, as open_host cannot
        assert host.holders() == [Holder(bridge, allowed=False), Holder(AT)]


@pytest.mark.parametrize(
    "url",
    [
        "vfio:",
        "vfio:x",
        "vfio:01:00.0,",
        "vfio:01:00.0,0000:01:00.0",
        "vfio:01:00.0?a=b",
        "vfio:01:00.0?noiommu=1",
        "vfio:01:00.0?unmap=never",
        "vfio:01:00.0?via=sea",
        "vfio:01:00.0?noiommu=yes&via=iommufd",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadURL):
        open_host(url)
