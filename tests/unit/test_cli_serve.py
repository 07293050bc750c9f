"""`rumpci serve` as a process: its socket, its signals, its log."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from rumpci.pci4.abi import Op
from tests import needs
from tests.cli_served import SECONDS, served, started
from tests.unit.pci4raw import Raw
from tests.unit.pci4served import EDU, dma_alloc, refused

CLOSED_POLICY = "[[allow]]\nusers = [0]\ndevices = []\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_is_served_until_a_signal(tmp_path: Path, number: int) -> None:
    with served(tmp_path / "made") as server:
        started(server)
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o660
        with Raw(server.path) as raw:
            claim = raw.claim(EDU, "driver0")
            assert raw.read(raw.window(claim), 0) == 0x0100_00ED
            assert dma_alloc(raw, claim).count == 1
            assert server.end(number) == 0
            assert raw.closed()
        server.wait_for(r"release client=1 pid=\d+ uid=\d+ 0000:00:01.0")
        assert not server.path.exists()
        stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z rumpci\.\w+ "
        assert all(re.match(stamp, line) for line in server.text.splitlines())


def test_a_socket_in_use_is_refused_and_a_stale_one_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
        old.bind(str(tmp_path / "pci0"))
    with served(tmp_path, "--mode", "0600") as server:
        started(server)
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        with served(tmp_path) as second:
            assert second.process.wait(SECONDS) == 1
            second.wait_for("EADDRINUSE")
        Raw(server.path).close()


def test_hup_reads_the_policy_and_a_bad_file_keeps_the_old(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[limits]\nclaims = 0\n")
    with served(tmp_path, "--policy", str(policy)) as server:
        started(server)
        policy.write_text("limit = 3")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the old policy stays: .*limit")
        with Raw(server.path) as raw:
            refused(errno.EMFILE, raw.claim, EDU)
        policy.write_text(CLOSED_POLICY)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reload: policy")
        with Raw(server.path) as raw:
            raw.claim(EDU)
        assert server.end() == 0


@pytest.mark.parametrize(
    ("options", "told"), [(["--policy", "/nowhere"], "/nowhere"), (["--mode", "999"], "--mode")]
)
def test_what_it_cannot_start_with(tmp_path: Path, options: list[str], told: str) -> None:
    with served(tmp_path, *options) as server:
        assert server.process.wait(SECONDS) in (1, 2)
        server.wait_for(re.escape(told))
        assert not server.path.exists()


@needs.root
@needs.open_tmp
def test_another_user_sees_what_the_policy_gives() -> None:
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)  # noqa: S103
        serve_another_user(Path(made))


def serve_another_user(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[allow]]\nusers = [65534]\ndevices = ["id:1234:11e8"]\n')
    with served(tmp_path, "--policy", str(policy), "--mode", "0666") as server:
        started(server)
        os.seteuid(65534)
        try:
            with Raw(server.path) as raw:
                assert raw.read(raw.window(raw.claim(EDU)), 0) == 0x0100_00ED
                refused(errno.EACCES, raw.ask, Op.DMA_CHECK)
        finally:
            os.seteuid(0)
        server.wait_for(r"uid=65534 0000:00:01.0 as")
