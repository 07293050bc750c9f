"""`rumpci run --nbd` as a process: what serves a disk to programs that we did not write."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import LIMIT_S


@contextlib.contextmanager
def served(host: str, socket: Path, *more: str) -> Iterator[str]:
    """The URI of HOST's disk while it is served; the process must end as it should."""
    rumpci = [sys.executable, "-m", "rumpci", "run", "nvme", "--on", host]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*rumpci, "--nbd", f"unix:{socket}", *more], stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            assert process.stdout
            while "serving at" not in (line := process.stdout.readline()):
                assert line, process.stderr and process.stderr.read()
            yield f"nbd+unix:///?socket={socket}"
        finally:
            process.terminate()
            out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (0, "")
    assert out == "nvme0: detached\n"


def ran(*command: str | os.PathLike[str]) -> bytes:
    """What a program prints on its standard output; it must succeed."""
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout
