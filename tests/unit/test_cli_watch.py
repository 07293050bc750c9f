"""Looking at a guard that others use: `list`, and `intr`, `dma`, `iommu` with --watch."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import pwd
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest
from click.testing import CliRunner

from rumpci.host import Address, Host, InterruptInfo
from rumpci.tools import dma, intr, iommu, watch
from tests import needs
from tests.cli_served import served, started
from tests.pci4_served import served_apart

SECONDS = 60
EDU = Address(0, 0, 1, 0)
DRIVER = """
import contextlib, sys
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
with contextlib.closing(open_host(sys.argv[1])) as host:
    claim = host.claim(next(f for f in host.functions() if not f.is_bridge).address, "loader0")
    memory = claim.dma_alloc(MemorySpec(4 * 4096, name="ring"))
    for number in range(4):
        dmamap = claim.dma_map(MapSpec(4096, 1, 4096, name=f"map {number}"))
        dmamap.load([Piece(memory, number * 4096, 4096)], Direction.READ)
    print(flush=True)
    sys.stdin.read()
"""
"""A program that holds the first function of argv[1], with DMA, until its input ends."""


def rumpci(*arguments: str) -> str:
    command = [sys.executable, "-m", "rumpci", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def driver(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", DRIVER, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "\n"
            yield process
        finally:
            process.stdin.close()
            process.wait(SECONDS)


@contextlib.contextmanager
def watching(*arguments: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "rumpci", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def until(stream: IO[str] | None, word: str, times: int = 1) -> list[str]:
    """The lines up to the one that has `word` for the so-manieth time."""
    assert stream
    found = list[str]()
    while sum(word in line for line in found) < times:
        line = stream.readline()
        assert line, "".join(found)
        found.append(line)
    return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_apart("model:edu+edu?banks=2") as there:
        yield there


def test_list_tells_who_holds_what(url: str) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    with driver(url) as process:
        lines = [line for line in rumpci("list", url).splitlines() if "1234:11e8" in line]
        assert lines[0].endswith(f"held by loader0 ({user}, pid {process.pid})")
        assert lines[1].endswith("free, driver: edu")
        rows = json.loads(rumpci("list", url, "--json"))["functions"]
    held = {"who": "loader0", "pid": process.pid, "uid": os.geteuid(), "user": user}
    assert [row["holder"] for row in rows] == [None, held, None]
    assert [row["claimed_by"] for row in rows] == [None, "loader0", None]
    assert [row["allowed"] for row in rows] == [False, True, True]


def test_what_is_there_without_claiming_anything(url: str) -> None:
    with driver(url):
        assert sum("loader0" in line for line in rumpci("dma", url).splitlines()) == 6
        assert "0000:00:01.0  loader0  16 KiB of" in rumpci("dma", url)
        (run,) = json.loads(rumpci("iommu", url, "--json"))["runs"]
        assert (run["size"], run["page"], run["direction"]) == (16384, None, "read")
        assert rumpci("intr", url).count("loader0") == 1
    assert "loader0" not in rumpci("dma", url)


@pytest.mark.parametrize("command", ["dma", "iommu", "intr"])
def test_it_looks_again_until_ctrl_c(url: str, command: str) -> None:
    with watching(command, url, "--watch=0.1") as process, driver(url):
        until(process.stdout, str(EDU), 3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0


def test_a_driver_comes_and_goes_and_json_is_a_line_each(url: str) -> None:
    with watching("dma", url, "--watch", "0.1", "--json") as process:
        with driver(url):
            line = until(process.stdout, "map 3")[-1]
            assert len(json.loads(line)["mirror"]) == 5
        until(process.stdout, '"mirror": []')


def test_a_server_that_goes_away_is_told() -> None:
    with served_apart("model:edu?banks=1") as there:
        process = subprocess.Popen(
            [sys.executable, "-m", "rumpci", "dma", there, "--watch", "0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until(process.stdout, "objects")
    with process:
        _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert told.startswith(f"rumpci: dma_page at {there.removeprefix('pci4:')}: ") or (
        "dma_usage at " in told
    )
    assert "[EIO]" in told
    assert "guard" in told


def test_who_reads_no_more_ends_it(url: str) -> None:
    with watching("dma", url, "--watch=0.1") as process:
        until(process.stdout, "objects")
        assert process.stdout
        process.stdout.close()
        assert process.wait(SECONDS) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def read_all(fd: int, word: str) -> str:
    found, end = "", time.monotonic() + SECONDS
    while word not in found:
        assert select.select([fd], [], [], max(end - time.monotonic(), 0))[0], found
        found += os.read(fd, 4096).decode()
    return found


def test_on_a_terminal_it_draws_in_one_place(url: str) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "LINES": "6", "COLUMNS": "100"}
    with (
        driver(url),
        watching("dma", url, "--watch=0.1", stdout=theirs, env=environment) as process,
    ):
        os.close(theirs)
        shown = read_all(ours, "lines more")
        assert "and 4 lines more" in shown
        assert "\x1b[1A" in read_all(ours, "\x1b[1A"), "the cursor goes up"
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while os.read(ours, 4096):
                pass
        assert process.wait(SECONDS) == 0
    os.close(ours)


@pytest.mark.parametrize("command", [dma.command, iommu.command, intr.command])
def test_a_host_of_its_own_is_watched_too(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def enough(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", enough)
    done = CliRunner().invoke(command, ["model:edu", "--watch"])
    assert done.exit_code == 0
    assert "device" in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--watch", "model:edu"], "write HOST first"),
        (["model:edu", "--watch", "0"], "0 is not from 0.1"),
        (["model:edu", "--watch", "nan"], "nan is not from 0.1"),
        (["model:edu", "--watch", "--check"], "leave --watch out"),
    ],
)
def test_a_command_line_that_makes_no_sense(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(dma.command, arguments)
    assert done.exit_code == 2
    assert told in done.output


# ---- what is shown -----------------------------------------------------------------------------


class Firing:
    """A host whose interrupts are what a test says."""

    def __init__(self) -> None:
        self.rows = list[InterruptInfo]()

    def interrupts(self) -> list[InterruptInfo]:
        return self.rows


def test_rates_are_of_the_time_between_two_looks() -> None:
    host, times = Firing(), iter([100.0, 102.0, 103.0, 103.0, 104.0])
    rates = intr.Rates(cast("Host", host), lambda: next(times))

    def look(count: int, who: str = "edu0") -> Any:
        host.rows = [InterruptInfo(EDU, "msi0 vec 0", who, "established", count)]
        return rates.record()[0]["rate"]

    assert look(5) is None
    assert look(50) == 22.5
    assert look(50) == 0
    assert look(50) is None, "no time has passed"
    assert look(3, "edu1") is None, "another driver's, which counts from its own start"


def test_rates_as_a_column() -> None:
    host, times = Firing(), iter([0.0, 2.0, 4.0])
    host.rows = [InterruptInfo(EDU, "msi0 vec 0", "edu0", "established", 0)]
    rates = intr.Rates(cast("Host", host), lambda: next(times))
    shown = list[str]()
    for count in (1, 4, 404):
        host.rows = [InterruptInfo(EDU, "msi0 vec 0", "edu0", "established", count)]
        shown.append(rates.lines()[1].split()[-1])
    assert shown == ["-", "1.5", "200"]


def test_what_a_terminal_has_no_room_for_is_counted() -> None:
    lines = [str(number) for number in range(10)]
    assert watch._cut(lines, 11) == lines
    assert watch._cut(lines, 10) == [*lines[:8], "... and 2 lines more"]
    assert watch._cut(lines, 1) == ["... and 10 lines more"]


# ---- another user ------------------------------------------------------------------------------


@needs.root
@needs.open_tmp
@pytest.mark.parametrize("inspect", [False, True])
def test_another_user_is_told_what_the_policy_gives(inspect: bool) -> None:
    from rumpci.hosts import open_host
    from rumpci.tools import list as list_

    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)  # noqa: S103
        policy = Path(made) / "policy.toml"
        policy.write_text(f"[[allow]]\nusers = [65534]\ninspect = {str(inspect).lower()}\n")
        options = ("--policy", str(policy), "--mode", "0666")
        with served(Path(made), *options) as server, driver_of(server) as process:
            os.seteuid(65534)
            try:
                with contextlib.closing(open_host(f"pci4:{server.path}")) as host:
                    _, (edu, names, holder) = list_._rows(host)
                    shown, rows = list_._who(names, holder, shared=True), host.dma()
            finally:
                os.seteuid(0)
    told = f"held by loader0 (root, pid {process.pid})" if inspect else "held by another user"
    assert (shown, len(rows)) == (told, 5 if inspect else 0)
    assert edu.claimed_by == ("loader0" if inspect else "another user")


@contextlib.contextmanager
def driver_of(server: Any) -> Iterator[subprocess.Popen[str]]:
    with driver(f"pci4:{started(server).path}") as process:
        yield process
