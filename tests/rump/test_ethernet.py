"""NetBSD's Ethernet drivers, unmodified, on QEMU's cards: UDP and TCP through NetBSD's stack."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.qemu.needs import qemu
from tests.rump import needs, traffic
from tests.rump.scene import Player
from tests.rump.wires import Wires

pytestmark = qemu
MAC = "52:54:00:12:34:56"
FXP_BUG = "fxp_add_rfabuf"
"""It loads with BUS_DMA_READ what the device reads, too."""
CARDS = [
    pytest.param("e1000", "", "wm", ["wm"], "", marks=needs.wire("if_wm"), id="wm"),
    pytest.param("pcnet", "", "pcn", ["pcn"], "", marks=needs.wire("if_pcn"), id="pcn"),
    pytest.param("i82559er", "", "fxp", ["fxp"], FXP_BUG, marks=needs.wire("if_fxp"), id="fxp"),
    pytest.param(
        "virtio-net-pci", "?iommu=off", "vioif", ["virtio", "rumpdev_virtio_if_vioif"], "",
        marks=[needs.wire("virtio"), needs.libraries("rumpdev_virtio_if_vioif"),
               needs.no_gs("rumpdev_virtio_if_vioif")], id="vioif",
    ),
]  # fmt: skip
BRIDGES = [
    "pcie-root-port,id=b,chassis=1+e1000,bus=b",
    "pcie-pci-bridge,id=b+e1000,bus=b",
    "pcie-pci-bridge,id=a+pci-bridge,id=b,bus=a,chassis_nr=1,addr=01+e1000,bus=b,addr=02",
]
wm = needs.wire("if_wm")


@pytest.mark.soak
@pytest.mark.parametrize(("card", "query", "name", "drivers", "bug"), CARDS)
def test_udp_echoes(
    rump: Player,
    tmp_path: Path,
    soak: bool,
    card: str,
    query: str,
    name: str,
    drivers: list[str],
    bug: str,
) -> None:
    times, wire = (5000 if soak else 500), tmp_path / "w"
    url = f"qemu:{card},mac={MAC},wire={wire}{query}"
    with Wires(wire):
        got = rump(traffic.echoes, url, f"{name}0", times, drivers=drivers, **traffic.NET)
    print(f"{name}: {got['rate']:.0f} echoes a second")
    assert got["good"] == times
    assert got["unused"] == []
    if name != "pcn":  # QEMU's pcnet answers reads of bytes of its PROM with ones
        assert f"Ethernet address {MAC}" in rump.said
    assert [bug in told for told in got["findings"]] == ([True] if bug else []), got["findings"]


@needs.wire("if_rtk")
def test_a_card_that_waits_for_another_descriptor(rump: Player, tmp_path: Path) -> None:
    """QEMU's rtl8139 loses what is in its ring once; after rtk(4)'s watchdog nothing is lost.

    An interface that comes up is initialised twice, without a reset between.  NetBSD then begins
    with the first transmit descriptor, but QEMU's model goes on with the one after its last.
    """
    times = 100
    with Wires(tmp_path / "w"):
        url = f"qemu:rtl8139,wire={tmp_path / 'w'}"
        got = rump(traffic.echoes, url, "rtk0", times, drivers=["rtk"], **traffic.NET)
    assert rump.said.count("watchdog timeout") <= 1
    assert times - 4 <= got["good"] <= times
    assert (got["findings"], got["unused"]) == ([], [])


@wm
@pytest.mark.parametrize("intr", [0, 1, 2])
def test_interrupts_of_each_type(rump: Player, tmp_path: Path, intr: int) -> None:
    """INTx on e1000, which has nothing else."""
    with Wires(tmp_path / "w"):
        url = f"qemu:e1000,wire={tmp_path / 'w'}"
        got = rump(traffic.echoes, url, "wm0", 20, drivers=["wm"], msi=intr, **traffic.NET)
    assert got["good"] == 20


@wm
@pytest.mark.parametrize("device", BRIDGES, ids=["port", "one", "two"])
@needs.libraries("rumpdev_pci_ppb")
def test_behind_bridges(rump: Player, tmp_path: Path, device: str) -> None:
    with Wires(tmp_path / "w"):
        url = f"qemu:{device},wire={tmp_path / 'w'}"
        got = rump(traffic.echoes, url, "wm0", 100, drivers=["ppb", "wm"], **traffic.NET)
    assert (got["good"], got["findings"]) == (100, [])


@pytest.mark.soak
@wm
def test_a_heap_that_is_dma_memory(rump: Player, tmp_path: Path, soak: bool) -> None:
    times = 5000 if soak else 200
    with Wires(tmp_path / "w"):
        url = f"qemu:e1000,wire={tmp_path / 'w'}?memory=128M"
        got = rump(traffic.echoes, url, "wm0", times, drivers=["wm"], shared=True, **traffic.NET)
    print(f"shared: {got['rate']:.0f} echoes a second")
    assert (got["good"], got["findings"]) == (times, [])


@pytest.mark.soak
@wm
@pytest.mark.parametrize("shared", [False, True], ids=["strict", "shared"])
def test_tcp_between_two_rump_kernels(tmp_path: Path, soak: bool, shared: bool) -> None:
    size = (50 if soak else 2) << 20
    ends = [tmp_path / name for name in ("a", "b")]
    players = [Player(needs.LIB, tmp_path / f"{end.name}.d") for end in ends]
    options = {"drivers": ["wm"], "shared": shared, **traffic.NET}
    urls = [
        f"qemu:e1000,mac=52:54:00:00:00:0{i + 1},wire={end}?memory=128M"
        for i, end in enumerate(ends)
    ]
    with Wires(*ends), ThreadPoolExecutor() as threads:
        server = threads.submit(players[0], traffic.receive, urls[0], "wm0", **options)
        client = threads.submit(players[1], traffic.send, urls[1], "wm0", size, **options)
        received, sent = server.result(), client.result()
    print(f"{received['rate'] / 1e6:.1f} MB/s")
    assert received["size"] == size
    assert received["digest"] == hashlib.sha256(traffic.content(size)).hexdigest()
    assert (sent["done"], received["who"]) == ("done", "10.0.0.1")
    assert sent["findings"] == received["findings"] == []
