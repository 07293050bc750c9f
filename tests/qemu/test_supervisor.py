"""`rumpci run` as a supervisor: what a driver's process may, and what is left when it dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.supervisor.isolate import has_user_namespaces
from tests.waiting import LIMIT_S, until

from .needs import qemu
from .runs import children, gone, run, start, write

EDU_HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]


@pytest.fixture
def odd(tmp_path: Path) -> str:
    return str(tmp_path / "odd.py")


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run of a driver that says `pid N`, and N."""
    with start(*arguments) as process:
        try:
            assert process.stdout
            said = ""
            while not (found := re.search(r"pid (\d+)\n", said)):
                line = process.stdout.readline()
                assert line, (said, process.stderr and process.stderr.read())
                said += line
            yield process, int(found[1])
        finally:
            process.kill()


# ---- the same as in process ----------------------------------------------------------------

SAME: list[tuple[list[str], str]] = [
    (["edu", "--on", "qemu:edu", "--show", "intr"], ""),
    (["edu", "--on", "qemu:edu?iommu=off", "--set", "edu.intr=shim"], ""),
    (["com", "--on", "qemu:pci-serial,chardev=echo"], ""),
    (["nvme", "--on", "qemu:nvme,serial=1,size=16M"], ""),
    (["nvme", "edu", "com", "--on", "qemu:nvme,serial=1,size=16M+edu+pci-serial"], ""),
    (["com", "--on", "qemu:edu"], ""),
    (["edu", "--on", "qemu:nonsense"], ""),
]


@pytest.mark.parametrize(("arguments", "given"), SAME, ids=[" ".join(a) for a, _ in SAME])
@qemu
def test_it_prints_what_it_prints_in_process(arguments: list[str], given: str) -> None:
    if "pci-serial,chardev=echo" in arguments[-1]:
        arguments = ["com", "--on", "qemu:pci-serial"]
    apart, here = run(*arguments, given=given), run(*arguments, "--in-process", given=given)
    assert apart == here


# ---- deaths ---------------------------------------------------------------------------------

