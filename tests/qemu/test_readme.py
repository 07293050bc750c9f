"""The README is a promise: each of its commands is run, and prints what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .needs import qemu

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SESSIONS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", README, re.S)
pytestmark = [qemu]


def run(command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env={**os.environ, "PATH": path, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("command", "output"), SESSIONS, ids=[c for c, _ in SESSIONS])
def test_sessions_print_what_the_readme_shows(command: str, output: str) -> None:
    result = run(command)
    assert result.stdout + result.stderr == output
    assert result.returncode == (1 if "\nrumpci: " in f"\n{output}" else 0)


def test_demo_does_the_main_job() -> None:
    result = run("./dev demo")
    assert result.returncode == 0, result.stderr
    for part in ("id 0x010000ed", "liveness ok", "10! = 3628800", "echoed as b'HELLO FROM"):
        assert part in result.stdout


def test_commands_are_the_demo_and_this_very_suite() -> None:
    commands = re.findall(r"```sh\n(.*?)```", README, re.S)
    assert [c.strip().splitlines() for c in commands] == [["./dev demo", "./dev test"]]


def test_driver_shown_is_the_example() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert shown in (ROOT / "examples/first.py").read_text()


def test_every_command_of_the_table_exists() -> None:
    for name in re.findall(r"^\| `rumpci (\w+)", README, re.M):
        result = run(f"rumpci {name} --help")
        assert result.returncode == 0
        assert "Usage: rumpci" in result.stdout


def test_every_linked_document_exists() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).is_file()
