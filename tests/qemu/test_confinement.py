"""What a driver's process gave up: hostile drivers, and what a driver may still do."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import rumpci
from rumpci.supervisor import landlock, seccomp
from rumpci.supervisor.confine import is_wide
from rumpci.tools import doctor
from tests.waiting import LIMIT_S

from .needs import qemu

landlocked = pytest.mark.skipif(
    not landlock.version(), reason="no Landlock here: boot Linux 5.13+ with landlock in lsm="
)
filtered = pytest.mark.skipif(
    bool(seccomp.missing()), reason=f"{seccomp.missing()}: apt-get install libseccomp2"
)
HOSTILE = """
import contextlib, ctypes, json, mmap, os, signal, socket, subprocess, threading
from rumpci.drivers.edu import Edu
from rumpci.supervisor import seccomp
with open({plan!r}) as file:
    PLAN = json.load(file)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBRARY = seccomp.library()
UP = os.getppid()

def call(name, *args):
    number = LIBRARY.seccomp_syscall_resolve_name(name.encode())
    if LIBC.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), name)

def attempt(text):
    try:
        exec(text, globals())
    except OSError as error:
        return error.errno
    return 0

class Hostile(Edu):
    def attach(self, *args):
        print("RESULTS", json.dumps({{name: attempt(text) for name, text in PLAN.items()}}))
        return super().attach(*args)
"""
"""A driver that attempts what the file `plan` has, before it attaches."""


@dataclass(frozen=True)
class Place:
    """Where the tests' driver is, and what is around it."""

    home: Path
    project: Path
    port: int

    def run(self, attempts: dict[str, str], *arguments: str, **given: int) -> dict[str, int]:
        """What came of each attempt: 0, or the errno.  The driver works after that."""
        plan = self.project / "plan.json"
        plan.write_text(json.dumps(attempts))
        driver = self.project / "hostile.py"
        driver.write_text(HOSTILE.format(plan=str(plan)))
        command = [sys.executable, "-m", "rumpci", "run", str(driver), "--on", "model:edu"]
        done = subprocess.run(
            [*command, *arguments], env={**os.environ, "HOME": str(self.home)},
            capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=self.project,
            stdin=given.get("stdin", subprocess.DEVNULL),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("10! = 3628800\nhostile0: detached\n"), "the guard lives on"
        (line,) = (line for line in done.stdout.splitlines() if "RESULTS" in line)
        found: dict[str, int] = json.loads(line.partition("RESULTS")[2])
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    top = tmp_path_factory.mktemp("confined")
    home, project = top / "home", top / "project"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id").write_text("secret")
    project.mkdir()
    (project / "beside.bin").write_text("firmware")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Place(home, project, server.getsockname()[1])


FILES = {
    "write in the home directory": "open({home!r} + '/new', 'w')",
    "write in /tmp": "open('/tmp/rumpci-hostile', 'w')",
    "write beside the driver": "open({project!r} + '/new', 'w')",
    "write its own file": "open({project!r} + '/hostile.py', 'a')",
    "make a directory": "os.mkdir({project!r} + '/new')",
    "make a link": "os.symlink('/etc/passwd', {project!r} + '/new')",
    "remove a file": "os.unlink({project!r} + '/beside.bin')",
    "rename a file": "os.rename({project!r} + '/beside.bin', {project!r} + '/new')",
    "read a secret": "open({home!r} + '/.ssh/id')",
    "read another user's": "open('/etc/shadow')",
    "list the home directory": "os.listdir({home!r})",
    "read another process": "open(f'/proc/{{UP}}/environ')",
    "open physical memory": "open('/dev/mem', 'rb')",
    "open the kernel's messages": "open('/dev/kmsg', 'rb')",
    "open a terminal": "os.open('/dev/ptmx', os.O_RDWR)",
    "shared memory by name": "open('/dev/shm/rumpci-hostile', 'w')",
    "cut a file by opening it": "os.open({project!r} + '/beside.bin', os.O_RDONLY | os.O_TRUNC)",
}
CALLS = {
    "connect to loopback": "socket.create_connection(('127.0.0.1', {port}), 5)",
    "a socket of UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a socket with a name": "socket.socket(socket.AF_UNIX)",
    "a pair that can send elsewhere": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "execve": "os.execv('/bin/true', ['true'])",
    "a program": "subprocess.run(['/bin/true'])",
    "trace the supervisor": "call('ptrace', 16, UP, 0, 0)",
    "read its memory": "call('process_vm_readv', UP, None, 0, None, 0, 0)",
    "take its descriptors": "call('pidfd_getfd', os.pidfd_open(UP), 0, 0)",
    "kill the supervisor": "os.kill(UP, signal.SIGTERM)",
    "kill it by descriptor": "signal.pidfd_send_signal(os.pidfd_open(UP), signal.SIGTERM)",
    "limit the supervisor": "import resource; resource.prlimit(UP, resource.RLIMIT_NOFILE, (9, 9))",
    "leave the group": "os.setpgid(0, 0)",
    "leave the session": "os.setsid()",
    "outlive the supervisor": "call('prctl', 1, 0, 0, 0, 0)",
    "iopl": "call('iopl', 3)",
    "ioperm": "call('ioperm', 0x80, 1, 1)",
    "mount": "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "kexec": "call('kexec_load', 0, 0, None, 0)",
    "bpf": "call('bpf', 0, None, 0)",
    "perf": "call('perf_event_open', None, 0, -1, -1, 0)",
    "keys": "call('keyctl', 0, -3, 0, 0, 0)",
    "io_uring": "call('io_uring_setup', 1, None)",
    "userfaultfd": "call('userfaultfd', 0)",
    "a user namespace": "call('unshare', 0x10000000)",
    "a child in a user namespace": "call('clone', 0x10000000 | 17, None, None, None, None)",
    "shared memory of System V": "call('shmget', 0, 4096, 0o1600)",
    "the mode of its file": "os.chmod({project!r} + '/beside.bin', 0o600)",
    "the mode of a secret": "os.chmod({home!r} + '/.ssh/id', 0o777)",
    "the time of a file": "os.utime({project!r} + '/beside.bin')",
    "cut a file": "os.truncate({project!r} + '/beside.bin', 0)",
    "input for a terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
}
X86 = {"iopl", "ioperm"}
OPEN_ANYHOW = [
    "write in the home directory", "read a secret", "list the home directory",
    "connect to loopback", "a program", "the time of a file", "make a directory",
]  # fmt: skip
"""Harmless, and possible where nothing was given up."""
MAY = {
    "read beside itself": "assert open({project!r} + '/beside.bin').read() == 'firmware'",
    "import": "import decimal, multiprocessing, asyncio, faulthandler, sqlite3",
    "a thread": "t = threading.Thread(target=print); t.start(); t.join()",
    "memory": "mmap.mmap(-1, 4096)[:1]",
    "memory that is a file": "f = os.memfd_create('x'); os.ftruncate(f, 4096); mmap.mmap(f, 4096)",
    "a pair of sockets": "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'",
    "a signal to itself": "signal.signal(signal.SIGUSR2, print); os.kill(os.getpid(), 12)",
    "its limits": "import resource; resource.getrlimit(resource.RLIMIT_NOFILE)",
    "its own state": "open('/proc/self/status').read()",
    "chance": "os.urandom(8); open('/dev/urandom', 'rb').read(1)",
    "the void": "open(os.devnull, 'w').write('x')",
    "who it is": "import pwd; pwd.getpwnam('root')",
    "a process by fork": """
import multiprocessing
context = multiprocessing.get_context("fork")
a, b = context.Pipe()
process = context.Process(target=b.send, args=(7,))
process.start()
assert a.recv() == 7
process.join()
if "signals" in {scopes!r}:
    process = context.Process(target=signal.pause)
    process.start()
    process.terminate()
    process.join()
    assert process.exitcode == -15
""",
}


def filled(place: Place, attempts: dict[str, str]) -> dict[str, str]:
    scopes = "signals" if landlock.version() >= landlock.SIGNALS_SINCE else ""
    names = {"home": str(place.home), "project": str(place.project), "port": place.port}
    return {name: text.format(**names, scopes=scopes) for name, text in attempts.items()}


@pytest.fixture(scope="module")
def results(place: Place) -> dict[str, int]:
    return place.run(filled(place, FILES | CALLS))


@landlocked
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_driver_reaches_no_file(results: dict[str, int], name: str) -> None:
    if name == "open physical memory" and not Path("/dev/mem").exists():
        pytest.skip("there is no /dev/mem here: a kernel with CONFIG_DEVMEM has it")
    assert os.strerror(results[name]) in ("Permission denied", "Operation not permitted")


@filtered
@pytest.mark.parametrize("name", CALLS)
def test_a_hostile_driver_gets_no_such_call(results: dict[str, int], name: str) -> None:
    if name in X86 and platform.machine() != "x86_64":
        pytest.skip("only x86 has this call: run the tests on x86-64")
    assert os.strerror(results[name]) in ("Permission denied", "Operation not permitted")


def test_nothing_was_changed(results: dict[str, int], place: Place) -> None:
    if not landlock.version() or seccomp.missing():
        pytest.skip("nothing is given up here: `rumpci doctor` says what is missing for it")
    assert results
    assert (place.project / "beside.bin").read_text() == "firmware"
    assert not any((where / "new").exists() for where in (place.home, place.project))


def test_the_attempts_succeed_where_nothing_is_given_up(place: Place) -> None:
    attempts = filled(place, FILES | CALLS)
    found = place.run({name: attempts[name] for name in OPEN_ANYHOW}, "--in-process")
    shutil.rmtree(place.project / "new")
    (place.home / "new").unlink()
    assert found == dict.fromkeys(OPEN_ANYHOW, 0)


def test_what_a_driver_may(place: Place) -> None:
    assert place.run(filled(place, MAY)) == dict.fromkeys(MAY, 0)


def test_what_is_writable_is_written(place: Place) -> None:
    where = place.project / "log"
    where.mkdir()
    attempts = {"in": f"open({str(where / 'new')!r}, 'w').write('x')"}
    assert place.run(attempts, "--writable", str(where)) == {"in": 0}
    assert (where / "new").read_text() == "x"


def test_a_driver_reads_the_terminal(place: Place) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"continue\n")
        text = "import termios; termios.tcgetattr(0); assert input() == 'continue'"
        assert place.run({"read": text, "push": CALLS["input for a terminal"]}, stdin=theirs) == {
            "read": 0,
            "push": 1 if not seccomp.missing() else 0,
        }
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_driver_in_the_home_directory_reads_only_modules_there(place: Place) -> None:
    if not landlock.version():
        pytest.skip("no Landlock here: boot Linux 5.13+ with landlock in lsm=")
    (place.home / "sibling.py").write_text("")
    (place.home / "driver.py").write_text("import sibling\nopen('.ssh/id')\n")
    command = [sys.executable, "-m", "rumpci", "run", "driver.py", "--on", "model:edu"]
    done = subprocess.run(
        command, env={**os.environ, "HOME": str(place.home)}, cwd=place.home,
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert "Permission denied: '.ssh/id'" in done.stderr
    assert "driver.py:2" in done.stderr, "the import before it worked"


@pytest.mark.parametrize("directory", ["/", "/home", "/home/someone", "/tmp", "/root"])  # noqa: S108
def test_homes_and_what_is_everybodys_are_wide(directory: str) -> None:
    assert is_wide(Path(directory))


def test_a_project_is_not_wide(tmp_path: Path) -> None:
    assert not is_wide(tmp_path)


# ---- older kernels ------------------------------------------------------------------------


def in_child(text: str) -> str:
    """What Python says of `text` in a process of its own, which may not gain privileges."""
    head = "import ctypes, os, signal, sys\nfrom pathlib import Path\n"
    head += "from rumpci.supervisor import landlock, seccomp\n"
    head += "ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
    command = [sys.executable, "-c", head + text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.stdout + done.stderr


@filtered
def test_without_scopes_of_landlock_signals_are_filtered() -> None:
    said = in_child(
        "seccomp.restrict(signals=True)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('own'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "try: os.kill(os.getppid(), 0)\n"
        "except PermissionError: print('refused')\n"
    )
    assert said == "own\nrefused\n"


@landlocked
@pytest.mark.parametrize("version", range(1, 8))
def test_every_version_of_landlock_is_asked_for_what_it_has(version: int, tmp_path: Path) -> None:
    if version > landlock.version():
        pytest.skip(f"Landlock {landlock.version()} is this kernel's: boot one with {version}")
    said = in_child(
        f"landlock.version = lambda: {version}\n"
        f"landlock.restrict([(Path('/usr'), landlock.READ)])\n"
        f"print(len(os.listdir('/usr')) > 0)\n"
        f"try: open({str(tmp_path / 'new')!r}, 'w')\n"
        "except PermissionError: print('refused')\n"
    )
    assert said == "True\nrefused\n"


def findings() -> dict[str, doctor.Finding]:
    return {f.what: f for check in doctor.CHECKS for f in check(Path("/"))}


def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(seccomp, "library", lambda: None)
    found = findings()
    files, calls = found["drivers' files"], found["drivers' calls"]
    assert (files.ok, "no Landlock" in files.found, "lsm=" in files.remedy) == (False, True, True)
    assert (calls.ok, "libseccomp2" in calls.remedy) == (False, True)


def test_a_driver_runs_where_neither_is(place: Place) -> None:
    said = in_child(
        "landlock.version = lambda: 0\n"
        "seccomp.library = lambda: None\n"
        "from rumpci.supervisor.confine import confine\n"
        "confine([], [])\n"
        f"print(open({str(place.home / '.ssh/id')!r}).read())\n"
    )
    assert said == "secret\n"


# ---- another user -------------------------------------------------------------------------

USER = "nobody"


ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(Path(m.__file__ or "").parents[1]) for m in (rumpci, click)),
}
"""rumpci and what it needs, for a Python that is not that of the virtual environment."""


