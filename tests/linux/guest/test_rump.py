"""NetBSD's wm(4), unmodified, on a real /dev/vfio; the peer is Linux on the same wire."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.linux.guest.netdevice import name_of, set_address, set_up
from tests.linux.guest.rump_traffic import PEER

pytestmark = [
    pytest.mark.machine("rump"),
    pytest.mark.skipif(
        not os.environ.get("RUMPCI_RUMP_LIB"),
        reason="no rump libraries: RUMPCI_RUMP_LIB=DIR says where some are (docs/rump.md)",
    ),
]
ADDRESS, PEER_ADDRESS = "0000:00:10.0", "0000:00:11.0"
ECHOES, BYTES = 200, 2 << 20


def _echo(sock: socket.socket) -> None:
    while True:
        data, who = sock.recvfrom(2000)
        sock.sendto(data, who)


def _digest(listening: socket.socket) -> None:
    while True:
        client, _ = listening.accept()
        with client, client.makefile("rb") as stream:
            size = int.from_bytes(stream.read(8), "big")
            client.sendall(hashlib.sha256(stream.read(size)).hexdigest().encode())


@pytest.fixture(scope="module")
def peer() -> Iterator[None]:
    name = name_of(PEER_ADDRESS)
    set_address(name, PEER)
    set_up(name, True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((PEER, 7))
    tcp = socket.create_server((PEER, 8))
    for serve, sock in ((_echo, udp), (_digest, tcp)):
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
    yield
    set_up(name, False)


def test_wm_on_vfio_carries_udp_and_tcp(peer: None) -> None:
    command = [sys.executable, "-m", "tests.linux.guest.rump_traffic", f"vfio:{ADDRESS}"]
    done = subprocess.run(
        [*command, str(ECHOES), str(BYTES)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "wm0: Ethernet address" in done.stdout
    told = json.loads(done.stdout.rpartition("result: ")[2])
    assert told["echoed"] == ECHOES
    assert told["ours"] == told["theirs"]
    assert told["found"] == told["said"] == []
    assert told["maps"] > 100
