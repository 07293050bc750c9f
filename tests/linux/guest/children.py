"""What `rumpci run` does with children in a guest, whichever host has their functions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 200
EDU_DRIVER = """
import os
from rumpci.autoconf import aprint_normal_dev
from rumpci.drivers.edu import Edu

class Apart(Edu):
    def run(self):
        aprint_normal_dev(self, f"{{os.getppid()}} is not {{os.getpid()}}")
        {body}
"""
NVME_DRIVER = """
import hashlib, random
from rumpci.autoconf import aprint_normal_dev
from rumpci.drivers.nvme import Nvme

class Disk(Nvme):
    def run(self):
        data, disk = random.Random(3).randbytes(300_000 // 512 * 512), self.disks[0]
        disk.write(1000, data)
        same = disk.read(1000, len(data) // 512) == data
        aprint_normal_dev(self, f"{len(data)} bytes: {'the same' if same else 'OTHERS'}")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rumpci", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)


def written(folder: Path, text: str) -> str:
    file = folder / "apart.py"
    file.write_text(text)
    return str(file)


def edu(folder: Path, body: str = "pass") -> str:
    """A driver of edu whose `run` is `body`, in a file."""
    return written(folder, EDU_DRIVER.format(body=body))


def edu_with_dma(url: str, folder: Path, intr: str) -> None:
    """It interrupts, and its DMA is in memory that the child was given."""
    done = run(edu(folder), "--on", url, "--set", f"apart.intr={intr}", "--set", "apart.dma=on")
    assert done.returncode == 0, done.stderr
    assert "bytes both ways: ok" in done.stdout
    assert f"is not {os.getpid()}" not in done.stdout
    parent, _, child = done.stdout.partition(" is not ")
    assert parent.split()[-1] != child.split()[0]


def nvme(url: str, folder: Path, intr: str) -> None:
    """Registers of 8 bytes, lists of pages, many commands."""
    done = run(written(folder, NVME_DRIVER), "--on", url, "--set", f"disk.intr={intr}")
    assert done.returncode == 0, done.stderr
    assert "bytes: the same" in done.stdout


def one_that_dies(url: str, folder: Path) -> None:
    """It is reported, what it had is quieted, and its like has it the next time."""
    kill = "os.kill(os.getpid(), 11)"
    done = run(edu(folder, kill), "--on", url)
    assert done.returncode == 1
    assert "---- report: apart0" in done.stderr
    assert "killed by SIGSEGV" in done.stderr
    assert "of 1 operations" not in done.stderr
    assert "quarantine of apart0" in done.stderr
    assert run(edu(folder), "--on", url).returncode == 0


def one_that_is_started_again(url: str, folder: Path) -> None:
    body = "assert self.factorial(5) == 120; os.path.exists(FLAG) or (open(FLAG, 'w'), 1 / 0)"
    flags = folder / "flags"
    flags.mkdir()
    driver = edu(folder, body.replace("FLAG", repr(str(flags / "flag"))))
    done = run(driver, "--on", url, "--restart", "on-failure", "--writable", str(flags))
    assert done.returncode == 0, done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout.count("is not") == 2
