"""Which processes have which device nodes open.  Source: Linux, proc(5): /proc/PID/fd."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Opener:
    """A process, and the node (/dev/...) that it has open."""

    pid: int
    name: str
    node: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


def openers(root: Path, nodes: Collection[str]) -> list[Opener]:
    """Who has one of `nodes` open, this process apart.

    Who is not root sees only the processes of the same user.
    """
    own, processes = str(os.getpid()), root / "proc"
    found: list[Opener] = []
    if not nodes or not processes.is_dir():
        return found
    for process in sorted(processes.iterdir()):
        if process.name.isdecimal() and process.name != own:
            found += [
                Opener(int(process.name), _name(process), node)
                for node in sorted(set(_open_files(process)) & set(nodes))
            ]
    return found


def _open_files(process: Path) -> Iterator[str]:
    with suppress(OSError):  # it ended, or is another user's
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(descriptor)  # the text, whatever it names


def _name(process: Path) -> str:
    with suppress(OSError):
        return (process / "comm").read_text().strip()
    return "ended"
