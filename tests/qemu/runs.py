"""`rumpci run` as a process: what it runs, what it says, and that it is over with its test."""

from __future__ import annotations

import contextlib
import os
import pty
import queue
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S

TWO = "model:edu+edu"
STAY = "kern.delay(60_000_000)"
HEAD = """
import ctypes, os, signal, sys, time
from rumpci import kern
from rumpci.autoconf import aprint_normal_dev
from rumpci.bus_dma import *
from rumpci.drivers.edu import Edu
class Odd(Edu):
    def run(self):
"""
MATCHING = """
import ctypes, os, signal, sys, time
from rumpci import kern
from rumpci.drivers.edu import Edu
class {name}(Edu):
    @staticmethod
    def match(pa):
        return {match} if pa.product == 0x11e8 else 0
    def run(self):
"""


# ---- drivers ---------------------------------------------------------------------------------


def write(path: str, *body: str) -> str:
    """A driver of edu whose `run` is `body`; where it begins is line 9."""
    Path(path).write_text(HEAD + "".join(f"        {line}\n" for line in body))
    return path


def driver(path: Path, match: object, *body: str, name: str = "") -> str:
    """A driver of edu: `match` is an expression of `pa`, `body` what it runs."""
    text = MATCHING.format(name=name or path.stem.capitalize(), match=match)
    path.write_text(text + "".join(f"        {line}\n" for line in body))
    return str(path)


def until_there(gate: Path, doing: str = "pass") -> str:
    """A line of `run` that does something over and over until there is a file."""
    return f"while not os.path.exists({str(gate)!r}): {doing}; kern.delay(1000)"


def at(slot: int) -> str:
    """What matches only the function in a slot."""
    return f"int(pa.pa_device == {slot})"


# ---- processes -------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rumpci", "run", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(*arguments: str, given: str = "") -> tuple[int, str, str]:
    with start(*arguments) as process:
        try:
            out, err = process.communicate(given, timeout=LIMIT_S)
        finally:
            process.kill()
    return process.returncode, out, err


def children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in tasks.read_text().split()}


def gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


class Run:
    """A run whose lines, of both its outputs, can be waited for."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "rumpci", "run", *arguments, "--reload"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line has the pattern."""
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {pattern!r} within {LIMIT_S} s in {''.join(self.said)}")
            assert line, f"it ended before {pattern!r}: {''.join(self.said)}"
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def reloaded(self, *patterns: str) -> int:
        """Read until it was reloaded and said the rest, in any order; the milliseconds."""
        taken, missing = 0, [r"rumpci: (?:\S+: )?reloaded in (\d+) ms", *patterns]
        while missing:
            found = self.until("|".join(missing))
            line = found.string
            if said := re.search(r"reloaded in (\d+) ms", line):
                taken = int(said[1])
            missing = [pattern for pattern in missing if not re.search(pattern, line)]
        return taken

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()


def _keep_what_is_on_its_way() -> None:
    """Else an interrupt drops also output, even some that came after it (termios(4), NOFLSH)."""
    attributes = termios.tcgetattr(0)
    attributes[3] |= termios.NOFLSH
    termios.tcsetattr(0, termios.TCSANOW, attributes)


class Terminal:
    """A command whose controlling terminal we are the other end of."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            _keep_what_is_on_its_way()
            os.execv(sys.executable, [sys.executable, "-m", "rumpci", "run", *arguments])  # noqa: S606
        self.said = ""

    def until(self, pattern: str) -> str:
        """What it says up to the pattern, without what it said before."""
        end = time.monotonic() + LIMIT_S
        while not (found := re.search(pattern, self.said)):
            ready = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, f"no {pattern!r} in {self.said!r}"
            try:
                data = os.read(self._fd, 4096)
            except OSError:  # nobody has the other end any more
                data = b""
            assert data, f"it ended before {pattern!r}: {self.said!r}"
            self.said += data.decode().replace("\r", "")
        before, self.said = self.said[: found.end()], self.said[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Its exit status."""
        while True:
            try:
                data = os.read(self._fd, 4096)
            except OSError:
                data = b""
            if not data:
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.said += data.decode().replace("\r", "")

    def close(self) -> None:
        os.close(self._fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


Begin = Callable[..., Run]
AtTerminal = Callable[..., Terminal]
"""See conftest's fixtures."""
