"""One boot for many tests: a keeper process boots a guest, pytest runs there, reports come back.

The reports are pytest's own, one line of JSON each, as they are made: the host's pytest logs them
as if it had run the tests (so its --junitxml has them, too), and a guest that dies half-way
has told what it had.  Several processes (pytest-xdist's workers) may ask for the same run: the
first starts the keeper, all read.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.linux.archive import CACHE, Unavailable
from tests.linux.kernel import cached
from tests.linux.machines import MACHINES
from tests.linux.qemu import REPOSITORY, Guest, GuestFailed

SILENCE_SECONDS = 600
"""The keeper ends a guest that has reported nothing for so long; a test's own limit is shorter."""
TEST_SECONDS = 300
"""pytest-timeout's limit in the guest, where Python is eight times slower."""
POLL_SECONDS = 0.1
TURN = CACHE / "turn"
"""Who has locked it may have a guest: all at once would keep the host's own tests waiting."""

Report = dict[str, Any]

_keepers: list[subprocess.Popen[bytes]] = []
"""Those that this process started: they end by themselves, soon after it at the latest."""


@dataclass
class Run:
    """The tests of one machine with one kernel.  `folder` is the run's name, too."""

    folder: Path
    series: str
    machine: str
    reports: dict[str, list[Report]] = field(default_factory=dict)
    _read: int = 0

    def start(self, tests: Sequence[str]) -> None:
        """Start the keeper, unless somebody has; do not wait."""
        shared = self.folder / "shared"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.folder.mkdir(mode=0o700)
        except FileExistsError:
            return
        shared.mkdir()
        (shared / "tests").write_text("\n".join(tests))
        command = [sys.executable, "-m", "tests.linux.run", self.series, self.machine]
        with (self.folder / "new").open("w") as lock, (self.folder / "keeper").open("w") as said:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keeper = subprocess.Popen(
                [*command, str(self.folder), str(owner())],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[lock.fileno()],  # it has the lock for as long as it lives
            )
            (self.folder / "new").rename(self.folder / "lock")
        _keepers.append(keeper)

    def wait(self, test: str) -> list[Report]:
        """The test's reports: setup, call, teardown.  Raises GuestFailed when they never come."""
        while True:
            alive = self._alive()
            self._collect()
            got = self.reports.get(test, [])
            if any(report["when"] == "teardown" for report in got):
                return got
            if not alive:
                raise GuestFailed(self._ended())
            time.sleep(POLL_SECONDS)

    def _collect(self) -> None:
        """Read what has come since: only whole lines."""
        with suppress(FileNotFoundError), (self.folder / "shared" / "reports").open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                report = json.loads(line)
                self.reports.setdefault(report["nodeid"], []).append(report)

    def _alive(self) -> bool:
        """Does a keeper hold the lock, or is one being started?"""
        try:
            with (self.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return True
        return False

    def _ended(self) -> str:
        ended = self.folder / "ended"
        return ended.read_text() if ended.exists() else (self.folder / "keeper").read_text()


def command(guest: Guest) -> list[str]:
    """What runs in the guest: pytest on the tests named, each with a limit that is long."""
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", f"timeout={TEST_SECONDS}", "-q"]
    return [sys.executable, "-m", "tests.linux.run", "--inside", *options]


def inside(options: list[str]) -> int:
    """In the guest."""
    import pytest

    tests = Path("/run/job/tests").read_text().splitlines()
    return int(pytest.main([*options, *tests]))


def owner() -> int:
    """The process whose session this is: xdist's workers end one by one, their parent last."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def keep(series: str, machine: str, folder: Path, owned_by: int) -> None:
    """The keeper: boot, wait, and say in `ended` how it went.  No guest outlives its session."""
    reports = folder / "shared" / "reports"
    guest = Guest(cached(series), folder, MACHINES[machine], reports, owned_by)
    try:
        with _turn(owned_by):
            outcome = guest.run(command(guest), SILENCE_SECONDS)
        said = f"pytest in the guest ended with {outcome.status} and no report of this test:\n"
        text = said + outcome.console
    except (GuestFailed, Unavailable) as failure:
        text = str(failure)
    new = folder / "ended.new"
    new.write_text(text)
    new.rename(folder / "ended")


@contextmanager
def _turn(owned_by: int) -> Iterator[None]:
    """Wait until no other guest runs, or the session has ended."""
    with TURN.open("w") as lock:
        while Path(f"/proc/{owned_by}").exists():
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(POLL_SECONDS)
        yield


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.exit(inside(sys.argv[2:]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.EX_TEMPFAIL))
    keep(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
