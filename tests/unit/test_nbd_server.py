"""The NBD server's socket and its loop in the driver's thread; which devices have disks."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path

import pytest

import rumpci.nbd.server
from rumpci.cpu import IPL_BIO, Cpu, Handler
from rumpci.disk import Disk, disks_of
from rumpci.errors import ServerError
from rumpci.host import Address, IntrType
from rumpci.hosts import open_host
from rumpci.listen import Listener
from rumpci.nbd import Server

from .nbdclient import connected
from .ramdisk import RamDisk, serving

# ---- the socket ------------------------------------------------------------------------


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with serving(place, RamDisk()):
        assert place.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ServerError, match="somebody serves there already"):
            Server(place, {"ld0": RamDisk()})
        connected(place).sock.close()


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ServerError, match="something else") as caught:
        Server(tmp_path / "file", {"ld0": RamDisk()})
    assert caught.value.errno == errno.EEXIST
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(ServerError, match="too long"):
        Server(tmp_path / ("x" * 200), {"ld0": RamDisk()})
    with pytest.raises(ServerError) as missing:
        Server(tmp_path / "no" / "s", {"ld0": RamDisk()})
    assert missing.value.errno == errno.ENOENT


def test_a_socket_that_is_somebody_elses_by_now_stays(tmp_path: Path) -> None:
    place = tmp_path / "s"
    server = Server(place, {"ld0": RamDisk()})
    place.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(place))
        server.close()
        server.close()
        assert place.exists()


def test_once_ends_with_the_last_client(tmp_path: Path) -> None:
    place = tmp_path / "s"
    server = Server(place, {"ld0": RamDisk()}, once=True)
    child = os.fork()
    if not child:
        try:
            with connected(place), connected(place) as second:
                second.read(0, 512)
        finally:
            os._exit(0)
    server.serve()
    server.close()
    os.waitpid(child, 0)


class Poor:
    """A listener to whom the system refuses a descriptor at first."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.refused = listener, False

    def accept(self) -> object:
        if not self.refused:
            self.refused = True
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self.listener, name)


def test_a_client_waits_until_there_are_descriptors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rumpci.nbd.server, "Listener", lambda *how: Poor(Listener(*how)))
    with serving(tmp_path / "s", RamDisk()), connected(tmp_path / "s") as client:
        assert client.read(0, 512) == (0, bytes(512))
    assert caplog.text.count("no more clients for now: Too many open files") == 1


# ---- the driver's thread ---------------------------------------------------------------


def test_timers_run_while_nobody_asks(tmp_path: Path, cpu: Cpu) -> None:
    with Server(tmp_path / "s", {"ld0": RamDisk()}) as server:
        cpu.schedule(1000, server.stop)
        server.serve()


def test_handlers_run_while_nobody_asks(tmp_path: Path, cpu: Cpu) -> None:
    host = open_host("model:edu")
    claim = host.claim(Address(0, 0, 1, 0), "edu0")
    window = claim.window(0, 0, 4096)
    claim.conf_write(4, claim.conf_read(4) | 2)
    with contextlib.closing(host), Server(tmp_path / "s", {"ld0": RamDisk()}) as server:

        def handler(_arg: object) -> bool:
            window.write(0x64, 4, 1)  # acknowledged
            server.stop()
            return True

        (line,) = claim.intr_alloc(IntrType.INTX, [0])
        line.establish()
        cpu.establish(Handler(line, IPL_BIO, handler, None, "edu0"))
        cpu.schedule(1000, lambda: window.write(0x60, 4, 1))
        server.serve()
        cpu.disestablish_owner(None)


def test_a_wait_ends_when_the_other_descriptor_is_readable(cpu: Cpu) -> None:
    bell = os.eventfd(0)
    try:
        assert not cpu.poll(0.001, bell)
        os.eventfd_write(bell, 1)
        before = time.monotonic()
        assert not cpu.poll(60, bell)
        assert time.monotonic() - before < 30
    finally:
        os.close(bell)


# ---- which devices have disks ----------------------------------------------------------


class Controller:
    def __init__(self, *disks: Disk) -> None:
        self.disks = list(disks)


def test_disks_of() -> None:
    one, two = RamDisk(), RamDisk()
    assert list(disks_of(one)) == [one]
    assert list(disks_of(Controller(one, two))) == [one, two]
    assert list(disks_of(object())) == []
