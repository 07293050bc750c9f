"""The bare machine: a trapped register, a posted write, launch to attached, the command line."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from bench import clib
from bench.measure import Row, Timed, median_ratio, per_call, rounds
from rumpci.autoconf import Autoconf
from rumpci.bus_space import (
    bus_space_barrier,
    bus_space_read_4,
    bus_space_read_region_4,
    bus_space_write_4,
)
from rumpci.drivers.edu import Edu
from rumpci.guard import Guard
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.qemu.launch import Options
from rumpci.machines.qemu.machine import QemuMachine

COUNT, ROUNDS = 2000, 15


def _raw(sock: socket.socket, command: bytes) -> Timed:
    """The leanest loop that Python can make of it."""

    def trip(count: int) -> None:
        send, recv, yield_, flag = sock.send, sock.recv, os.sched_yield, socket.MSG_DONTWAIT
        for _ in range(count):
            send(command)
            while True:
                try:
                    recv(64, flag)
                    break
                except BlockingIOError:
                    yield_()

    return per_call(trip, COUNT)


def trapped() -> Iterator[Row]:
    """Edu's identification register, in process."""
    loops = clib.load()
    machine = QemuMachine([DeviceSpec("edu")], Options())
    with contextlib.closing(Guard(machine)) as host, Autoconf(host) as autoconf:
        (edu,) = autoconf.attach([Edu])
        assert isinstance(edu, Edu)
        tag, handle, sock = edu.iot, edu.ioh, machine.process.qtest
        base = machine.bar(autoconf.pc.claims.copy().popitem()[0], 0).base
        command, data = b"readl %#x\n" % base, bytearray(256)

        def read(count: int) -> None:
            for _ in range(count):
                bus_space_read_4(tag, handle, 0)

        def write(count: int) -> None:
            for _ in range(count):
                bus_space_write_4(tag, handle, 4, 5)
            bus_space_barrier(tag, handle, 0, 8)

        def region(count: int) -> None:
            for _ in range(count // 64):
                bus_space_read_region_4(tag, handle, 0, data, 64)

        timed: dict[str, Timed] = {
            "read": per_call(read, COUNT),
            "raw": _raw(sock, command),
            "raw C": lambda: float(loops.round_trip(sock.fileno(), command, COUNT)),
            "write": per_call(write, COUNT),
            "region": per_call(region, COUNT),
        }
        samples = rounds(timed, ROUNDS)
    microseconds = {name: statistics.median(taken) * 1e6 for name, taken in samples.items()}
    raw = min(("raw", "raw C"), key=lambda name: microseconds[name])
    versus = {"raw": "raw socket, Python", "raw C": "raw socket, C"}
    for name, text in versus.items():
        yield Row(
            "bus_space_read_4, bare machine",
            microseconds["read"],
            "us",
            f"{text} ({microseconds[name]:.1f} us)",
            median_ratio(samples["read"], samples[name]),
            1.3 if name == raw else None,
        )
    yield Row("bus_space_write_4, posted, with barrier at the end", microseconds["write"], "us")
    yield Row("bus_space_read_region_4, one of 64", microseconds["region"], "us")


def launch() -> Iterator[Row]:
    """From nothing to a driver that is attached, and a whole command."""

    def attach() -> float:
        start = time.perf_counter()
        machine = QemuMachine([DeviceSpec("edu")], Options())
        with contextlib.closing(Guard(machine)) as host, Autoconf(host) as autoconf:
            autoconf.attach([Edu])
            return time.perf_counter() - start

    def command() -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "rumpci", "list", "qemu:edu"], check=True, capture_output=True
        )
        return time.perf_counter() - start

    samples = rounds({"attach": attach, "list": command}, 7)
    attached, listed = (statistics.median(samples[name]) for name in ("attach", "list"))
    yield Row("launch of QEMU to driver attached", attached * 1e3, "ms", limit=250)
    yield Row("rumpci list qemu:edu, whole process", listed * 1e3, "ms", limit=1000)
