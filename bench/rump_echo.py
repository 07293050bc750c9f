"""wm(4) on a bare machine's e1000, and a peer that echoes UDP: `... WIRE ECHOES [shared]`."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time

from rumpci.hosts import open_host
from rumpci.rump import netbsd
from rumpci.rump.kernel import Kernel

OURS, PEER = "10.0.0.1", "10.0.0.2"
_MAC = b"\x02\0\0\0\0\x02"
_ARP, _IP, _UDP = b"\x08\x06", b"\x08\x00", 17


def _answer(frame: bytes) -> bytes | None:
    """What the peer says to a frame."""
    us = socket.inet_aton(PEER)
    if frame[12:14] == _ARP and frame[38:42] == us:
        who = frame[22:32]
        return (frame[6:12] + _MAC + _ARP + frame[14:20] + b"\0\2" + _MAC + us + who).ljust(
            60, b"\0"
        )
    if frame[12:14] == _IP and frame[23] == _UDP and frame[30:34] == us:
        body = 14 + (frame[14] & 15) * 4
        source, to, length = struct.unpack_from("!HHH", frame, body)
        header = frame[14:26] + frame[30:34] + frame[26:30] + frame[34:body]
        ports = struct.pack("!HHHH", to, source, length, 0)
        return frame[6:12] + _MAC + _IP + header + ports + frame[body + 8 :]
    return None


def peer(path: str) -> None:
    """Answer for ever."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    while True:
        if answer := _answer(sock.recv(1 << 16)):
            sock.sendto(answer, f"{path}.qemu")


def main(path: str, count: int, shared: bool) -> dict[str, float]:
    """How many came back, in how many seconds."""
    host = open_host(f"qemu:e1000,mitigation=off,wire={path}?memory=256M")
    kernel = Kernel(host, ["wm"], components=["rumpnet_netinet", "rumpnet_config"], shared=shared)
    call, came = kernel.sys, 0
    call.ifconfig("wm0", OURS)
    fd = call.socket(netbsd.SOCK_DGRAM)
    call.setsockopt(fd, netbsd.SO_RCVTIMEO, netbsd.timeval(2))
    for number in range(-20, count):
        if not number:
            start, came = time.perf_counter(), 0
        try:
            call.sendto(fd, b"%d" % number, PEER, 7)
            came += call.recvfrom(fd, 100)[0] == b"%d" % number
        except OSError:
            time.sleep(0.1 if number < 0 else 0)
    seconds = time.perf_counter() - start
    kernel.close()
    return {"came": came, "seconds": seconds}


if __name__ == "__main__":
    wire, echoes, *options = sys.argv[1:]
    child = os.fork()  # before there are threads; it is another processor's work
    if not child:
        peer(wire)
    try:
        told = main(wire, int(echoes), "shared" in options)
        print(f"\nresult: {json.dumps(told)}", flush=True)
    finally:
        os.kill(child, 9)
        os._exit(0)
