"""Enumeration of the bare q35, against QEMU's own view of it (QMP query-pci)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from rumpci import pcireg as pr
from rumpci.guard import Guard
from rumpci.host import Address, Bar, Function, Space
from rumpci.hosts import open_host
from rumpci.machines.qemu.machine import QemuMachine

EDU_ID = 0x11E8_1234
Info = dict[str, Any]

TOPOLOGIES = {
    "one device": ["edu"],
    "32-bit, 64-bit and port BARs": ["e1000e", "nvme,serial=1", "pci-serial", "virtio-rng-pci"],
    "big prefetchable": ["VGA,vgamem_mb=64", "bochs-display", "qxl,id=q", "virtio-vga"],
    "root port": ["pcie-root-port,id=a,chassis=1", "edu,bus=a"],
    "ports behind a root port": ["pcie-root-port,id=a,chassis=1", "pci-serial,bus=a"],
    "empty bridges": [
        "pcie-root-port,id=a,chassis=1", "pcie-pci-bridge,id=b", "pci-bridge,id=c,chassis_nr=3",
    ],
    "conventional bridges": [
        "pcie-pci-bridge,id=a", "pci-bridge,id=b,bus=a,chassis_nr=1,addr=01",
        "edu,bus=b,addr=02", "e1000,bus=b,addr=03", "pci-serial,bus=a,addr=05", "edu,bus=a,addr=06",
    ],
    "switch": [
        "pcie-root-port,id=r,chassis=1", "x3130-upstream,id=u,bus=r",
        "xio3130-downstream,id=d1,bus=u,chassis=2", "xio3130-downstream,id=d2,bus=u,chassis=3",
        "nvme,serial=1,bus=d1", "virtio-rng-pci,bus=d2", "edu",
    ],
    "bridge behind a switch": [
        "pcie-root-port,id=r,chassis=1", "x3130-upstream,id=u,bus=r",
        "xio3130-downstream,id=d,bus=u,chassis=2", "pcie-pci-bridge,id=p,bus=d",
        "pci-bridge,id=q,bus=p,chassis_nr=4,addr=03", "edu,bus=q,addr=01", "VGA,bus=p,addr=04",
    ],
    "multifunction": [
        "edu,addr=04.0,multifunction=on", "e1000,addr=04.3", "pci-serial,addr=04.7",
        "ich9-usb-ehci1,addr=1d.7,multifunction=on", "ich9-usb-uhci1,addr=1d.0,multifunction=on",
    ],
    "multifunction root ports": [
        *(f"pcie-root-port,id=p{i},chassis={i},addr=03.{i}" + ",multifunction=on" * (i == 0)
          for i in range(4)),
        *(f"edu,bus=p{i}" for i in range(4)),
    ],
    "nested 64-bit": [
        "pcie-root-port,id=a,chassis=1", "pcie-root-port,id=b,chassis=2",
        "virtio-gpu-pci,bus=a", "bochs-display,bus=b,vgamem=128M",
    ],
}  # fmt: skip


@contextlib.contextmanager
def machine_with(devices: list[str]) -> Iterator[QemuMachine]:
    host = open_host("qemu:" + "+".join(devices))
    assert isinstance(host, Guard)
    assert isinstance(host.machine, QemuMachine)
    with contextlib.closing(host):
        yield host.machine


@contextlib.contextmanager
def guard_with(*devices: str) -> Iterator[Guard]:
    host = open_host("qemu:" + "+".join(devices))
    assert isinstance(host, Guard)
    with contextlib.closing(host):
        yield host


# ---- the oracle -------------------------------------------------------------------


def qemu_view(machine: QemuMachine) -> Iterator[tuple[Address, Info]]:
    """Every function that QEMU lists, below bridges too."""
    todo = [info for bus in machine.monitor.execute("query-pci") for info in bus["devices"]]
    while todo:
        info = todo.pop()
        yield Address(0, info["bus"], info["slot"], info["function"]), info
        todo += info.get("pci_bridge", {}).get("devices", [])


def qemu_bars(info: Info) -> set[tuple[int, Space, int, int, bool, bool]]:
    return {
        (
            region["bar"],
            Space.IO if region["type"] == "io" else Space.MEM,
            region["address"],
            region["size"],
            region.get("mem_type_64", False),
            region.get("prefetch", False),
        )
        for region in info["regions"]
        if region["bar"] < 6  # 6 is the ROM, which is not assigned
    }


def our_bars(function: Function) -> set[tuple[int, Space, int, int, bool, bool]]:
    return {(b.index, b.space, b.base, b.size, b.width64, b.prefetchable) for b in function.bars}


def check_against_qemu(machine: QemuMachine) -> None:
    ours = {function.address: function for function in machine.functions()}
    theirs = dict(qemu_view(machine))
    assert sorted(ours) == sorted(theirs)
    for address, info in theirs.items():
        function = ours[address]
        assert our_bars(function) == qemu_bars(info), address
        assert (function.id & 0xFFFF, function.id >> 16) == (
            info["id"]["vendor"], info["id"]["device"],
        )  # fmt: skip
        assert function.class_ >> 16 == info["class_info"]["class"]
        if bridge := info.get("pci_bridge"):
            check_bridge(ours, function, bridge)


def check_bridge(ours: dict[Address, Function], function: Function, bridge: Info) -> None:
    """Bus numbers as QEMU has them; in the windows everything behind and nothing beside."""
    numbers = bridge["bus"]
    assert function.secondary == numbers["secondary"]
    assert function.address.bus == numbers["number"]
    below = range(numbers["secondary"], numbers["subordinate"] + 1)
    behind = [bar for a, f in ours.items() if a.bus in below for bar in f.bars]
    beside = [bar for a, f in ours.items() if a.bus not in below for bar in f.bars]
    assert all(forwarded(bar, numbers) for bar in behind)
    assert not any(forwarded(bar, numbers) for bar in beside)
    for kind in ("io_range", "memory_range", "prefetchable_range"):
        is_open = numbers[kind]["base"] <= numbers[kind]["limit"]
        assert not is_open or any(inside(bar, numbers[kind]) for bar in behind), kind


def forwarded(bar: Bar, numbers: Info) -> bool:
    if bar.space is Space.IO:
        return inside(bar, numbers["io_range"])
    memory = inside(bar, numbers["memory_range"])
    return memory or (bar.prefetchable and inside(bar, numbers["prefetchable_range"]))


def inside(bar: Bar, window: dict[str, int]) -> bool:
    return window["base"] <= bar.base and bar.base + bar.size - 1 <= window["limit"]


# ---- enumeration --------------------------------------------------------------------


@pytest.mark.parametrize("devices", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def test_functions_are_where_qemu_has_them(devices: list[str]) -> None:
    with machine_with(devices) as machine:
        check_against_qemu(machine)
        check_reachable(machine)


def check_reachable(machine: QemuMachine) -> None:
    """Every edu and every UART answers, and no two are the same one."""
    edus = [f.address for f in machine.functions() if f.id == EDU_ID]
    bars = [machine.bar(address, 0) for address in edus]
    for i, bar in enumerate(bars):
        assert bar.read(0, 4) == 0x0100_00ED
        bar.write(4, 4, i)
    assert [bar.read(4, 4) for bar in bars] == [~i & 0xFFFF_FFFF for i in range(len(bars))]
    uarts = [f.address for f in machine.functions() if f.class_ >> 16 == 0x0700]
    for i, address in enumerate(uarts):
        machine.bar(address, 0).write(7, 1, 0xA0 + i)  # the scratch register
    assert [machine.bar(a, 0).read(7, 1) for a in uarts] == [0xA0 + i for i in range(len(uarts))]


LEAVES = ["edu", "pci-serial", "e1000", "VGA", "bochs-display", "nec-usb-xhci", "virtio-rng-pci"]


class Builder:
    """A random topology as device strings; each bus is (name, slots that are left)."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw: Any = draw
        self.devices: list[str] = []
        self.express = ["pcie.0"] * 6
        self.conventional: list[tuple[str, int]] = []

    def add(self) -> None:
        name = f"b{len(self.devices)}"
        choice = self.draw(st.sampled_from(["leaf", "leaf", "port", "bridge", "switch", "old"]))
        if choice in ("port", "bridge", "switch") and self.express:
            bus = self.express.pop(self.draw(st.integers(0, len(self.express) - 1)))
            getattr(self, choice)(name, "pcie.0" if choice == "port" else bus)
        elif choice == "old" and self.conventional:
            self.bridge_on_conventional(name)
        else:
            self.leaf(self.draw(st.sampled_from(LEAVES)))

    def leaf(self, device: str) -> None:
        if self.conventional and self.draw(st.booleans()):
            bus, slot = self.conventional.pop()
            self.devices.append(f"{device},bus={bus},addr={slot:02x}")
            self.conventional.append((bus, slot + 1))
        elif self.express:
            self.devices.append(f"{device},bus={self.express.pop()}")

    def port(self, name: str, bus: str) -> None:
        self.devices.append(f"pcie-root-port,id={name},bus={bus},chassis={len(self.devices) + 1}")
        self.express.append(name)

    def switch(self, name: str, bus: str) -> None:
        if bus == "pcie.0":
            self.port(f"{name}r", bus)
            bus = self.express.pop()
        self.devices.append(f"x3130-upstream,id={name},bus={bus}")
        for i in range(2):
            chassis = len(self.devices) + 1
            self.devices.append(f"xio3130-downstream,id={name}d{i},bus={name},chassis={chassis}")
            self.express.append(f"{name}d{i}")

    def bridge(self, name: str, bus: str) -> None:
        self.devices.append(f"pcie-pci-bridge,id={name},bus={bus}")
        self.conventional.append((name, 1))

    def bridge_on_conventional(self, name: str) -> None:
        bus, slot = self.conventional.pop()
        nr = len(self.devices) + 1
        self.devices.append(f"pci-bridge,id={name},bus={bus},addr={slot:02x},chassis_nr={nr}")
        self.conventional += [(bus, slot + 1), (name, 1)]


