"""What uses a device is found and named, and what is beside it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rumpci.binding.uses import uses
from rumpci.host import Address
from rumpci.machines import sysfs
from tests.unit.fakekernel import E1000E, VGA, XHCI, FakeKernel

DEVICE, OTHER = "0000:01:00.0", "0000:02:00.0"
LETTERS = "10000 0 fffffffffffffffe"
MOUNTS = """22 1 0:21 / /proc rw - proc proc rw
30 1 259:1 / /srv/my\\040disk rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw
31 1 254:0 / / rw - ext4 /dev/mapper/vg-root rw
32 1 0:44 / /pool rw - btrfs /dev/nvme0n1 rw
"""


def found(fake: FakeKernel, address: str = DEVICE) -> list[str]:
    function = sysfs.find(Address.parse(address), fake.root)
    assert function is not None
    return [use.what for use in uses(function, fake.root)]


def disk(fake: FakeKernel) -> None:
    fake.below(DEVICE, "block", "nvme0n1", dev="259:0")
    fake.below(DEVICE, "block", "nvme0n1p1", dev="259:1")


def holder(fake: FakeKernel, of: str, name: str, **texts: str) -> None:
    place = fake.file(f"sys/devices/virtual/block/{name}/size").parent
    for file, text in texts.items():
        fake.file(f"sys/devices/virtual/block/{name}/{file.replace('__', '/')}", f"{text}\n")
    fake.link(f"sys/class/block/{name}", str(place.relative_to(fake.root)))
    fake.file(f"sys/devices/pci0000:00/{DEVICE}/block/{of}/holders/{name}")


def mounted(fake: FakeKernel) -> None:
    disk(fake)
    fake.file("proc/self/mountinfo", MOUNTS)


def swap(fake: FakeKernel) -> None:
    disk(fake)
    fake.file("proc/swaps", "Filename Type Size\n/dev/nvme0n1p1 partition 1 0 -2\n")


def lvm(fake: FakeKernel) -> None:
    disk(fake)
    holder(fake, "nvme0n1p1", "dm-0", dev="254:0", dm__name="vg-root")
    fake.file("proc/self/mountinfo", MOUNTS.splitlines()[2])


def raid(fake: FakeKernel) -> None:
    disk(fake)
    holder(fake, "nvme0n1p1", "md0", dev="9:0")


def loop(fake: FakeKernel) -> None:
    disk(fake)
    fake.file("sys/devices/virtual/block/loop0/loop/backing_file", "/dev/nvme0n1\n")
    fake.link("sys/class/block/loop0", "sys/devices/virtual/block/loop0")


def program(fake: FakeKernel) -> None:
    disk(fake)
    process(fake, 4711, "qemu", "/dev/nvme0n1")


def process(fake: FakeKernel, pid: int, name: str, node: str) -> None:
    fake.file(f"proc/{pid}/comm", f"{name}\n")
    (fake.root / f"proc/{pid}/fd").mkdir()
    (fake.root / f"proc/{pid}/fd/3").symlink_to(node)
    fake.file("proc/99/comm", "gone")  # no fd folder: it ended meanwhile


def multipath(fake: FakeKernel) -> None:
    fake.below(DEVICE, "block", "nvme0c1n1", dev="259:5")
    fake.file("sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/dev", "259:1\n")
    fake.link("sys/class/block/nvme0n1", "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
    fake.file("proc/self/mountinfo", MOUNTS.splitlines()[1])


def up(fake: FakeKernel) -> None:
    fake.below(DEVICE, "net", "ens1", flags="0x1003")


def configured(fake: FakeKernel) -> None:
    path = fake.below(DEVICE, "net", "ens1", flags="0x1002")
    (path / "upper_br0").mkdir()
    fake.file("proc/net/if_inet6", f"{'fe80' + '0' * 27 + '1'} 02 40 20 80     ens1\n")
    fake.file("proc/net/route", "Iface Destination\nens1 0000000A 0 0001\nens2 0 0 1\n")


def boot_display(fake: FakeKernel) -> None:
    fake.file(f"sys/devices/pci0000:00/{DEVICE}/boot_vga", "1\n")
    fake.below(DEVICE, "graphics", "fb0")
    fake.below(DEVICE, "drm", "card0-DP-1", enabled="enabled")
    fake.below(DEVICE, "drm", "card0-DP-2", enabled="disabled")


def serial_console(fake: FakeKernel) -> None:
    fake.below(DEVICE, "tty", "ttyS4")
    fake.below(DEVICE, "tty", "ttyS5")
    fake.file("sys/class/tty/console/active", "tty0 ttyS4\n")


def keyboard(fake: FakeKernel) -> None:
    fake.below(DEVICE, "input", "input3", name="A Keyboard", capabilities__key=LETTERS)
    fake.below(DEVICE, "input", "input4", name="A Mouse", capabilities__key="1f0000 0 0 0 0")


def virtual_functions(fake: FakeKernel) -> None:
    fake.file(f"sys/devices/pci0000:00/{DEVICE}/sriov_numvfs", "3\n")


def vfio_program(fake: FakeKernel) -> None:
    fake.add("0000:03:00.0", "vfio-pci", group=7)
    process(fake, 12, "python3", "/dev/vfio/7")


def uio_program(fake: FakeKernel) -> None:
    fake.below(DEVICE, "uio", "uio0")
    process(fake, 12, "python3", "/dev/uio0")


Case = tuple[Callable[[FakeKernel], None], int, list[str]]
CASES: list[Case] = [
    (disk, 0x010802, []),
    (mounted, 0x010802, ["nvme0n1 is mounted at /pool", "nvme0n1p1 is mounted at /srv/my disk"]),
    (swap, 0x010802, ["nvme0n1p1 is swap space"]),
    (
        lvm,
        0x010802,
        ["nvme0n1p1 is a part of dm-0 (vg-root)", "dm-0 (on nvme0n1p1) is mounted at /"],
    ),
    (raid, 0x010802, ["nvme0n1p1 is a part of md0"]),
    (loop, 0x010802, ["loop0 is a loop device of nvme0n1"]),
    (program, 0x010802, ["process 4711 (qemu) has nvme0n1 open"]),
    (multipath, 0x010802, ["nvme0n1 is mounted at /srv/my disk"]),
    (up, E1000E, ["ens1 is up"]),
    (
        configured,
        E1000E,
        ["ens1 has the address fe80::1", "routes go through ens1", "ens1 is a part of br0"],
    ),
    (
        boot_display,
        VGA,
        [
            "the firmware's display is on it (boot_vga)",
            "fb0 is a frame buffer of the console",
            "card0-DP-1 shows a picture",
        ],
    ),
    (serial_console, 0x070002, ["ttyS4 is a console"]),
    (keyboard, XHCI, ["the keyboard 'A Keyboard' is on it"]),
    (virtual_functions, E1000E, ["it has 3 virtual functions"]),
    (uio_program, 0x00FF00, ["process 12 (python3) has /dev/uio0 open"]),
]


@pytest.mark.parametrize(
    ("make", "code", "expected"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_each_use_is_named(
    make: Callable[[FakeKernel], None], code: int, expected: list[str], tmp_path: Path
) -> None:
    fake = FakeKernel(tmp_path)
    fake.add(DEVICE, "a_driver", code=code)
    fake.add(OTHER, "a_driver", code=code, group=2)
    make(fake)
    assert found(fake) == expected
    assert found(fake, OTHER) == []


def test_a_program_that_has_the_group_open_is_named(tmp_path: Path) -> None:
    fake = FakeKernel(tmp_path)
    vfio_program(fake)
    assert found(fake, "0000:03:00.0") == ["process 12 (python3) has /dev/vfio/7 open"]


def test_every_use_has_a_remedy(tmp_path: Path) -> None:
    for make, code, expected in CASES:
        fake = FakeKernel(tmp_path / make.__name__)
        fake.add(DEVICE, "a_driver", code=code)
        make(fake)
        function = sysfs.find(Address.parse(DEVICE), fake.root)
        assert function is not None
        remedies = [use.remedy for use in uses(function, fake.root)]
        assert len(remedies) == len(expected)
        assert all(remedies)
