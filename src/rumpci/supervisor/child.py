"""The process of drivers: `python -m rumpci.supervisor.child BUS CONTROL CRASH BEAT`.

The arguments are descriptors: the guard's socket, the supervisor's, a file for what the
interpreter says of a crash, the page of `beat.py`.  What it can do without was given up
before it was executed (isolate.py), and the rest before a driver is loaded (confine.py).
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import socket
import sys
import traceback
from typing import Any

from rumpci.autoconf import Console, Driver, Level
from rumpci.cpu import own_cpu
from rumpci.errors import DriverError
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_link import Connection
from rumpci.supervisor import control, failure, registers, work
from rumpci.supervisor.beat import Beat, BeatingCpu
from rumpci.supervisor.confine import confine
from rumpci.tools.load import load_drivers

_LIMIT = 60.0
"""Seconds that the guard's answer may take."""
_FILES = 256


class Child:
    """One run, told about over the socket `told`."""

    def __init__(self, bus: socket.socket, told: socket.socket, beat: Beat) -> None:
        self._bus, self._told = bus, told
        self._cpu = BeatingCpu(beat)
        self._failed = False

    def run(self, job: dict[str, Any]) -> None:
        """Load, wait for the host, attach, run, show, detach.  Raises what those raise."""
        task = work.Work(**job["work"])
        sys.dont_write_bytecode = job["reload"]  # two saves in one second look the same there
        confine(task.files, job["path"], job["writes"])
        drivers = load_drivers(task.names)
        names = {driver.name: registers.declared(driver) for driver in drivers}
        control.send(self._told, kind="loaded", registers=names, files=_files(task))
        go = control.receive(self._told)
        if go is None:
            raise SystemExit(1)  # there is no host, and the supervisor says why
        kept: dict[str, Any] = go["kept"]
        console = Console(_write, Level(job["level"]))
        connection = Connection("the supervisor", _LIMIT, self._bus)
        host = Pci4Host(connection, task.host)
        with work.lines_of_their_own(console), own_cpu(self._cpu) as cpu:
            try:
                self._attach(task, drivers, host, console, kept)
            finally:
                host.close()
                if job["keep"]:
                    self._keep(kept)
        work.raise_failures(cpu)

    def _attach(
        self,
        task: work.Work,
        drivers: list[type[Driver]],
        host: Pci4Host,
        console: Console,
        kept: dict[str, Any],
    ) -> None:
        with work.attached(task, drivers, host, console, self._failing, kept) as autoconf:
            control.send(self._told, kind="attached")
            work.run_all(autoconf)
            self._show(task, console)
            for error in self._cpu.failures[:1]:
                self._failing("handling an interrupt of", autoconf.devices[0], error)

    def _keep(self, kept: dict[str, Any]) -> None:
        """Hand over what the devices' detach returned.  Raises DriverError (EIO) if it cannot be.

        As JSON: a pickle would run code of the child's choice in whoever reads it, and would
        bring objects of the old file's classes, which are not those of the new one.
        """
        try:
            size, why = len(json.dumps(kept)), ""
        except (TypeError, ValueError, RecursionError) as error:
            size, why = 0, str(error)
        if size > control.KEPT_MOST:
            why = f"{size} bytes as JSON, and {control.KEPT_MOST} are the most"
        if why:
            raise DriverError(
                f"keeping the state of {', '.join(kept)}", why,
                "let detach return numbers, strings, lists and dicts, and no more than that",
            )  # fmt: skip
        control.send(self._told, kind="kept", kept=kept)

    def _show(self, task: work.Work, console: Console) -> None:
        """Have the supervisor show what was asked for, while it is still held."""
        if task.show:
            console.end()
            control.send(self._told, kind="show")
            control.receive(self._told)

    def _failing(self, doing: str, device: Driver, error: BaseException) -> None:
        """Tell the first failure, and wait until it is noted: what is held now is released then."""
        if self._failed:
            return
        self._failed = True
        control.send(
            self._told,
            kind="failed",
            doing=f"{doing} {device.xname}",
            what=f"{type(error).__name__}: {error}",
            places=failure.frames(error.__traceback__),
        )
        control.receive(self._told)


def main(arguments: list[str]) -> int:
    """Run what the supervisor says; the exit status, which means nothing to it."""
    bus, told, crash, beat = map(int, arguments)
    for fd in (bus, told, crash, beat):
        os.set_inheritable(fd, False)
    faulthandler.enable(crash, all_threads=False)
    with socket.socket(fileno=told) as sock:
        job = control.receive(sock)
        if job is None:
            return 1
        sys.path[:] = job["path"]
        logging.basicConfig(format="%(name)s: %(message)s", level=job["log"])
        child = Child(socket.socket(fileno=bus), sock, Beat(beat))
        control.send(sock, kind="done", **_outcome(child, job))
    return 0


def _outcome(child: Child, job: dict[str, Any]) -> dict[str, object]:
    """How the run ended: the line of its error, if there was one."""
    try:
        child.run(job)
    except KeyboardInterrupt:
        return {"interrupted": True}
    except Exception as error:
        if job["log"] == logging.DEBUG:
            traceback.print_exception(error)
        return {"line": failure.one_line(error)}
    return {}


def _files(task: work.Work) -> list[str]:
    """The modules that were loaded from the directories of the drivers' files."""
    places = {str(file.resolve().parent) for file in task.files}
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    found = {os.path.realpath(file) for file in files if file}
    return sorted(file for file in found if os.path.dirname(file) in places)[:_FILES]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