DEATHS = {
    "kill": (["os.kill(os.getpid(), signal.SIGKILL)"], "killed by SIGKILL", ""),
    "null": (["ctypes.string_at(0)"], "killed by SIGSEGV", "odd.py:9 in run"),
    "abort": (["os.abort()"], "killed by SIGABRT", "odd.py:9 in run"),
    "exit": (["os._exit(0)"], "exited with status 0 without a word", ""),
    "hang": (["while True: pass"], "hung: no bus operation and no wait for 3 s", "odd.py:9 in"),
    "sleep": (["time.sleep(100)"], "hung: no bus operation and no wait", "odd.py:9 in run"),
    "deaf": (
        ["signal.signal(signal.SIGABRT, signal.SIG_IGN)", "while True: pass"], "hung: no bus", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("host", EDU_HOSTS)
@pytest.mark.parametrize(("body", "why", "place"), DEATHS.values(), ids=DEATHS)
def test_a_death_leaves_a_report(
    odd: str, host: str, body: list[str], why: str, place: str
) -> None:
    write(odd, "super().run() or " + body[0], *body[1:]) if body[0][0] == "o" else write(odd, *body)
    limit = ["--watchdog", "3"] if "hung" in why else []  # a machine may be slow to run the rest
    status, out, err = run(odd, "--on", host, *limit)
    assert status == 1
    assert re.search(rf"^why: .*{re.escape(why)}", err, re.M), err
    assert place in err
    assert re.search(r"read       BAR0\+0x0 EDU_ID = 0x010000ed$", err, re.M)
    assert re.search(r"^    odd0: \S+ vec 0, established, \d+ so far$", err, re.M)
    assert re.search(r"^quarantine of odd0 at 0000:00:01.0: .* ms$", err, re.M)
    assert err.splitlines()[-1].startswith("rumpci: odd0 at 0000:00:01.0: ")
    assert out.endswith("10! = 3628800\n") or "liveness ok" in out


def test_an_exception_has_its_place_and_the_line_of_in_process(odd: str) -> None:
    write(odd, "self.nothing.here()")
    status, out, err = run(odd, "--on", "model:edu")
    assert (status, out) == run(odd, "--on", "model:edu", "--in-process")[:2]
    assert "why: running odd0: AttributeError: 'Odd' object has no attribute 'nothing'" in err
    assert re.search(r"^    \S*odd.py:9 in run$", err, re.M)
    assert err.splitlines()[-1] == run(odd, "--on", "model:edu", "--in-process")[2].rstrip()


@pytest.mark.parametrize("where", ["attach", "detach", "intr"])
def test_an_exception_anywhere_is_reported_with_what_was_held(odd: str, where: str) -> None:
    arguments = "*_"
    Path(odd).write_text(
        f"from rumpci.drivers.edu import Edu\nclass Odd(Edu):\n"
        f"    def {where}(self, {arguments}):\n"
        f"        super().{where}({arguments})\n        1 / 0\n"
    )
    status, _, err = run(odd, "--on", "model:edu")
    assert status == 1
    assert re.search(r"^why: \w+ .*odd0: \w+", err, re.M)
    assert "odd.py" in err
    assert "the last 0 of" not in err


@qemu
def test_a_wild_dma_is_in_the_report_and_the_next_run_works(odd: str) -> None:
    write(
        odd,
        "dmat = bus_dmatag_subregion(self.pa.pa_dmat, 0, 0xfffffff)",
        "dmam = bus_dmamap_create(dmat, 4096, 1, 4096, 0, name='target')",
        "bus_dmamap_load(dmat, dmam, bytearray(4096), flags=BUS_DMA_READ)",
        "self.transfer(0x40000, dmam.dm_segs[0].ds_addr + 4096, 64, to_ram=True)",
        "ctypes.string_at(0)",
    )
    status, _, err = run(odd, "--on", "qemu:edu")
    assert status == 1
    assert "killed by SIGSEGV" in err
    assert re.search(r"FAULT +write of bus address 0x", err)
    assert re.search(r"odd0: map 'target', 4096 bytes at 0x\w+-0x\w+: the device writes it", err)
    assert re.search(r"faults:\n    odd0 .* blocked: .* past the end of dmamap 'target'", err)
    write(odd, "super().run()")
    assert run(odd, "--on", "qemu:edu")[0] == 0


# ---- what waits is not hung ------------------------------------------------------------------


def test_a_wait_is_no_hang(odd: str) -> None:
    write(odd, "kern.delay(4_500_000)", "aprint_normal_dev(self, 'awake')")
    status, out, err = run(odd, "--on", "model:edu", "--watchdog", "3")
    assert (status, err) == (0, "")
    assert "odd0: awake\n" in out


# ---- what it may ------------------------------------------------------------------------------


def test_it_has_no_descriptors_but_its_own(odd: str) -> None:
    write(
        odd,
        "fds = {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]}",
        "print(sorted(v.split(':')[0] for n, v in fds.items() if int(n) > 2))",
    )
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        status, out, _ = run(odd, "--on", "model:edu")
    finally:
        os.close(reading)
        os.close(writing)
    assert status == 0
    found = re.search(r"^\['(.*)'\]$", out, re.M)
    assert found, out
    kinds = found[1].split("', '")
    assert kinds.count("pipe") == 0
    assert kinds.count("socket") == 3, "the guard, the supervisor, its interrupt"
    assert len(kinds) <= 10


@qemu
@pytest.mark.skipif(
    not has_user_namespaces(Path("/")),
    reason="no user namespace to be had here: leave the chroot, or sysctl user.max_user_namespaces",
)
def test_it_can_open_nothing_of_its_supervisor_or_of_qemu(odd: str) -> None:
    write(
        odd,
        "up, opened, refused = os.getppid(), [], 0",
        "pids = open(f'/proc/{up}/task/{up}/children').read().split()",
        "for pid in {up, *(int(p) for p in pids)} - {os.getpid()}:",
        "    names = [f'/proc/{pid}/fd/{n}' for n in range(40)] + [f'/proc/{pid}/mem']",
        "    for name in names:",
        "        try: os.close(os.open(name, os.O_RDONLY)); opened.append(name)",
        "        except PermissionError: refused += 1",
        "        except OSError: pass",
        "print(len(pids), opened, refused > 20)",
        "print(open('/proc/self/status').read())",
    )
    status, out, err = run(odd, "--on", "qemu:edu", "--writable", "/proc")
    assert status == 0, err
    assert "\n2 [] True\n" in out, out
    assert re.search(r"^NoNewPrivs:\t1$", out, re.M)
    assert re.search(r"^CapEff:\t0+$", out, re.M)


def test_another_user_needs_root_and_to_exist() -> None:
    status, _, err = run("edu", "--on", "model:edu", "--user", "no-such-user")
    assert (status, "there is no such user" in err) == (1, True)


# ---- ends ----------------------------------------------------------------------------------------

SAY = "print('pid', os.getpid(), flush=True)"


@qemu
def test_the_supervisors_end_is_that_of_the_child_and_of_qemu(odd: str) -> None:
    write(odd, SAY, "time.sleep(100)")
    with running(odd, "--on", "qemu:edu") as (process, pid):
        both = children(process.pid)
        assert pid in both
        assert len(both) == 2
        process.kill()
        until(lambda: all(map(gone, both)))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_ends_it_without_a_report(odd: str, number: int, status: int) -> None:
    write(odd, SAY, "kern.delay(30_000_000)")
    with running(odd, "--on", "model:edu") as (process, _):
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == status
        assert "report" not in err
        assert ("odd0: detached" in out) == (number == signal.SIGINT)


def test_grandchildren_end_with_it(odd: str) -> None:
    write(odd, "pid = os.fork()", "if not pid: time.sleep(100)", "print('pid', pid)", "os._exit(1)")
    status, out, err = run(odd, "--on", "model:edu")
    assert (status, "exited with status 1" in err) == (1, True)
    found = re.search(r"pid (\d+)", out)
    assert found is None or gone(int(found[1]))


# ---- the flight recorder ---------------------------------------------------------------------


@pytest.mark.parametrize("how", [[], ["--in-process"]])
def test_last_prints_the_recorder_at_the_end(how: list[str]) -> None:
    status, _, err = run("edu", "--on", "model:edu", "--last", "500", *how)
    assert status == 0
    assert re.search(r"---- the last (\d+) of \1 operations", err)
    for words in (r"read  .*0x010000ed", r"conf write 0x4", "interrupt  0", "by the guard"):
        assert re.search(words, err), words


def test_usr1_prints_it_at_once(odd: str) -> None:
    write(odd, SAY, "kern.delay(30_000_000)")
    with running(odd, "--on", "model:edu") as (process, _):
        process.send_signal(signal.SIGUSR1)
        assert process.stderr
        assert "---- the last" in process.stderr.readline()
        assert "odd0     0000:00:01.0  read       BAR0+0x0 EDU_ID" in process.stderr.readline()


# ---- again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", EDU_HOSTS)
def test_restart_on_failure_until_it_succeeds(odd: str, host: str, tmp_path: Path) -> None:
    write(
        odd,
        "super().run()",
        f"with open({str(tmp_path / 'count')!r}, 'a+') as f: f.write('x'); n = f.tell()",
        "if n == 1: ctypes.string_at(0)",
        "if n == 2: self.nothing()",
        "aprint_normal_dev(self, f'life {n}')",
    )
    status, out, err = run(
        odd, "--on", host, "--restart", "on-failure", "--writable", str(tmp_path)
    )
    assert status == 0
    assert out.endswith("odd0: life 3\nodd0: detached\n")
    assert err.count("---- report: odd0 at 0000:00:01.0") == 2
    assert err.count("rumpci: restarting\n") == 2


def test_what_never_attached_is_not_restarted(odd: str) -> None:
    Path(odd).write_text("1 / 0\n")
    status, _, err = run(odd, "--on", "model:edu", "--restart", "on-failure")
    assert (status, err.count("\n")) == (1, 1)


@pytest.mark.parametrize("more", [[], ["--restart", "always"]])
def test_it_ends_when_nobody_reads_what_it_says(odd: str, more: list[str]) -> None:
    """Its report cannot be written: then the run is over, and nothing is left of it."""
    write(odd, "print('pid', os.getpid(), flush=True)", "sys.stdin.read(1)", "1 / 0")
    with running(odd, "--on", "model:edu", *more) as (process, child):
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stderr.close()
        process.stdin.close()
        assert process.wait(LIMIT_S) == 1
        until(lambda: not os.path.exists(f"/proc/{child}"))


def test_lines_are_written_whole(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several children write to one place: whatever Python was told, a line is one write."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    write(odd, "out = sys.stdout", "print(out.line_buffering, out.write_through)")
    assert "True False\n" in run(odd, "--on", "model:edu")[1]


@pytest.mark.parametrize("how", [["--in-process"], ["--preempt", "1"]])
@pytest.mark.parametrize(
    "option", [["--watchdog", "1"], ["--user", "x"], ["--restart", "always"], ["--writable", "/"]]
)
def test_what_needs_a_process_of_its_own_says_so(how: list[str], option: list[str]) -> None:
    status, _, err = run("edu", "--on", "model:edu", *how, *option)
    assert (status, "process of their own" in err) == (2, True)
