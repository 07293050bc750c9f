"""QEMU's life: it is missing, refuses, dies, hangs, is closed; nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumpci.errors import BadURL, HostRefused, HostUnavailable, MachineDied
from rumpci.guard import Guard
from rumpci.host import Address, Window
from rumpci.hosts import open_host
from rumpci.machines.qemu.machine import QemuMachine

EDU = Address(0, 0, 1, 0)


@contextlib.contextmanager
def opened(url: str = "qemu:edu") -> Iterator[tuple[Guard, QemuMachine]]:
    host = open_host(url)
    assert isinstance(host, Guard)
    assert isinstance(host.machine, QemuMachine)
    with contextlib.closing(host):
        yield host, host.machine


def find(host: Guard, id_reg: int = 0x11E8_1234) -> Address:
    return next(f.address for f in host.functions() if f.id == id_reg)


def edu_window(host: Guard) -> Window:
    return host.claim(find(host), "test").window(0, 0, 0x100)


def wait_gone(machine: QemuMachine) -> None:
    """Until the process is a zombie, without reaping it: that is the machine's task."""
    os.waitid(os.P_PID, machine.process.pid, os.WEXITED | os.WNOWAIT)


def kill(machine: QemuMachine) -> None:
    os.kill(machine.process.pid, signal.SIGKILL)
    wait_gone(machine)


def stop(machine: QemuMachine) -> None:
    os.kill(machine.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, machine.process.pid, os.WSTOPPED | os.WNOWAIT)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """The test leaves no descriptor and no process."""
    with opened() as (_, machine):  # whatever the first one keeps for good
        machine.monitor.execute("query-status")
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


# ---- what does not start ---------------------------------------------------------


@pytest.mark.parametrize("binary", ["/nonexistent", "no-such-qemu", "/etc/passwd", "/"])
def test_missing_qemu(binary: str) -> None:
    with pytest.raises(HostUnavailable, match="apt-get install"):
        open_host(f"qemu:edu?binary={binary}")


def test_a_binary_that_cannot_be_run(tmp_path: Path, nothing_left: None) -> None:
    program = tmp_path / "qemu"
    program.write_bytes(b"\0not a program")
    program.chmod(0o755)
    with pytest.raises(HostUnavailable, match="Exec format error"):
        open_host(f"qemu:edu?binary={program}")


def test_a_program_that_is_no_qemu(nothing_left: None) -> None:
    with pytest.raises(HostRefused, match="printed nothing"):
        open_host("qemu:edu?binary=/bin/true")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("qemu:no-such-device", "'no-such-device' is not a valid device model name"),
        ("qemu:edu,speed=11", "Property 'edu.speed' not found"),
        ("qemu:edu,dma_mask=x", "dma_mask"),
        ("qemu:nvme", "drive property not set|serial property not set"),
        ("qemu:nvme,serial=1,file=/nonexistent/disk", "No such file or directory"),
        ("qemu:edu,addr=02+edu,addr=02", "(in use|not available)"),
        ("qemu:pci-serial,text=/nonexistent/socket", "No such file or directory"),
        ("qemu:edu,bus=nowhere", "Bus 'nowhere' not found"),
    ],
)
def test_refusals_in_qemus_own_words(url: str, words: str, nothing_left: None) -> None:
    with pytest.raises(HostRefused, match=words):
        open_host(url)


def test_devices_that_need_too_much(nothing_left: None) -> None:
    ports = "+".join(f"pcie-root-port,id=p{i},chassis={i}" for i in range(16))
    cards = "+".join(f"pci-serial,bus=p{i}" for i in range(16))
    with pytest.raises(HostRefused, match="assigning I/O"):
        open_host(f"qemu:{ports}+{cards}")


def test_a_bad_url_leaves_nothing(nothing_left: None) -> None:
    with pytest.raises(BadURL):
        open_host("qemu:nvme,serial=1,size=1M+nvme,serial=2,size=much")


# ---- what dies -------------------------------------------------------------------


def every_access(window: Window) -> list[Callable[[], object]]:
    return [
        lambda: window.read(0, 4),
        lambda: window.read_many(0, 4, 4, 4),
        window.barrier,
        window.present,
        lambda: window.write(4, 4, 1),
    ]


def test_killed_before_an_access(nothing_left: None) -> None:
    with opened() as (host, machine):
        window = edu_window(host)
        kill(machine)
        for access in every_access(window):
            with pytest.raises(MachineDied, match=r"SIGKILL|dead already"):
                access()
        with pytest.raises(MachineDied):
            host.conf_read(EDU, 0)
        with pytest.raises(MachineDied):
            machine.conf_read(EDU, 0)


