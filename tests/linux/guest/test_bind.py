"""`rumpci bind` and `unbind` on a real kernel: in use and refused, forced, and given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rumpci.binding import change
from rumpci.binding.around import bound
from rumpci.binding.change import Kernel
from rumpci.errors import DeviceBusy
from rumpci.host import Address
from rumpci.tools import bind as tool
from tests.linux import binding
from tests.linux.binding import BLOCKER, COM, E1000E, EDU, NVME, SHARED
from tests.linux.guest.netdevice import set_address, set_up

pytestmark = pytest.mark.machine("bind")
RUMPCI = [sys.executable, "-m", "rumpci"]


def bind(address: str, driver: str, *options: str) -> Result:
    return CliRunner().invoke(tool.command, [address, driver, *options])


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def all_given_back() -> Iterator[None]:
    """Whatever a test did, the next one finds the kernel's own drivers."""
    before = {a: binding.bound(a) for a in (EDU, NVME, COM, E1000E, SHARED, BLOCKER)}
    yield
    assert {address: binding.bound(address) for address in before} == before
    assert list(Path("/run/rumpci/bind").glob("*")) == []


def until(what: str, path: str, *, there: bool = True) -> None:
    """Drivers make their nodes after the probe returned."""
    limit = time.monotonic() + 60
    while Path(path).exists() is not there:
        assert time.monotonic() < limit, what
        time.sleep(0.05)


def disk() -> str:
    """The disk's node: its number is another one after each probe."""
    folder = Path(f"/sys/bus/pci/devices/{NVME}/nvme")
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        found = [p.name for p in folder.glob("nvme*/nvme*n1")]
        if found and Path(f"/dev/{found[0]}").is_block_device():
            return f"/dev/{found[0]}"
        time.sleep(0.05)
    pytest.fail("no disk")


@contextmanager
def mounted(node: str, folder: Path) -> Iterator[None]:
    run("mke2fs", "-q", "-F", "-t", "ext4", node)
    run("mount", "-t", "ext4", node, str(folder))
    try:
        yield
    finally:
        run("umount", "-l", str(folder))


def test_edu_goes_to_each_driver_and_back() -> None:
    for driver, node in (("vfio-pci", f"vfio/{binding.group(EDU)}"), ("uio_pci_generic", "uio0")):
        assert bind(EDU, driver).exit_code == 0
        assert binding.bound(EDU) == driver
        until(driver, f"/dev/{node}")
    assert bind(EDU, "original").output == f"{EDU}: no driver\n"
    override = Path(f"/sys/bus/pci/devices/{EDU}/driver_override")
    assert override.read_text() == "(null)\n"


def test_the_groups_kind_of_dma_is_put_back() -> None:
    kind = Path(f"/sys/bus/pci/devices/{EDU}/iommu_group/type")
    before = kind.read_text()
    assert before != "identity\n"
    assert bind(EDU, "uio_pci_generic", "--identity").exit_code == 0
    assert kind.read_text() == "identity\n"
    bind(EDU, "original")
    assert kind.read_text() == before


def test_a_mounted_disk_is_refused_and_taken_by_force(tmp_path: Path) -> None:
    node = disk()
    with mounted(node, tmp_path):
        refused = bind(NVME, "vfio-pci")
        assert isinstance(refused.exception, DeviceBusy)
        assert f"{Path(node).name} is mounted at {tmp_path}" in str(refused.exception)
        assert f"umount {tmp_path}" in str(refused.exception)
        assert binding.bound(NVME) == "nvme"
        assert bind(NVME, "vfio-pci", "--force").exit_code == 0
        assert binding.bound(NVME) == "vfio-pci"
    assert bind(NVME, "original").output == f"{NVME}: nvme\n"
    disk()


def test_a_disk_that_is_swap_is_refused() -> None:
    node = disk()
    run("mkswap", node)
    run("swapon", node)
    try:
        with pytest.raises(DeviceBusy, match="is swap space"):
            change.perform(change.to_driver(Address.parse(NVME), "vfio-pci", Kernel()), Kernel())
    finally:
        run("swapoff", node)


