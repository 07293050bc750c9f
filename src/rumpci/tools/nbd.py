"""`rumpci run --nbd unix:PATH`: serve the disks of an attached device to other programs."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

from rumpci.autoconf import Console, Driver
from rumpci.disk import Disk, disks_of
from rumpci.errors import NoSuchDevice
from rumpci.listen import Listener
from rumpci.nbd import Server
from rumpci.signals import handled

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Service:
    """Where disks are served: the path of a Unix socket; `once`: until the last client left."""

    path: str
    once: bool = False


def options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of a command that may serve; they become its argument `service`."""

    @click.option("--nbd", "nbd_url", metavar="unix:PATH",
                  help="Serve the disks of the first device that has any by NBD.")  # fmt: skip
    @click.option("--nbd-once", is_flag=True, help="Serve until the last client has left.")
    @functools.wraps(command)
    def with_service(*args: object, nbd_url: str | None, nbd_once: bool, **others: object) -> int:
        return command(*args, service=_service(nbd_url, nbd_once), **others)

    return with_service


def _service(url: str | None, once: bool) -> Service | None:
    if url is None:
        if once:
            raise click.UsageError("--nbd-once needs --nbd")
        return None
    scheme, _, path = url.partition(":")
    if scheme != "unix" or not path:
        raise click.BadParameter(f"{url!r} is no unix:PATH", param_hint="--nbd")
    return Service(path, once)


def serve(
    service: Service,
    devices: Sequence[Driver],
    console: Console,
    listener: Listener | None = None,
) -> None:
    """Serve the first device that offers disks until told to end.  Raises NoSuchDevice.

    `listener` is where, if somebody made it already.
    """
    disks = _disks(devices)
    named, where = {disk.disk_name: disk for disk in disks}, listener or service.path
    with Server(where, named, once=service.once) as server, stopped_by_signals(server):
        for number, disk in enumerate(disks):
            export = f", export {disk.disk_name}" if number else ""
            console.line(f"{disk.disk_name}: serving at unix:{service.path}{export}")
        server.serve()


def _disks(devices: Sequence[Driver]) -> Sequence[Disk]:
    for device in devices:
        if disks := disks_of(device):
            return disks
    raise no_disk([device.xname for device in devices])


def no_disk(names: Sequence[str]) -> NoSuchDevice:
    """What to say if none of these devices offers disks."""
    return NoSuchDevice(
        f"serving a disk of {', '.join(names)}",
        "none of them offers disks",
        "run the driver of a disk; a device that is one has what rumpci.disk.Disk lists",
    )


@contextmanager
def stopped_by_signals(server: Server) -> Iterator[None]:
    """SIGINT and SIGTERM end the server after what it is doing; the second one ends that too."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)
        server.stop()

    with handled(dict.fromkeys(SIGNALS, stop)):
        yield