@st.composite
def topologies(draw: st.DrawFn) -> list[str]:
    builder = Builder(draw)
    for _ in range(draw(st.integers(2, 10))):
        builder.add()
    return builder.devices or ["edu"]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(topologies())
def test_random_topologies(devices: list[str]) -> None:
    with machine_with(devices) as machine:
        check_against_qemu(machine)
        check_reachable(machine)


def test_memory_and_big_bars_do_not_meet() -> None:
    """The most RAM there can be ends below ECAM and all BARs."""
    with machine_with(["VGA,vgamem_mb=16", "virtio-rng-pci?memory=2815M"]) as machine:
        check_against_qemu(machine)
        high = [b.base for f in machine.functions() for b in f.bars if b.base >= 1 << 32]
        assert high
        assert min(b.base for f in machine.functions() for b in f.bars if b.base >= 1 << 20) >= (
            machine.memory.size
        )


def test_memory_that_leaves_no_room_is_refused() -> None:
    from rumpci.errors import BadURL

    with pytest.raises(BadURL, match="memory=64G"):
        open_host("qemu:edu?memory=64G")


def test_configuration_space_of_what_is_absent() -> None:
    with machine_with(["edu"]) as machine:
        for address in (Address(0, 0, 17, 0), Address(0, 1, 0, 0), Address(0, 255, 31, 7)):
            machine.conf_write(address, 4, 7)
            assert machine.conf_read(address, 0) == 0xFFFF_FFFF