@contextmanager
def open_elsewhere(node: str, mode: str) -> Iterator[int]:
    """Another process has a node open; its number."""
    holder = (
        "import sys, time; f = open(sys.argv[1], sys.argv[2] + 'b', 0);"
        " print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", holder, node, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            yield program.pid
        finally:
            program.kill()


def test_a_disk_that_a_program_has_is_refused() -> None:
    with open_elsewhere(disk(), "r") as pid:
        refused = str(bind(NVME, "vfio-pci").exception)
    assert f"process {pid}" in refused
    assert f"kill {pid}" in refused


def test_a_use_that_no_table_tells_is_found() -> None:
    node = disk()
    descriptor = os.open(node, os.O_RDONLY | os.O_EXCL)  # this process, which is not looked at
    try:
        refused = str(bind(NVME, "vfio-pci").exception)
    finally:
        os.close(descriptor)
    assert "is in exclusive use" in refused


def test_an_interface_that_is_up_is_refused() -> None:
    (name,) = (p.name for p in Path(f"/sys/bus/pci/devices/{E1000E}/net").iterdir())
    set_address(name, "192.0.2.1")
    set_up(name, False)  # which an address brings with it
    refused = str(bind(E1000E, "vfio-pci").exception)
    assert f"{name} has the address 192.0.2.1" in refused
    assert "is up" not in refused
    set_up(name, True)
    refused = str(bind(E1000E, "vfio-pci").exception)
    assert f"{name} is up" in refused
    assert f"routes go through {name}" in refused
    assert binding.bound(E1000E) == "e1000e"
    set_up(name, False)
    set_address(name, "0.0.0.0")  # noqa: S104
    assert bind(E1000E, "vfio-pci").exit_code == 0
    assert bind(E1000E, "original").exit_code == 0


def test_a_group_of_two_is_explained() -> None:
    assert binding.group(SHARED) == binding.group(BLOCKER)
    said = bind(SHARED, "vfio-pci").output
    assert f"{SHARED}  vfio-pci: ready" in said
    assert f"{BLOCKER}  virtio-pci: blocks; run `rumpci bind {BLOCKER} vfio-pci`" in said
    said = bind(BLOCKER, "vfio-pci").output
    assert f"IOMMU group {binding.group(SHARED)} can be used:" in said
    for address in (BLOCKER, SHARED):
        assert bind(address, "original").exit_code == 0


def test_a_dry_run_is_what_a_shell_does() -> None:
    """The lines that it prints, executed: the same as if it had done them."""
    printed = bind(EDU, "vfio-pci", "--dry-run").output
    assert binding.bound(EDU) is None
    run("sh", "-ec", printed)
    assert binding.bound(EDU) == "vfio-pci"
    assert bind(EDU, "original").exit_code == 0


def test_a_device_that_a_program_has_by_vfio_is_not_taken_away() -> None:
    bind(EDU, "vfio-pci")
    with open_elsewhere(f"/dev/vfio/{binding.group(EDU)}", "r+") as pid:
        refused = str(bind(EDU, "original").exception)
    assert f"process {pid}" in refused
    assert bind(EDU, "original").exit_code == 0


# ---- rumpci run --bind ---------------------------------------------------------------------


def test_run_binds_the_disk_and_the_kernel_has_it_again() -> None:
    disk()
    words = [*RUMPCI, "run", "nvme", "--on", f"vfio:{NVME}", "--bind"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "nvme0 at pci0" in said.stdout
    assert binding.bound(NVME) == "nvme"
    disk()


def test_a_run_that_is_ended_gives_back() -> None:
    program = (
        "import time\nfrom rumpci.binding.around import bound\n"
        f"with bound('vfio:{EDU}'):\n    print('bound', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"bound\n"
        assert binding.bound(EDU) == "vfio-pci"
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
    assert binding.bound(EDU) is None


def test_a_run_on_a_mounted_disk_is_refused(tmp_path: Path) -> None:
    with (
        mounted(disk(), tmp_path),
        pytest.raises(DeviceBusy, match="is mounted"),
        bound(f"vfio:{NVME}"),
    ):
        pytest.fail("not reached")
    assert binding.bound(NVME) == "nvme"
