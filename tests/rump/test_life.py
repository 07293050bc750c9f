"""Attach and detach, processes that use a rump kernel, and its end in every way."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rumpci.guard import Guard
from rumpci.hosts import open_host
from rumpci.rump.parent import Outcome, Plan, run
from tests.cli_served import served, started
from tests.qemu.needs import qemu
from tests.rump import lives, needs, traffic
from tests.rump.scene import Player
from tests.rump.wires import Wires
from tests.waiting import LIMIT_S

pytestmark = [qemu, needs.wire("if_wm")]


@pytest.mark.soak
@needs.libraries("rumpdev_drvctl")
def test_detach_and_attach_again(rump: Player, tmp_path: Path, soak: bool) -> None:
    times = 50 if soak else 3
    rump.limit *= times
    with Wires(tmp_path / "w"):
        url = f"qemu:e1000,wire={tmp_path / 'w'}"
        options = {"components": ["rumpdev_drvctl", *traffic.NET["components"]]}
        got = rump(lives.reattached, url, "wm0", times, drivers=["wm"], **options)
    assert got["good"] == [20] * (times + 1), (got["findings"], rump.said)
    assert got["findings"] == []
    assert len(set(got["threads"])) == 1, "a thread is left each time"
    assert got["held"] == [0] * times, "DMA is left"


ETHERNET = 0x0200


def kernel(host: Guard, *command: str) -> Outcome:
    """A rump kernel with wm(4) on a machine of the test's, and a command that uses it."""
    components = ("rumpkern_sysproxy", *traffic.NET["components"])
    plan = Plan("qemu:e1000", needs.LIB, ("wm",), components, None, 2, False, None, command)
    return run(plan, host)


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Guard]:
    """An e1000 with a peer at its wire."""
    url = f"qemu:e1000,wire={folder / 'w'}"
    with Wires(folder / "w"), contextlib.closing(open_host(url, banks="4")) as host:
        assert isinstance(host, Guard)
        yield host


def user(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.rump.user", "wm0", *map(str, arguments)]


def is_quiet(host: Guard) -> bool:
    """Nobody has the card, it is no bus master, and its IOMMU has nothing for it."""
    card = next(f for f in host.functions() if f.class_ >> 16 == ETHERNET)
    held = card.claimed_by or host.dma() or host.iommu() or host.dma_check()
    return not held and not host.conf_read(card.address, 4) & 4


@needs.libraries("rumpkern_sysproxy", "rumpclient")
def test_another_process_uses_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with machine(tmp_path) as host:
        outcome = kernel(host, *user(50))
        assert is_quiet(host)
    assert (outcome.line, outcome.status, outcome.findings) == ("", 0, [])
    assert "50 of 50" in capfd.readouterr().out


@needs.programs
@needs.libraries("rumpkern_sysproxy")
def test_programs_for_rump_kernels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps = "$0/rump.ifconfig wm0 10.0.0.1 up && $0/rump.ping -oc 9 -w 20 10.0.0.2"
    script = f"export LD_LIBRARY_PATH=$RUMPCI_RUMP_LIB; {steps}"
    with machine(tmp_path) as host:
        outcome = kernel(host, "sh", "-c", script, needs.PROGRAMS)
    assert (outcome.line, outcome.status) == ("", 0)
    assert "64 bytes from 10.0.0.2" in capfd.readouterr().out


@pytest.mark.soak
@needs.libraries("rumpkern_sysproxy", "rumpclient")
def test_killed_under_traffic_and_started_again(
    tmp_path: Path, soak: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with machine(tmp_path) as host:
        for _ in range(50 if soak else 3):
            outcome = kernel(host, *user(20, signal.SIGKILL.value))
            assert "SIGKILL" in outcome.line
            assert is_quiet(host)
            assert capfd.readouterr().err.count("quarantine of") == 1, "others' are not its own"
        assert kernel(host, *user(20)).line == ""


@needs.libraries("rumpkern_sysproxy", "rumpclient")
def test_abort_under_traffic_is_a_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with machine(tmp_path) as host:
        outcome = kernel(host, *user(5, signal.SIGABRT.value))
        assert is_quiet(host)
    said = capfd.readouterr().err
    assert "SIGABRT" in outcome.line
    assert re.search(r"^ +\| .*wm0: Ethernet address", said, re.M), said
    assert "0000:00:01.0" in said


@needs.libraries("rumpkern_sysproxy")
def test_two_rump_kernels_on_two_devices_of_one_server(tmp_path: Path) -> None:
    wires = [tmp_path / name for name in ("a", "b")]
    host = "+".join(f"qemu:e1000,wire={wire}"[5 * (i > 0) :] for i, wire in enumerate(wires))
    with served(tmp_path, host=f"{host}?banks=4") as server, ThreadPoolExecutor() as threads:
        started(server)
        runs = [threads.submit(given, server.path, wire, at) for at, wire in enumerate(wires)]
        for done in runs:
            status, said = done.result()
            assert status == 0, said
            assert "30 of 30" in said


def given(path: Path, wire: Path, number: int) -> tuple[int, str]:
    """`rumpci rump` on one device of a server."""
    command = [
        sys.executable, "-m", "rumpci", "rump", "--on", f"pci4:{path}", "--driver", "wm",
        "--lib", needs.LIB, "--device", f"0000:00:0{number + 1}.0", "--", *user(30),
    ]  # fmt: skip
    with Wires(wire):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
    return done.returncode, done.stdout