# ---- decoding ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "reg", "width", "value", "enable"),
    [
        ("edu", 4, 4, 0x1234_5678, pr.PCI_COMMAND_MEM_ENABLE),
        ("pci-serial", 7, 1, 0x5A, pr.PCI_COMMAND_IO_ENABLE),
    ],
)
def test_without_decoding_nothing_answers(
    device: str, reg: int, width: int, value: int, enable: int
) -> None:
    with guard_with("pcie-root-port,id=p,chassis=1", f"{device},bus=p") as host:
        function = next(f for f in host.functions() if f.address.bus)
        claim = host.claim(function.address, "test")
        window = claim.window(0, 0, 8)
        window.write(reg, width, value)
        before = window.read(reg, width)
        ones = (1 << 8 * width) - 1
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0)
        window.write(reg, width, 0x11)
        assert window.read(reg, width) == ones
        assert window.read_many(reg, width, 3, 0) == b"\xff" * 3 * width
        window.write_many(reg, width, 0, bytes(4 * width))
        assert not window.present()
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, enable)
        assert window.present()
        assert window.read(reg, width) == before


def test_release_switches_decoding_on_again() -> None:
    with guard_with("edu") as host:
        address = next(f.address for f in host.functions() if f.id == EDU_ID)
        claim = host.claim(address, "one")
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, 0)
        claim.release()
        assert host.claim(address, "two").window(0, 0, 8).read(0, 4) == 0x0100_00ED


def test_wide_reads_of_what_does_not_decode() -> None:
    with machine_with(["edu"]) as machine:
        address = next(f.address for f in machine.functions() if f.id == EDU_ID)
        machine.conf_write(address, pr.PCI_COMMAND_STATUS_REG, 0)
        bar = machine.bar(address, 0)
        assert [bar.read(0x80, width) for width in (4, 8)] == [2**32 - 1, 2**64 - 1]
