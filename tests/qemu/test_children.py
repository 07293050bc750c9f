"""`rumpci run` with several drivers: each in a child of its own, and nothing to the others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S

from .needs import qemu
from .runs import STAY, TWO, Begin, at, children, driver, gone, run, start, until_there

TELL = "print(self.xname, 'pid', os.getpid(), flush=True)"

# ---- one dies, the others do not ---------------------------------------------------------------


def test_a_death_is_that_drivers_alone(tmp_path: Path) -> None:
    bad = driver(tmp_path / "bad.py", at(1), "ctypes.string_at(0)")
    gate = tmp_path / "gate"
    good = driver(
        tmp_path / "good.py", at(2),
        until_there(gate, "self.factorial(5)"),
        "print('good goes on', self.factorial(6), flush=True)",
    )  # fmt: skip
    with start(bad, good, "--on", TWO) as process:
        assert process.stderr
        err = ""
        while f"rumpci: {bad}: bad0 at 0000:00:01.0: killed by SIGSEGV" not in err:
            line = process.stderr.readline()
            assert line, err
            err += line
        gate.write_text("")
        out, more = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert out.endswith("good goes on 720\ngood0: detached\n")
    assert "---- report: bad0 at 0000:00:01.0\n" in err
    report = (err + more).partition("---- report")[2]
    assert "good0" not in report
    assert "0000:00:02.0" not in report


def test_what_does_not_attach_leaves_the_others(tmp_path: Path) -> None:
    bad = driver(tmp_path / "bad.py", at(1), "pass", "def attach(self, pa): 1 / 0")
    Path(bad).write_text(Path(bad).read_text().replace("        def attach", "    def attach"))
    good = driver(tmp_path / "good.py", at(2), "print('good runs')")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    status, out, err = run(bad, good, str(broken), "--on", TWO)
    assert status == 1
    assert "good0 at pci0 dev 2" in out
    assert out.endswith("good runs\ngood0: detached\n")
    assert re.search(r"^rumpci: \S*bad.py: attaching bad0 to .*ZeroDivisionError", err, re.M)
    assert re.search(r"^rumpci: \S*broken.py: loading .*ZeroDivisionError", err, re.M)


def test_a_hang_is_seen_beside_one_that_is_busy(tmp_path: Path) -> None:
    bad = driver(tmp_path / "bad.py", at(1), "while True: pass")
    good = driver(tmp_path / "good.py", at(2), "while True: self.factorial(5)")
    with start(bad, good, "--on", TWO, "--watchdog", "3") as process:
        assert process.stderr
        try:
            while "bad0 at 0000:00:01.0: hung" not in (line := process.stderr.readline()):
                assert line
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "good0 at 0000:00:02.0: hung" not in err


def test_only_the_dead_one_is_restarted(tmp_path: Path) -> None:
    count = str(tmp_path / "count")
    bad = driver(
        tmp_path / "bad.py", at(1),
        f"with open({count!r}, 'a+') as f: f.write('x'); n = f.tell()",
        "if n < 3: ctypes.string_at(0)",
    )  # fmt: skip
    good = driver(
        tmp_path / "good.py", at(2), TELL,
        f"while not os.path.exists({count!r}) or os.path.getsize({count!r}) < 3: kern.delay(1000)",
        TELL,
    )  # fmt: skip
    status, out, err = run(
        bad, good, "--on", TWO, "--restart", "on-failure", "--writable", str(tmp_path)
    )  # fmt: skip
    assert status == 0, err
    assert err.count(f"rumpci: {bad}: restarting\n") == 2
    pids = re.findall(r"^good0 pid (\d+)$", out, re.M)
    assert len(pids) == 2
    assert len(set(pids)) == 1
    assert out.count("bad0 at pci0 dev 1 function 0") == 3
    assert out.count("good0 at pci0 dev 2 function 0") == 1


# ---- who attaches what -------------------------------------------------------------------------

SETS = {
    "the best": ("1", "2", ["two0", "two1", "two2"]),
    "the first of equals": ("5", "5", ["one0", "one1", "one2"]),
    "each its own": (at(2), f"2 * (1 - {at(2)})", ["two0", "one0", "two1"]),
    "not at all": (at(1), at(3), ["one0", "", "two0"]),
}


@pytest.mark.parametrize(("one", "two", "who"), SETS.values(), ids=SETS)
def test_the_best_match_gets_it_as_in_one_process(
    tmp_path: Path, one: str, two: str, who: list[str]
) -> None:
    names = [driver(tmp_path / "one.py", one), driver(tmp_path / "two.py", two)]
    for name in names:
        Path(name).write_text(Path(name).read_text() + "        pass\n")
    arguments = [*names, "--on", "model:edu+edu+edu"]
    apart, here = run(*arguments), run(*arguments, "--in-process")
    assert sorted(apart[1].splitlines()) == sorted(here[1].splitlines())
    assert (apart[0], apart[2]) == (here[0], here[2]) == (0, "")
    lines = apart[1].splitlines()
    attached = [line.split()[0] for line in lines if re.search(r"\w at pci0 dev", line)]
    assert attached == [name for name in who if name]
    assert lines[: len(lines) - len(attached)] == here[1].splitlines()[: len(lines) - len(attached)]


def test_names_of_devices_are_unique(tmp_path: Path) -> None:
    body = ["print(self.xname, 'has', self.next_unit('ld'), self.next_unit('ld'), flush=True)"]
    one = driver(tmp_path / "one.py", at(1), *body, name="Same")
    two = driver(tmp_path / "two.py", at(2), *body, name="Same")
    status, out, _ = run(one, two, "--on", TWO)
    assert status == 0
    said = dict(re.findall(r"^(same[01]) has (\d \d)$", out, re.M))
    assert sorted(said) == ["same0", "same1"]
    assert sorted(" ".join(said.values()).split()) == ["0", "1", "2", "3"]


def test_a_child_may_claim_only_what_is_its(tmp_path: Path) -> None:
    thief = driver(
        tmp_path / "thief.py", at(1),
        "from rumpci.host import Address",
        "try: self.pa.pa_pc.host.claim(Address(0, 0, 3, 0), 'thief')",
        "except Exception as error: print('refused:', type(error).__name__, flush=True)",
    )  # fmt: skip
    status, out, _ = run(thief, "--on", "model:edu+edu+edu")
    assert (status, "refused: NotPermitted\n" in out) == (0, True)


@pytest.mark.parametrize("how", [["--in-process"], []])
def test_one_that_matches_nothing_is_no_error_beside_others(tmp_path: Path, how: list[str]) -> None:
    none = driver(tmp_path / "nil.py", "0", "pass")
    assert run(none, "edu", "--on", "model:edu", *how)[::2] == (0, "")
    status, out, err = run(none, "com", "--on", "model:edu", *how)
    assert status == 1
    assert "not configured" in out
    assert err.count("\n") == 1
    assert f"attaching {none}, com on model:edu: no device matches" in err


# ---- together -----------------------------------------------------------------------------------


def test_what_has_run_stays_attached_and_handles_interrupts_until_all_have(tmp_path: Path) -> None:
    """As in one process: detached, and shown, when all are done; the last one first."""
    one = driver(tmp_path / "one.py", at(1), "print('one ran', flush=True)")
    gate = tmp_path / "gate"
    two = driver(tmp_path / "two.py", at(2), until_there(gate))
    with start(one, two, "--on", TWO, "--show", "intr") as process:
        assert process.stdout
        out = ""
        while "one ran" not in out:
            out += process.stdout.readline()
        gate.write_text("")
        rest, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    shown = rest.partition("two0: detached\none0: detached\n")
    assert shown[1:] == ("two0: detached\none0: detached\n", "")
    assert "one0" in shown[0]
    assert "two0" in shown[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all(tmp_path: Path, number: int, status: int) -> None:
    files = [driver(tmp_path / f"d{n}.py", at(n), TELL, STAY) for n in (1, 2)]
    with start(*files, "--on", TWO) as process:
        assert process.stdout
        said, pids = "", set[int]()
        while len(pids) < 2:
            line = process.stdout.readline()
            assert line, said
            said += line
            pids = {int(pid) for pid in re.findall(r"pid (\d+)", said)}
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == status
        assert "report" not in err
        assert all(map(gone, pids))


def test_only_the_driver_that_was_saved_is_reloaded(tmp_path: Path, begin: Begin) -> None:
    one = driver(tmp_path / "one.py", at(1), TELL, STAY)
    two = driver(tmp_path / "two.py", at(2), TELL, STAY)
    running = begin(one, two, "--on", TWO)
    pids: dict[str, str] = {}
    while len(pids) < 2:
        found = running.until(r"^(\w+)0 pid (\d+)$")
        pids[found[1]] = found[2]
    for word in ("mended", "again"):
        driver(tmp_path / "new", at(2), f"print({word!r}, flush=True)", STAY, name="Two")
        os.replace(tmp_path / "new", two)
        running.reloaded(f"^{word}$")
    assert not gone(int(pids["one"]))
    assert gone(int(pids["two"]))
    assert "one0: detached" not in "".join(running.said)
    assert running.interrupt() == 130


# ---- between two children, and at their ends ----------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("host", ["model:edu", pytest.param("qemu:edu", marks=qemu)])
def test_a_signal_in_a_pause_ends_the_run(
    tmp_path: Path, host: str, number: int, status: int
) -> None:
    bad = driver(tmp_path / "bad.py", 1, "print('life', flush=True)", "os._exit(1)")
    with start(bad, "--on", host, "--restart", "on-failure") as process:
        assert process.stderr
        try:
            for _ in range(4):  # the next pause is 0.8 s
                while "restarting" not in (line := process.stderr.readline()):
                    assert line
            others = children(process.pid)
            process.send_signal(number)
            process.communicate(timeout=LIMIT_S)
            assert process.returncode == status
            assert all(map(gone, others))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_save_is_waited_for(
    tmp_path: Path, begin: Begin, number: int, status: int
) -> None:
    running = begin(driver(tmp_path / "odd.py", 1, "pass"), "--on", "model:edu")
    running.until("waiting for a save")
    running.process.send_signal(number)
    assert running.process.wait(LIMIT_S) == status


def test_a_deaf_child_is_killed_for_the_next_one(tmp_path: Path, begin: Begin) -> None:
    deaf = ["signal.signal(signal.SIGINT, signal.SIG_IGN)", "print('deaf', flush=True)", STAY]
    odd = driver(tmp_path / "odd.py", 1, *deaf)
    running = begin(odd, "--on", "model:edu")
    running.until("^deaf$")
    driver(tmp_path / "new", 1, "print('heard', flush=True)", STAY, name="Odd")
    os.replace(tmp_path / "new", odd)
    running.until("^why: it did not end, and was killed 2 s after it was asked to")
    running.reloaded("^heard$")
    assert running.interrupt() == 130


def _qemu_of(pid: int) -> int:
    (found,) = (c for c in children(pid) if "qemu" in Path(f"/proc/{c}/comm").read_text())
    return found


@qemu
@pytest.mark.parametrize("how", [[], ["--restart", "always"]])
def test_when_qemu_dies_so_does_the_run(tmp_path: Path, how: list[str]) -> None:
    files = [driver(tmp_path / f"d{n}.py", at(n), TELL, STAY) for n in (1, 2)]
    with start(*files, "--on", "qemu:edu+edu", *how) as process:
        assert process.stdout
        for _ in files:
            while "pid" not in (line := process.stdout.readline()):
                assert line
        os.kill(_qemu_of(process.pid), signal.SIGKILL)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "QEMU was ended by SIGKILL" in err.splitlines()[-1]
    assert "why: the machine ended" in err
    assert "restarting" not in err


@qemu
def test_when_qemu_dies_so_does_the_server(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "rumpci", "serve", "qemu:edu", "--socket", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while " serve qemu:edu" not in (line := process.stderr.readline()):
            assert line
        os.kill(_qemu_of(process.pid), signal.SIGKILL)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "QEMU was ended by SIGKILL" in err.splitlines()[-1]
    assert not (tmp_path / "pci0").exists()
