"""The guard over QEMU's devices: the MSI-X table, sizing, addresses, a machine that died."""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from rumpci.errors import (
    BadRange,
    DeadWindow,
    MachineDied,
    ProtectedRange,
    RumpciError,
)
from rumpci.guard import Guard
from rumpci.host import Address, Function
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine

PAGE = 0x1000


@contextlib.contextmanager
def machine(*names: str) -> Iterator[tuple[Guard, QemuMachine]]:
    specs = [DeviceSpec(name, {"serial": "1"} if name == "nvme" else {}) for name in names]
    made = QemuMachine(specs, Options())
    with contextlib.closing(Guard(made)) as host:
        yield host, made


def device(host: Guard) -> Function:
    return next(f for f in host.functions() if not f.is_bridge)


def refused(kind: type[RumpciError], do: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        do()
    assert caught.value.tried
    assert caught.value.why
    assert caught.value.remedy


@pytest.mark.parametrize(("name", "bar", "table"), [("nvme", 0, 0x2000), ("e1000e", 3, 0)])
def test_no_access_reaches_the_msix_table(name: str, bar: int, table: int) -> None:
    with machine(name) as (host, made):
        function = device(host)
        found = function.bar(bar)
        assert found is not None
        raw = made.bar(function.address, bar)
        raw.write(table, 4, 0xFEE0_0000)
        before = [raw.read(table + at, 4) for at in range(0, 64, 4)]
        claim = host.claim(function.address, "hostile")
        for offset, size in ((table, PAGE), (table, 16), (table + PAGE - 1, 1)):
            refused(ProtectedRange, partial(claim.window, bar, offset, size))
        window = claim.window(bar, 0, found.size)
        for at in (table, table + 12, table + PAGE - 4):
            refused(ProtectedRange, partial(window.read, at, 4))
            refused(ProtectedRange, partial(window.write, at, 4, 0))
            refused(ProtectedRange, partial(window.write_many, at, 4, 0, bytes(8)))
        for start in (max(table - 8, 0), table + PAGE - 8):
            refused(ProtectedRange, partial(window.read_many, start, 4, 4, 4))
            refused(ProtectedRange, partial(window.write_many, start, 4, 4, bytes(16)))
        assert [raw.read(table + at, 4) for at in range(0, 64, 4)] == before
        window.read(table + PAGE, 4)


@pytest.mark.parametrize("name", ["e1000e", "nvme", "rtl8139", "virtio-rng-pci", "edu"])
def test_sizing_shows_what_the_device_shows(name: str) -> None:
    with machine(name) as (host, made):
        at = device(host).address
        claim = host.claim(at, "hostile")
        for reg in range(0x10, 0x28, 4):
            base = claim.conf_read(reg)
            claim.conf_write(reg, 0xFFFF_FFFF)
            shown = claim.conf_read(reg)
            assert made.conf_read(at, reg) == base
            claim.conf_write(reg, base)
            assert claim.conf_read(reg) == base
            made.conf_write(at, reg, 0xFFFF_FFFF)
            assert made.conf_read(at, reg) == shown
            made.conf_write(at, reg, base)


@pytest.mark.parametrize("name", ["e1000e", "nvme"])
def test_hostile_configuration_writes(name: str) -> None:
    with machine(name) as (host, made):
        at = device(host).address
        claim = host.claim(at, "hostile")
        for value in (0xFFFF_FFFF, 0x5555_5555, 0x0404, 0):
            for reg in range(0, 0x200, 4):
                before = made.conf_read(at, reg)
                claim.conf_write(reg, value)
                if 0x10 <= reg < 0x40:
                    assert made.conf_read(at, reg) == before
            assert not made.conf_read(at, 4) & 0x0400, "INTx disable"
        claim.release()
        assert not made.conf_read(at, 4) & 0x0404, "bus master"
        claim.release()
        assert not made.conf_read(at, 4) & 4


def test_no_address_reaches_past_configuration_space() -> None:
    with machine("edu") as (host, _):
        for address in ((0, 256, 0, 0), (0, -1, 0, 0), (0, 255, 32, 0), (0, 255, 31, 8)):
            refused(BadRange, partial(host.conf_read, Address(*address), 0))
        edu = device(host).address
        assert host.conf_read(edu._replace(segment=1), 0) == 0xFFFF_FFFF
        assert host.conf_read(edu._replace(function=1), 0) == 0xFFFF_FFFF
        assert host.conf_read(edu, 0) == 0x11E8_1234


def test_release_of_a_machine_that_died() -> None:
    with machine("edu") as (host, made):
        at = device(host).address
        claim = host.claim(at, "test")
        window = claim.window(0, 0, PAGE)
        window.write(4, 4, 1)
        os.kill(made.process.pid, signal.SIGKILL)
        with pytest.raises(MachineDied) as caught:
            window.read(0, 4)
        assert caught.value.errno == errno.EIO
        assert "SIGKILL" in str(caught.value)
        claim.release()
        refused(DeadWindow, lambda: window.read(0, 4))
        assert device(host).claimed_by is None


def test_a_barrier_of_a_machine_that_died_says_so_in_plain_words() -> None:
    with machine("edu") as (host, made):
        window = host.claim(device(host).address, "test").window(0, 0, PAGE)
        window.read(0, 4)
        os.kill(made.process.pid, signal.SIGSTOP)
        window.write(4, 4, 1)
        os.kill(made.process.pid, signal.SIGKILL)
        with pytest.raises(MachineDied) as caught:
            window.barrier()
        assert caught.value.tried == "a barrier"
