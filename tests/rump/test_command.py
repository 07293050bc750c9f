"""`rumpci rump` with what goes wrong: each ends with a clear line, and the device is quiet."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rumpci.rump.parent import Plan, run as run_plan
from tests.needs import compiler
from tests.waiting import LIMIT_S

pytestmark = compiler


def rumpci(*arguments: str, how: str = "", **more: str) -> tuple[int, str]:
    """Exit status and output of `rumpci rump`; `how` is how the stub's boot goes wrong."""
    command = [sys.executable, "-m", "rumpci", "rump", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "RUMP_STUB": how, **more}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def last(said: str) -> str:
    return said.strip().splitlines()[-1]


def test_a_command_runs_with_the_server_and_its_status_is_the_status(stub: Path) -> None:
    on = ("--on", "model:edu", "--lib", str(stub))
    status, said = rumpci(*on, "--", "sh", "-c", "echo at $RUMP_SERVER $RUMPCI_RUMP_LIB; exit 3")
    assert status == 3, said
    assert re.search(rf"^at unix://\S+ {stub}$", said, re.M)
    assert "stub: booting" in said


def test_a_device_that_no_driver_used_is_named(stub: Path) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), "--", "true")
    assert status == 0
    assert "no driver took 0000:00:01.0 (1234:11e8)" in said


def test_list(stub: Path) -> None:
    status, said = rumpci("--list", "--lib", str(stub))
    assert status == 0
    assert "components: rump, rumpdev, rumpdev_pci, rumpuser" in said


def test_no_libraries(tmp_path: Path) -> None:
    status, said = rumpci("--list", "--lib", str(tmp_path))
    assert status == 1
    assert "no librump.so in" in last(said)
    assert "RUMPCI_RUMP_LIB" in last(said)


def test_no_folder(tmp_path: Path) -> None:
    status, said = rumpci("--list", "--lib", str(tmp_path / "absent"))
    assert status == 2
    assert "absent" in last(said)


def test_no_host(stub: Path) -> None:
    status, said = rumpci("--lib", str(stub))
    assert status == 2
    assert "--on HOST" in last(said)


BAD = [
    (("--driver", "wm"), "none of that name"),
    (("--component", "rumpfs_none"), "none of that name"),
    (("--device", "0000:00:09.0"), "0000:00:09.0"),
    (("--device", "somewhere"), "somewhere"),
    (("--server", "tcp://x"), "unix://PATH"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_what_is_not_there_is_named(stub: Path, arguments: tuple[str, ...], words: str) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), *arguments, "--", "true")
    assert status in (1, 2), said
    assert words in last(said)
    assert "Traceback" not in said


def test_a_missing_dependency_is_named(stub: Path, tmp_path: Path) -> None:
    for path in stub.glob("*.so"):
        if path.name != "librumpdev.so":
            (tmp_path / path.name).symlink_to(path)
    status, said = rumpci("--on", "model:edu", "--lib", str(tmp_path), "--", "true")
    assert status == 1
    assert "librumpdev_pci.so" in last(said)
    assert "install the component" in last(said)


def test_a_library_whose_symbols_differ(stub: Path, tmp_path: Path) -> None:
    for path in stub.glob("*.so"):
        (tmp_path / path.name).symlink_to(path)
    other = tmp_path / "librumpuser.so"
    other.unlink()
    source = "int rumpuser_component_schedule, rumpuser_component_unschedule;"
    source += "int stub_has_cpu, rumpuser_component_kthread, stub_kthreads;"
    command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(other)]
    subprocess.run(command, input=source, text=True, check=True)
    status, said = rumpci("--on", "model:edu", "--lib", str(tmp_path), "--", "true")
    assert status == 1
    assert "rumpuser_component_kthread_release" in last(said)


def test_a_command_that_is_not_there(stub: Path) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), "--", "/no/such/command")
    assert status == 1
    assert "/no/such/command" in last(said)


def test_a_boot_that_fails(stub: Path) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), "--", "true", how="error")
    assert status == 1
    assert "booting a rump kernel" in last(said)
    assert "ENOMEM" in last(said)


# ---- a kernel that ends by itself ------------------------------------------------------------


def test_a_panic_is_a_report(stub: Path) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), "--", "true", how="panic")
    assert status == 1
    assert "panic: stub: told to" in last(said)
    assert "SIGABRT" in last(said)
    assert "| stub: booting" in said


def test_one_that_exits_silently(stub: Path) -> None:
    status, said = rumpci("--on", "model:edu", "--lib", str(stub), "--", "true", how="exit")
    assert status == 1
    assert "exited with status 7" in last(said)


def test_one_that_hangs_as_it_boots(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import closing

    from rumpci.hosts import open_host

    monkeypatch.setenv("RUMP_STUB", "hang")
    plan = Plan("model:edu", str(stub), (), (), None, 2, False, None, ("true",), limit=1.0)
    with closing(open_host("model:edu", banks="1")) as host:
        outcome = run_plan(plan, host)
        assert not [f for f in host.functions() if f.claimed_by]
    assert "hung: no bus operation for 1 s" in outcome.line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(stub: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "rumpci", "rump", "--on", "model:edu", "--lib", str(stub)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = ""
            while "SIGINT ends it" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            process.send_signal(number)
            assert process.wait(LIMIT_S) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