def test_killed_while_writes_are_posted(nothing_left: None) -> None:
    with opened() as (host, machine):
        window = edu_window(host)
        stop(machine)
        window.write_many(4, 4, 0, bytes(400))
        kill(machine)
        with pytest.raises(MachineDied, match="SIGKILL"):
            window.barrier()


def test_killed_in_the_middle_of_a_read(nothing_left: None) -> None:
    caught: list[Exception] = []
    sent = threading.Event()

    def read(window: Window) -> None:
        sent.set()
        try:
            window.read(0, 4)
        except MachineDied as error:
            caught.append(error)

    with opened() as (host, machine):
        window = edu_window(host)
        stop(machine)
        reader = threading.Thread(target=read, args=(window,))
        reader.start()
        sent.wait()
        os.kill(machine.process.pid, signal.SIGKILL)  # the reader reaps it
        reader.join()
        assert "SIGKILL" in str(caught)
        with pytest.raises(MachineDied):
            window.read(0, 4)


def test_qemu_that_aborts_has_last_words(nothing_left: None) -> None:
    """edu ends QEMU when its DMA leaves its 4 KiB buffer, 100 ms after the command."""
    with opened() as (host, machine):
        window = edu_window(host)
        for register, value in ((0x80, 0x1000), (0x88, 0x50000), (0x90, 16), (0x98, 1)):
            window.write(register, 8, value)
        window.barrier()
        wait_gone(machine)
        with pytest.raises(MachineDied, match=r"SIGABRT: qemu: hardware error: EDU: DMA range"):
            window.read(0, 4)


def test_monitor_of_a_dead_machine() -> None:
    with opened() as (_, machine):
        assert machine.monitor.execute("query-status")["running"]
        kill(machine)
        for _ in range(2):
            with pytest.raises(MachineDied, match="QMP query-status"):
                machine.monitor.execute("query-status")


def test_release_of_a_dead_machine_is_quiet(nothing_left: None) -> None:
    with opened() as (host, machine):
        claim = host.claim(find(host), "test")
        kill(machine)
        claim.release()


# ---- what is closed ----------------------------------------------------------------


def test_nothing_is_left_of_twenty(nothing_left: None) -> None:
    for _ in range(20):
        with opened("qemu:edu+nvme,serial=1,size=1M") as (host, _):
            assert edu_window(host).read(0, 4) == 0x0100_00ED


def test_nothing_is_left_of_the_monitor(nothing_left: None) -> None:
    with opened() as (_, machine):
        machine.monitor.execute("query-status")


def test_closing_twice(nothing_left: None) -> None:
    with opened() as (host, _):
        host.close()
        host.close()


def test_a_closed_host_reads_no_other_host() -> None:
    """Its descriptors are another host's by now."""
    with opened() as (closed, _):
        closed.close()
        with opened("qemu:edu,addr=05"), pytest.raises(MachineDied, match="closed"):
            closed.conf_read(EDU, 0)
        with pytest.raises(MachineDied, match="closed"):
            closed.claim(find(closed), "test")


def test_closing_while_threads_read(nothing_left: None) -> None:
    """They get values until there are none."""
    ends: list[str] = []
    started = threading.Barrier(5)

    def read(window: Window) -> None:
        started.wait()
        try:
            while True:
                assert window.read(0, 4) == 0x0100_00ED
        except Exception as error:  # every one is judged below
            ends.append(type(error).__name__)

    with opened() as (host, _):
        window = edu_window(host)
        threads = [threading.Thread(target=read, args=(window,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        host.close()
        for thread in threads:
            thread.join()
    assert set(ends) <= {"MachineDied", "DeadWindow"}
    assert len(ends) == 4


def test_threads_on_one_machine_get_their_own_values() -> None:
    wrong: list[int] = []

    def hammer(host: Guard, number: int) -> None:
        address = [f.address for f in host.functions() if f.id == 0x11E8_1234][number]
        window = host.claim(address, f"thread {number}").window(0, 0, 0x100)
        for i in range(200):
            window.write(4, 4, i << 8 | number)
            if window.read(4, 4) != ~(i << 8 | number) & 0xFFFF_FFFF:
                wrong.append(i)

    with opened("qemu:edu+edu+edu+edu") as (host, _):
        threads = [threading.Thread(target=hammer, args=(host, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_two_machines_know_nothing_of_each_other() -> None:
    with opened() as (one, _), opened("qemu:edu,addr=05") as (two, _):
        assert find(one) != find(two)
        edu_window(one).write(4, 4, 1)
        window = edu_window(two)
        window.write(4, 4, 2)
        assert window.read(4, 4) == 0xFFFF_FFFD
