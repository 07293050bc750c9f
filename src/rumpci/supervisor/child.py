"""The process of drivers: `python -m rumpci.supervisor.child BUS CONTROL CRASH BEAT`.

The arguments are descriptors: the guard's socket, the supervisor's, a file for what the
interpreter says of a crash, the page of `beat.py`.  What it can do without was given up
before it was executed (isolate.py), and the rest before a driver is loaded (confine.py).
"""

from __future__ import annotations

import faulthandler
import io
import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from rumpci.autoconf import Autoconf, Console, Driver, Level
from rumpci.cpu import own_cpu
from rumpci.disk import disks_of
from rumpci.errors import DriverError
from rumpci.host import Host
from rumpci.listen import Listener
from rumpci.pci4.client import Pci4Host
from rumpci.pci4.client_socket import SocketConnection
from rumpci.supervisor import control, failure, registers, work
from rumpci.supervisor.beat import Beat, BeatingCpu
from rumpci.supervisor.confine import confine
from rumpci.supervisor.talk import Talk
from rumpci.tools import nbd
from rumpci.tools.load import load_drivers

_LIMIT = 60.0
"""Seconds that the guard's answer may take."""
_FILES = 256


class Child:
    """One run, told about over `talk`; `job` is what it is about."""

    def __init__(self, bus: socket.socket, talk: Talk, beat: Beat, job: dict[str, Any]) -> None:
        self._bus, self._talk, self._job = bus, talk, job
        self._task = work.Work(**job["work"])
        self._console = Console(_write, Level(job["level"]))
        self._cpu = BeatingCpu(beat, self._debug)
        self._failed = False

    def run(self) -> None:
        """Load, wait for the host, attach, run, detach.  Raises what those raise."""
        sys.dont_write_bytecode = self._job["reload"]  # two saves in a second look the same there
        confine(self._task.files, self._job["path"], self._job["writes"])
        drivers = load_drivers(self._task.names)
        names = {driver.name: registers.declared(driver) for driver in drivers}
        self._talk.tell("loaded", registers=names, files=_files(self._task))
        kept: dict[str, Any] = self._talk.order()["kept"]
        host = Pci4Host(SocketConnection("the supervisor", _LIMIT, self._bus), self._task.host)
        with work.lines_of_their_own(self._console), own_cpu(self._cpu) as cpu:
            try:
                self._with_devices(drivers, host, kept)
            finally:
                host.close()
                if self._job["keep"]:
                    self._keep(kept)
        work.raise_failures(cpu)

    def _with_devices(self, drivers: list[type[Driver]], host: Host, kept: dict[str, Any]) -> None:
        """Do with devices what the supervisor says."""
        properties, unit = self._task.properties, self._talk.unit
        with Autoconf(host, self._console, properties, self._failing, kept, unit) as autoconf:
            order = self._attach(autoconf, drivers, host)
            if order["kind"] != "run":
                return
            if order.get("serve"):
                self._serve(order, autoconf.devices)
            elif order["devices"]:
                work.run_all(autoconf)
            self._console.end()
            self._talk.tell("ran")
            self._talk.order(self._cpu)  # to detach
            for error in self._cpu.failures[:1]:
                self._failing("handling an interrupt of", autoconf.devices[0], error)

    def _attach(
        self, autoconf: Autoconf, drivers: list[type[Driver]], host: Host
    ) -> dict[str, Any]:
        """Say what the drivers match, attach what they get; what to do then."""
        functions = {str(f.address): f for f in host.functions() if not f.is_bridge}
        best = {at: autoconf.best(function, drivers) for at, function in functions.items()}
        values = {at: value for at, (value, _) in best.items() if value > 0}
        self._talk.tell("matched", values=values)
        while (order := self._talk.order(self._cpu))["kind"] == "attach":
            at = order["device"]
            autoconf.attach_to(best[at][1], functions[at], order["bus"])
            self._talk.tell("attached", disks=bool(disks_of(autoconf.devices[-1])))
        return order

    def _serve(self, order: dict[str, Any], devices: Sequence[Driver]) -> None:
        """Serve disks at the socket that came with the order."""
        service = nbd.Service(**order["serve"])
        listener = Listener.inherited(order["fd"], service.path)
        nbd.serve(service, devices, self._console, listener)

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
        self._talk.tell("kept", kept=kept)

    def _failing(self, doing: str, device: Driver, error: BaseException) -> None:
        """Tell the first failure, and wait until it is noted: what is held now is released then."""
        if not self._failed:
            self._failed = True
            what, places = f"{type(error).__name__}: {error}", failure.frames(error.__traceback__)
            self._talk.ask("failed", doing=f"{doing} {device.xname}", what=what, places=places)
        if error not in self._cpu.failures:  # that was looked at already
            self._debug(error)

    def _debug(self, error: BaseException) -> None:
        """With --pdb, a debugger where `error` was raised; what is held is held until it ends."""
        if not self._job["pdb"]:
            return
        import pdb

        self._console.end()
        self._talk.ask("debug")  # for the terminal
        try:
            traceback.print_exception(error)
            debugger = pdb.Pdb(nosigint=True)
            debugger.reset()
            debugger.interaction(None, error.__traceback__)
        finally:
            self._talk.tell("debugged")


def main(arguments: list[str]) -> int:
    """Run what the supervisor says; the exit status, which means nothing to it."""
    bus, told, crash, beat = map(int, arguments)
    for fd in (bus, told, crash, beat):
        os.set_inheritable(fd, False)
    faulthandler.enable(crash, all_threads=False)
    _write_lines(sys.stdout, sys.stderr)
    with socket.socket(fileno=told) as sock:
        job = control.receive(sock)
        if job is None:
            return 1
        sys.path[:] = job["path"]
        logging.basicConfig(format="%(name)s: %(message)s", level=job["log"])
        child = Child(socket.socket(fileno=bus), Talk(sock), Beat(beat), job)
        control.send(sock, kind="done", **_outcome(child, job))
    return 0


def _outcome(child: Child, job: dict[str, Any]) -> dict[str, object]:
    """How the run ended: the line of its error, if there was one."""
    try:
        child.run()
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


def _write_lines(*streams: object) -> None:
    """Write each line at once and whole: other children write to the same place."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
