"""`rumpci serve` as a process."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 30.0


class Served:
    """A `rumpci serve`, and what it has said."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process, self.path, self.text = process, directory / "pci0", ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """A line of its log that matches."""
        end = time.monotonic() + SECONDS
        stream = self.process.stderr
        assert stream is not None
        while not (found := re.search(pattern, self.text)):
            left = max(0.0, end - time.monotonic())
            assert select.select([stream], [], [], left)[0], self.text
            data = os.read(stream.fileno(), 4096).decode()
            assert data, self.text
            self.text += data
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def served(directory: Path, *options: str, host: str = "model:edu") -> Iterator[Served]:
    command = [sys.executable, "-m", "rumpci", "serve", host, "--socket", str(directory), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Served(process, directory)
        finally:
            process.kill()


def started(server: Served) -> Served:
    server.wait_for(r"rumpci.serve serve .* at ")
    return server
