"""`rumpci run --nbd` with drivers in children of their own, and programs that we did not write."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S

from ..unit.test_nbd_programs import nbdinfo, qemu_io
from .needs import qemu
from .runs import children, driver, gone, run, start

NVME = "qemu:nvme,serial=1,size=16M"


class Served:
    """A run that serves at `path`; what it said by then is `said`."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.process = start(*arguments, "--nbd", f"unix:{path}")
        self.uri, self.said = f"nbd+unix:///?socket={path}", ""
        self.until("serving at")

    def until(self, words: str) -> None:
        assert self.process.stdout
        while words not in (line := self.process.stdout.readline()):
            assert line, (self.said, self.process.stderr and self.process.stderr.read())
            self.said += line
        self.said += line

    def drivers(self) -> set[int]:
        pids = children(self.process.pid)
        return {pid for pid in pids if "python" in Path(f"/proc/{pid}/comm").read_text()}

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, out, err


def io(uri: str, *commands: str) -> str:
    arguments = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "raw", *arguments, uri],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    return done.stdout


@qemu
@qemu_io
@nbdinfo
def test_the_child_serves_and_has_no_way_to_the_socket_but_its_descriptor(tmp_path: Path) -> None:
    served = Served(tmp_path / "s", "nvme", "--on", NVME)
    (child,) = served.drivers()
    fds = [os.readlink(fd) for fd in Path(f"/proc/{child}/fd").iterdir() if fd.is_symlink()]
    assert [fd for fd in fds if fd.startswith("socket")]
    done = subprocess.run(
        ["nbdinfo", "--json", "--no-content", served.uri],
        capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["exports"][0]["export-size"] == 16 << 20
    io(served.uri, "write -P 0xa5 777 70000", "flush", "read -P 0xa5 777 70000", "read -P 0 0 777")
    assert served.end() == (0, "nvme0: detached\n", "")
    assert gone(child)
    assert not (tmp_path / "s").exists()


@qemu
@qemu_io
def test_the_others_stay_attached_while_one_serves(tmp_path: Path) -> None:
    odd = driver(tmp_path / "odd.py", 1, "print('it runs', flush=True)")
    served = Served(tmp_path / "s", odd, "nvme", "--on", f"qemu:edu+{NVME[5:]}")
    assert len(served.drivers()) == 2
    io(served.uri, "write -P 1 0 4k", "read -P 1 0 4k")
    assert served.end(signal.SIGINT) == (0, "nvme0: detached\nodd0: detached\n", "")
    assert "it runs" not in served.said


@qemu
@qemu_io
def test_a_child_that_dies_is_followed_at_the_same_socket(tmp_path: Path) -> None:
    served = Served(tmp_path / "s", "nvme", "--on", NVME, "--restart", "on-failure")
    inode = (tmp_path / "s").stat().st_ino
    io(served.uri, "write -P 7 0 64k", "flush")
    (child,) = served.drivers()
    os.kill(child, signal.SIGKILL)
    io(served.uri, "read -P 7 0 64k")  # it waits at the socket until the next one takes it
    assert (tmp_path / "s").stat().st_ino == inode
    status, out, err = served.end()
    assert status == 0
    assert out.count("serving at") == 1
    assert re.search("^rumpci: nvme0 at .*killed by SIGKILL", err, re.M)
    assert "rumpci: restarting" in err


def test_none_that_has_disks_is_an_error_and_all_are_detached(tmp_path: Path) -> None:
    odd = driver(tmp_path / "odd.py", 1, "pass")
    status, out, err = run(odd, "--on", "model:edu", "--nbd", f"unix:{tmp_path}/s")
    assert status == 1
    assert out.endswith("odd0: detached\n")
    assert "serving a disk of odd0: none of them offers disks" in err


@pytest.mark.parametrize("there", ["a file"])
def test_what_is_in_the_way_of_the_socket_stays(tmp_path: Path, there: str) -> None:
    (tmp_path / "s").write_text(there)
    status, _, err = run("edu", "--on", "model:edu", "--nbd", f"unix:{tmp_path}/s")
    assert (status, "something else than a socket" in err) == (1, True)
    assert (tmp_path / "s").read_text() == there
