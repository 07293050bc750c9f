"""A device that is not PCI on a real generic UIO: the HPET, with uio_pdrv_genirq."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf, Driver
from rumpci.cpu import own_cpu
from rumpci.errors import BadRange, DeviceBusy, NoSuchBar, NoSuchDevice
from rumpci.guard import Guard
from rumpci.hosts import open_host
from rumpci.load import load_classes
from tests.linux import kmod
from tests.linux.archive import Unavailable

HPET = Path(__file__).parents[3] / "examples/hpet.py"
NAME = "hpet"
_MEGAHERTZ_100 = 100_000_000


def named(name: str) -> Path:
    """The node of the uio device with this name."""
    nodes = Path("/sys/class/uio").iterdir()
    (found,) = (node for node in nodes if (node / "name").read_text().strip() == name)
    return Path("/dev") / found.name


@pytest.fixture(scope="module")
def node(series: str) -> Iterator[Path]:
    try:
        modules = kmod.built(series)
    except Unavailable as missing:
        pytest.skip(str(missing))
    subprocess.run(["modprobe", "uio"], check=True)
    for module in modules:
        subprocess.run(["insmod", module], check=True)
    yield named(NAME)
    for module in reversed(modules):
        subprocess.run(["rmmod", module.stem], check=True)


@pytest.fixture
def host(node: Path) -> Iterator[Guard]:
    with contextlib.closing(open_host(f"uio:{node}")) as made:
        assert isinstance(made, Guard)
        yield made


@contextlib.contextmanager
def attached(host: Guard) -> Iterator[Driver]:
    (driver,) = load_classes(str(HPET), Driver)[-1:]
    with own_cpu(), Autoconf(host) as autoconf:
        (made,) = autoconf.attach([driver])
        yield made


def test_its_registers(host: Guard) -> None:
    with attached(host) as hpet:
        assert hpet.ioh.mapped  # type: ignore[attr-defined]
        assert hpet.hz == _MEGAHERTZ_100  # type: ignore[attr-defined]
        assert hpet.now() < hpet.now()  # type: ignore[attr-defined]


def test_its_interrupt(host: Guard) -> None:
    with attached(host) as hpet:
        for n in (1, 2, 3):
            assert hpet.sleep(hpet.hz // 100) >= hpet.hz // 100  # type: ignore[attr-defined]
            assert hpet.fired == n  # type: ignore[attr-defined]


def test_the_rules_of_the_guard(host: Guard, node: Path) -> None:
    (device,) = host.platform()
    assert device.name == f"{NAME}@{node.name}"
    assert device.bars[0].base == 0xFED0_0000
    claim = host.claim_platform(device.name, "one")
    with pytest.raises(DeviceBusy, match="one has it"):
        host.claim_platform(device.name, "two")
    with contextlib.closing(open_host(f"uio:{node}")) as other:
        assert isinstance(other, Guard)
        with pytest.raises(DeviceBusy, match="open in another rumpci"):
            other.claim_platform(device.name, "other")
    with pytest.raises(NoSuchBar):
        claim.window(1, 0, 4)
    with pytest.raises(BadRange):
        claim.window(0, 0, 0x2000)
    claim.release()
    host.claim_platform(device.name, "two").release()


def test_a_node_that_there_is_not() -> None:
    with pytest.raises(NoSuchDevice):
        open_host("uio:/dev/uio99")
