"""edu and nvme in process, in a child, and as a user who can open a socket and nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli_served import served, started
from tests.qemu import told
from tests.waiting import LIMIT_S

from .needs import qemu

pytestmark = qemu
NOBODY = 65534
POLICY = f'[[allow]]\nusers = [{NOBODY}]\ndevices = ["id:1234:11e8", "class:0108"]\n'
FILE = str(Path(told.__file__))


def said(*command: str) -> str:
    """What a Python program prints on its standard output; it must succeed."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_process(host: str, _path: Path) -> str:
    return said("-m", "rumpci", "run", FILE, "--on", host, "--in-process")


def in_a_child(host: str, _path: Path) -> str:
    return said("-m", "rumpci", "run", FILE, "--on", host)


def as_another_user(host: str, path: Path) -> str:
    policy, directory = path / "policy.toml", path / "served"
    policy.write_text(POLICY)
    with served(directory, "--policy", str(policy), "--mode", "0666", host=host) as server:
        started(server)
        text = said(FILE, str(directory), str(NOBODY))
        server.wait_for(f"claim client=1 pid=.* uid={NOBODY} .* as 'nvme0'")
        assert server.end(signal.SIGTERM) == 0
    return text


@pytest.mark.parametrize("way", [
    in_a_child,
    pytest.param(as_another_user, marks=pytest.mark.skipif(
        os.geteuid() != 0, reason="only root can be another user and change the root directory: "
        "run the tests as root, for example with sudo ./dev test -k three_ways",
    )),
])  # fmt: skip
def test_the_same_is_printed_and_on_the_disk(
    tmp_path: Path, way: Callable[[str, Path], str]
) -> None:
    texts, images = list[str](), list[bytes]()
    for each in (in_process, way):
        image = tmp_path / each.__name__
        image.write_bytes(random.Random(1).randbytes(4 << 20))  # noqa: S311
        texts.append(each(f"qemu:edu+nvme,serial=1,file={image}", tmp_path))
        images.append(image.read_bytes())
    assert texts[0] == texts[1]
    assert "edu: [1, 1, 120, 1932053504, 0]" in texts[0]
    assert texts[0].count("nvme: ") > 13
    assert images[0] == images[1]