def python_of_user() -> str | None:
    """A Python of our version that the user can run rumpci with."""
    entry = pwd.getpwnam(USER)
    own = "python{}.{}".format(*sys.version_info)
    for python in (sys.executable, f"/usr/bin/{own}"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-P", "-c", "import rumpci.supervisor.child"], env=ENVIRONMENT,
                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd="/",
                capture_output=True, check=False, timeout=LIMIT_S,
            )  # fmt: skip
            if done.returncode == 0:
                return python
    return None


@dataclass(frozen=True)
class AsUser:
    """A directory that the user may read, and how to run a driver."""

    directory: Path
    python: str

    def command(self, driver: str, host: str) -> list[str]:
        return [self.python, "-m", "rumpci", "run", driver, "--on", host, "--user", USER]

    def run(self, driver: str, host: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(driver, host), env=ENVIRONMENT, cwd="/",
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def as_user() -> Iterator[AsUser]:
    if os.geteuid():
        pytest.skip("only root may choose the user: sudo ./dev test -k confinement")
    python = python_of_user()
    if python is None:
        pytest.skip(f"{USER} may not read {Path(rumpci.__file__).parent} or Python: chmod a+rX it")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield AsUser(Path(name), python)


WHO = """
import os
from rumpci.drivers.edu import Edu
class Who(Edu):
    def run(self):
        super().run()
        print("pid", os.getpid(), flush=True)
        input()
"""


@pytest.mark.parametrize("host", ["model:edu", pytest.param("qemu:edu", marks=qemu)])
def test_a_shipped_driver_runs_as_another_user(as_user: AsUser, host: str) -> None:
    done = as_user.run("edu", host)
    assert (done.returncode, done.stderr) == (0, "")
    assert "edu0: 10! = 3628800\n" in done.stdout


@qemu
def test_a_drivers_file_runs_as_another_user(as_user: AsUser) -> None:
    driver = as_user.directory / "who.py"
    driver.write_text(WHO)
    driver.chmod(0o644)
    with subprocess.Popen(
        as_user.command(str(driver), "qemu:edu"), env=ENVIRONMENT, cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        said = next(line for line in process.stdout if line.startswith("pid "))
        status = Path(f"/proc/{said.split()[1]}/status").read_text()
        process.communicate("\n", timeout=LIMIT_S)
    entry = pwd.getpwnam(USER)
    assert f"\nUid:\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}\n" in status
    assert f"\nGid:\t{entry.pw_gid}\t" in status
    assert "\nGroups:\t \n" in status
    assert process.returncode == 0


def test_a_file_that_the_user_cannot_read_is_named(as_user: AsUser) -> None:
    driver = as_user.directory / "secret.py"
    driver.write_text(WHO)
    driver.chmod(0o600)
    done = as_user.run(str(driver), "model:edu")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert str(driver) in done.stderr
    assert "let the user that runs it read it" in done.stderr
