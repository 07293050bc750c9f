"""The README is a promise: each of its commands is run, and prints what it says."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import missing
from tests.waiting import LIMIT_S

from .needs import qemu

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SESSIONS = re.findall(r"```console\n(.*?)```", README, re.S)
PACKAGES = {"nbdinfo": "libnbd-bin", "nbdcopy": "libnbd-bin"}
pytestmark = [qemu]


def start(command: str, place: Path = ROOT) -> subprocess.Popen[str]:
    """A command as a terminal runs it: what goes to both its outputs, in order."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        shlex.split(command),
        cwd=place,
        env={**os.environ, "PATH": path, "COLUMNS": "500"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command: str, place: Path = ROOT) -> tuple[int, str]:
    with start(command, place) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    return process.returncode, output


@contextlib.contextmanager
def in_background(command: str, place: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that serves, and what it says until it does."""
    with start(command, place) as process:
        try:
            said = ""
            while "serving at" not in said.rpartition("\n")[0]:
                line = process.stdout.readline() if process.stdout else ""
                assert line, said
                said += line
            yield process, said
        finally:
            if process.poll() is None:
                process.terminate()


def steps(session: str) -> list[tuple[str, str]]:
    """The commands of a session, and what each prints."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.M)


def plain(text: str) -> str:
    """Without what is another in another QEMU: its version."""
    return re.sub(r"firmware [\w.]+", "firmware *", text)


def check(command: str, output: str, place: Path) -> None:
    status, said = run(command, place)
    assert plain(said) == plain(output)
    assert status == (1 if re.search(r"^rumpci: ", output, re.M) else 0)


def check_session(session: list[tuple[str, str]], place: Path) -> None:
    """Check a session whose first command serves the others, until the last ends it."""
    (server, greeting), *others, (last, goodbye) = session
    assert last == "kill %1"
    with in_background(server.removesuffix(" &"), place) as (process, said):
        assert plain(said) == plain(greeting)
        for command, output in others:
            check(command, output, place)
        process.terminate()
        assert process.communicate(timeout=LIMIT_S)[0] == goodbye
    assert process.returncode == 0


def name_of(session: str) -> str:
    return " ".join(command for command, _ in steps(session))


@pytest.mark.parametrize("session", SESSIONS, ids=name_of)
def test_sessions_print_what_the_readme_shows(session: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = steps(session)
    assert session == "".join(f"$ {command}\n{output}" for command, output in found)
    for command, _ in found:
        package = PACKAGES.get(program := command.split()[0])
        if package and (why := missing(program, package)):
            pytest.skip(why)
    if found[0][0].endswith(" &"):
        check_session(found, tmp_path)
    else:
        ((command, output),) = found
        check(command, output, tmp_path)


def test_demo_does_the_main_job() -> None:
    status, output = run("./dev demo")
    assert status == 0, output
    for part in ("id 0x010000ed", "liveness ok", "10! = 3628800", "echoed as b'HELLO FROM"):
        assert part in output
    assert re.search(r"^ld0: read 4 MiB behind the IOMMU, SHA-256 as the image's$", output, re.M)
    assert re.search(r"^ok: QEMU started and drivers attached in [\d.]+ s$", output, re.M)


def test_commands_are_the_demo_and_this_very_suite() -> None:
    commands = re.findall(r"```sh\n(.*?)```", README, re.S)
    assert [c.strip().splitlines() for c in commands] == [["./dev demo", "./dev test"]]


def test_drivers_shown_are_the_examples() -> None:
    shown = re.findall(r"`(examples/\w+\.py)`:\n\n```python\n(.*?)```", README, re.S)
    assert len(shown) == README.count("```python") == 2
    for example, text in shown:
        assert text in (ROOT / example).read_text()


def test_every_command_of_the_table_exists() -> None:
    for name in re.findall(r"^\| `rumpci (\w+)", README, re.M):
        status, output = run(f"rumpci {name} --help")
        assert status == 0
        assert "Usage: rumpci" in output


def test_every_linked_document_exists() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).is_file()
