"""A guard served at a socket: in a thread of the test's process, or in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rumpci.guard import Guard
from rumpci.host import Host
from rumpci.hosts import open_host
from rumpci.pci4.server import Server

CHILD = """
import contextlib, signal, sys, threading
from rumpci.hosts import open_host
from rumpci.pci4.server import Server
with contextlib.closing(open_host(sys.argv[1])) as guard, Server(guard, sys.argv[2]) as server:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # not in QEMU, which would wait
    loop = threading.Thread(target=server.run)
    loop.start()
    print(flush=True)
    signal.sigwait({signal.SIGTERM})
    server.stop()
    loop.join()
"""
"""A program that serves the host argv[1] at the path argv[2], and prints a line when it does."""


@contextlib.contextmanager
def served(guard: Guard) -> Iterator[str]:
    """The URL at which a guard of this process is served by a thread; the guard stays open."""
    with tempfile.TemporaryDirectory() as directory, Server(guard, f"{directory}/pci0") as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield f"pci4:{directory}/pci0"
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()


@contextlib.contextmanager
def served_apart(url: str) -> Iterator[str]:
    """The URL at which the host `url` is served by another process."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pci0"
        command = [sys.executable, "-c", CHILD, url, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout
            assert child.stdout.readline(), "the server did not start"
            try:
                yield f"pci4:{path}"
                child.terminate()
                assert child.wait(30) == 0
            finally:
                child.kill()


@contextlib.contextmanager
def opened(url: str) -> Iterator[Host]:
    """The host `url`; `served+URL` and `node+URL` are those of a client of URL's guard.

    The guard is in a thread, at a socket, or behind what its client takes for a device node.
    """
    from tests.pci4_node import noded

    with contextlib.ExitStack() as stack:
        for way, shown in {"served+": served, "node+": noded}.items():
            if url.startswith(way):
                inner = open_host(url.removeprefix(way))
                guard = stack.enter_context(contextlib.closing(inner))
                assert isinstance(guard, Guard)
                url = stack.enter_context(shown(guard))
        yield stack.enter_context(contextlib.closing(open_host(url)))
