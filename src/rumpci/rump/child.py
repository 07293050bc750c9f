"""The process of a rump kernel: `python -m rumpci.rump.child BUS CONTROL CRASH BEAT`.

The arguments are descriptors, as those of supervisor/child.py.  What is said over CONTROL:

    to the child     job (what to boot), halt
    from the child   booted (what no driver used), finding, failed (what kept it from booting),
                     done
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import socket
import sys
from typing import Any

from rumpci.host import Address, Host
from rumpci.hosts import open_host
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_socket import SocketConnection
from rumpci.rump.findings import Finding
from rumpci.rump.kernel import Kernel
from rumpci.rump.libraries import Libraries
from rumpci.supervisor import control
from rumpci.supervisor.failure import one_line

_LIMIT = 60.0
"""Seconds that the guard's answer may take."""
_LINE_BUFFERED = 1


def main(arguments: list[str]) -> int:
    """Boot what the job says, and wait until it is told to halt; the exit status."""
    bus, talk, crash, _ = (int(argument) for argument in arguments)
    faulthandler.enable(crash, all_threads=True)
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)
    with socket.socket(fileno=talk) as told:
        job = control.receive(told)
        if job is None:
            return 1
        try:
            host = _open(job, bus)
            kernel = _boot(job, host, told)
        except Exception as error:
            control.send(told, kind="failed", what=one_line(error))
            return 1
        control.send(told, kind="booted", unused=kernel.unused())
        control.receive(told)  # to halt, or the parent has gone
        said = [*kernel.close()]
        if not kernel.shared:
            host.close()
        control.send(told, kind="done", said=said)
    return 0


def _open(job: dict[str, Any], bus: int) -> Host:
    """The parent's guard, or the host itself where a kernel guards it."""
    if not job["guarded"]:
        return open_host(job["host"])
    return Pci4Host(SocketConnection("the guard", _LIMIT, socket.socket(fileno=bus)), job["host"])


def _boot(job: dict[str, Any], host: Host, told: socket.socket) -> Kernel:
    def tell(finding: Finding) -> None:
        control.send(told, kind="finding", text=str(finding))

    only = job["devices"]
    return Kernel(
        host,
        job["drivers"],
        libraries=Libraries.find(job["lib"]),
        components=job["components"],
        devices=None if only is None else [Address.parse(at) for at in only],
        server=job["server"],
        msi=job["msi"],
        shared=job["shared"],
        tell=tell,
    )


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # threads of the rump kernel do not end
