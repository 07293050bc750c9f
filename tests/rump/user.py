"""A program that uses a rump kernel over its socket: what `rumpci rump -- COMMAND` runs.

    python -m tests.rump.user INTERFACE ECHOES [SIGNAL]

It brings the interface up and echoes; with SIGNAL, the rump kernel gets it in the middle.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rumpci.rump import client
from tests.rump import traffic
from tests.rump.wires import ECHO, PEER


def kernel() -> int:
    """The process of the rump kernel: a child of our parent's, as we are."""
    parent = os.getppid()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        if b"rumpci.rump.child" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError("no rump kernel runs")


def main(interface: str, echoes: str, signal: str = "") -> None:
    """Do that; what came is printed."""
    with client.connect() as calls:
        fd = traffic.up(calls, interface)
        good = traffic.echo(calls, fd, int(echoes))
        print(f"{good} of {echoes}", flush=True)
        if signal:
            calls.sendto(fd, bytes(1400), PEER, ECHO)  # under way when it comes
            os.kill(kernel(), int(signal))


if __name__ == "__main__":
    main(*sys.argv[1:])
