"""`rumpci serve`: the guard as a daemon, for drivers in other processes."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from rumpci.errors import BadPolicy, NotSupported, ServerError
from rumpci.guard import Guard
from rumpci.pci4.life import Life
from rumpci.pci4.policy import Policy, load
from rumpci.pci4.server import Server
from rumpci.signals import handled, waking
from rumpci.tools.common import opened

log = logging.getLogger("rumpci.serve")
SOCKET = "pci0"
"""The socket's name in its directory: bus 0, as NetBSD's /dev/pci0."""
BANKS = 8
"""Banks of DMA memory when the host's URL does not say how many."""
FLOOD = 200
"""Lines of the log in a second; what is more is counted."""
_WITH_BANKS = ("qemu", "model")


class Calm(logging.Filter):
    """Lets so many lines a second through: a hostile client must not fill a disk."""

    def __init__(self, most: int = FLOOD) -> None:
        super().__init__()
        self._most, self._second, self._lines = most, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        second = int(time.monotonic())
        if second != self._second:
            left_out = self._lines - self._most
            self._second, self._lines = second, 0
            if left_out > 0:
                record.msg, record.args = f"{record.getMessage()} ({left_out} lines left out)", ()
        self._lines += 1
        return self._lines <= self._most


@click.command("serve")
@click.argument("host")
@click.option("--socket", "directory", required=True, metavar="DIR",
              type=click.Path(file_okay=False, path_type=Path),
              help="Where the socket pci0 is made.")  # fmt: skip
@click.option("--policy", "policy_file", metavar="FILE", type=click.Path(path_type=Path),
              help="Who may claim what (docs/serve.md); without: this user, all.")  # fmt: skip
@click.option("--mode", default="0660", metavar="MODE", help="The socket's mode, in octal.")
def command(host: str, directory: Path, policy_file: Path | None, mode: str) -> None:
    """Serve the devices of HOST to drivers in other processes, until SIGTERM or SIGINT.

    SIGHUP reads the policy again.
    """
    bits = _mode(mode)
    with _logging():
        policy = load(policy_file) if policy_file else Policy()
        _raise_descriptors()
        with opened(_with_banks(host)) as guard:
            if not isinstance(guard, Guard):
                raise NotSupported(
                    f"serving {host}", "its kernel protects it", "open it where it is needed"
                )
            _serve(guard, directory, policy, policy_file, bits)


def _serve(
    guard: Guard, directory: Path, policy: Policy, policy_file: Path | None, mode: int
) -> None:
    path = _directory(directory) / SOCKET
    life = Life(guard)
    with (
        Server(guard, path, policy, mode=mode) as server,
        _signals(server, policy_file),
        life.watched(server, server.stop),
    ):
        log.info("serve %s at %s", guard.url, path)
        server.run()
        log.info("stop %s", path)
    life.check()


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(
            f"serving in {path}", error.strerror or str(error), "choose another directory"
        ) from error
    return path


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"{text!r} is no mode such as 0660", param_hint="--mode")
    return mode


def _with_banks(url: str) -> str:
    """The URL, with memory that can go to clients."""
    scheme, _, rest = url.partition(":")
    if scheme not in _WITH_BANKS or "banks=" in rest.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in rest else '?'}banks={BANKS}"


def _raise_descriptors() -> None:
    """Each interrupt takes three descriptors: use as many as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _signals(server: Server, policy_file: Path | None) -> Iterator[None]:
    """SIGTERM and SIGINT end the server, SIGHUP has the policy read again."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    def reload(_number: int, _frame: FrameType | None) -> None:
        server.call(lambda: _reload(server, policy_file))

    with (
        waking(server),
        handled({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}),
    ):
        yield


def _reload(server: Server, policy_file: Path | None) -> None:
    """Use what the policy's file says now, for what is asked from here on."""
    if policy_file is None:
        log.info("reload: there is no policy file")
        return
    try:
        server.policy = load(policy_file)
    except BadPolicy as error:
        log.warning("reload: the old policy stays: %s", error)
    else:
        log.info("reload: policy %s", policy_file)


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """One line for each event on standard error: time, which part, what happened."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(Calm())
    logger = logging.getLogger("rumpci")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
