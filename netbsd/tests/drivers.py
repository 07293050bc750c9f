#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) 2026, the rumpci developers
"""drivers.py [--kills N] [--sha256 HEX] NODE...: on NetBSD, rumpci's own drivers through NODEs.

NODE is /dev/pciN or /dev/upciN.  Of each device that is there (QEMU's edu, pci-serial and
nvme) the unchanged driver is run, edu's by every kind of interrupt and with DMA; edu's events
are waited for in asyncio; what is to be refused is tried; N processes are killed under DMA.
Prints a line for each; ends with 1 if one failed.  Standard library and rumpci alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from rumpci import errors
from rumpci.autoconf import Autoconf, Console, Driver
from rumpci.cpu import own_cpu
from rumpci.disk import disks_of
from rumpci.host import Claim, Function, Host, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.tools.load import load_drivers

EDU, SERIAL, NVME = 0x11E81234, 0x00021B36, 0x00101B36
COMMAND = 6  # memory space, bus master
ID, LIVE, CAUSES, RAISE, ACK = 0x00, 0x04, 0x24, 0x60, 0x64
DMA_SRC, DMA_DST, DMA_COUNT, DMA_RUN, BUFFER = 0x80, 0x88, 0x90, 0x98, 0x40000
EVENTS, LOOKS, STEP = 100, 1000, 1024
failed = 0


def check(good: object, what: str) -> None:
    """Print what was tried, and whether it is so."""
    global failed  # noqa: PLW0603
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)


def free(host: Host, id_: int) -> list[Function]:
    """The functions with this id that nobody has."""
    return [f for f in host.functions() if f.id == id_ and f.claimed_by is None]


@contextlib.contextmanager
def claimed(url: str) -> Iterator[tuple[Host, Claim]]:
    """An edu, decoding."""
    with contextlib.closing(open_host(url)) as host:
        claim = host.claim(free(host, EDU)[0].address, "drivers.py")
        claim.conf_write(4, claim.conf_read(4) & 0xFFFF | COMMAND)
        yield host, claim


def attached(url: str, name: str, use: Callable[[Driver, Host], object], **given: str) -> str:
    """Attach a driver, use each of its devices, detach; what it printed."""
    said = io.StringIO()
    with (
        own_cpu() as cpu,
        contextlib.closing(open_host(url)) as host,
        Autoconf(host, Console(said.write), {name: given}) as autoconf,
    ):
        for device in autoconf.attach(load_drivers([name])):
            use(device, host)
        if cpu.failures:
            raise cpu.failures[0]
    return said.getvalue()


# ---- what is tried ---------------------------------------------------------------------------


def edu(url: str) -> None:
    """The driver: identification, factorial, DMA both ways."""
    for intr in ("intx", "shim", "msi", "poll"):
        start = time.monotonic()
        said = attached(url, "edu", lambda device, _: device.run(), intr=intr, dma="on")
        wanted = ("id 0x010000ed", "liveness ok", "10! = 3628800", "bytes both ways: ok")
        line = next((x for x in said.splitlines() if "interrupting at" in x), "polled")
        took = time.monotonic() - start
        check(all(w in said for w in wanted), f"{url}: edu, {intr}: {line} ({took:.2f} s)")


def registers(url: str) -> None:
    """One register both ways, and what each costs."""
    with claimed(url) as (_, claim):
        window = claim.window(0, 0, 4096)
        mapping = window.mapping
        check(window.read(ID, 4) == 0x010000ED, f"{url}: edu's identification, by ioctl")
        if mapping is None:
            return
        check(mapping.read(ID, 4) == 0x010000ED, f"{url}: the same, mapped")
        mapping.write(LIVE, 4, 0x12345678)
        check(window.read(LIVE, 4) == 0xEDCBA987, f"{url}: written mapped, read by ioctl")
        costs = [per_read(read) for read in (mapping.read, window.read)]
        print(f"     a read: mapped {costs[0]:.1f} us, by ioctl {costs[1]:.1f} us")


def per_read(read: Callable[[int, int], object]) -> float:
    """Microseconds."""
    start = time.perf_counter()
    for _ in range(LOOKS):
        read(ID, 4)
    return (time.perf_counter() - start) / LOOKS * 1e6


def waiting(url: str) -> None:
    """Events in asyncio, which waits in kqueue(2) there."""
    for kind in (IntrType.INTX, IntrType.MSI):
        with claimed(url) as (_, claim):
            (interrupt,) = claim.intr_alloc(kind, [0])
            interrupt.establish()
            window, took, seen = claim.window(0, 0, 4096), list[float](), list[int]()

            async def main() -> str:
                loop, came = asyncio.get_running_loop(), asyncio.Event()

                def take() -> None:
                    for event in interrupt.read():  # noqa: B023
                        seen.append(event.sequence)  # noqa: B023
                        window.write(ACK, 4, window.read(CAUSES, 4))  # noqa: B023
                        interrupt.unmask()  # noqa: B023
                        came.set()

                loop.add_reader(interrupt.fileno(), take)  # noqa: B023
                for _ in range(EVENTS):
                    came.clear()
                    start = time.perf_counter()
                    window.write(RAISE, 4, 1)  # noqa: B023
                    await asyncio.wait_for(came.wait(), 10)
                    took.append(time.perf_counter() - start)  # noqa: B023
                loop.remove_reader(interrupt.fileno())  # noqa: B023
                return type(loop._selector).__name__  # type: ignore[attr-defined]

            selector = asyncio.run(main())
            check(seen == list(range(1, EVENTS + 1)), f"{url}: {EVENTS} events by {kind.value}, "
                  f"{selector}, median {sorted(took)[EVENTS // 2] * 1e6:.0f} us")  # fmt: skip


def refusals(url: str) -> None:
    """What is to be refused is, by name."""
    with claimed(url) as (host, claim), contextlib.closing(open_host(url)) as other:
        window, memory = claim.window(0, 0, 4096), claim.dma_alloc(MemorySpec(8192))
        claim.dma_map(MapSpec(8192, 4, 8192)).load([Piece(memory, 0, 8192)], Direction.BOTH)
        at = claim.function.address
        for kind, do in (
            (errors.DeviceBusy, lambda: other.claim(at, "other")),
            (errors.NoSuchDevice, lambda: other.claim(at._replace(device=31, function=7), "x")),
            (errors.NoSuchBar, lambda: claim.window(1, 0, 4)),
            (errors.BadRange, lambda: claim.window(0, 0, 1 << 30)),
            (errors.OutOfWindow, lambda: window.read(4096, 4)),
            (errors.BadAccess, lambda: window.read(2, 4)),
            (errors.BadRange, lambda: claim.conf_read(3)),
            (errors.NoDmaMemory, lambda: claim.dma_alloc(MemorySpec(1 << 40))),
            (errors.DmaBusy, memory.free),
            (errors.ReadOnlyWindow, lambda: claim.window(0, 0, 64, writable=False).write(4, 4, 1)),
        ):
            check(refused(kind, do), f"{url}: {kind.__name__}")
        claim.release()
        check(refused(errors.DeadWindow, lambda: window.read(0, 4)), f"{url}: after the release")
        check(free(host, EDU), f"{url}: it is free again")


def refused(kind: type[Exception], do: Callable[[], object]) -> bool:
    """Whether it raises just that."""
    try:
        do()
    except errors.RumpciError as error:
        return type(error) is kind
    return False


def kills(url: str, count: int) -> None:
    """A process with DMA going on is killed; the next one gets the function."""
    for _ in range(count):
        if (child := os.fork()) == 0:
            under_dma(url)
        time.sleep(0.2)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with contextlib.closing(open_host(url)) as host:
        check(free(host, EDU), f"{url}: free after {count} kills under DMA")


def under_dma(url: str) -> None:
    """DMA without end."""
    with claimed(url) as (_, claim):
        memory = claim.dma_alloc(MemorySpec(8192))
        dmamap = claim.dma_map(MapSpec(8192, 4, 8192))
        address = dmamap.load([Piece(memory, 0, 8192)], Direction.BOTH)[0].ds_addr
        window = claim.window(0, 0, 4096)
        while True:
            for reg, value in ((DMA_SRC, BUFFER), (DMA_DST, address), (DMA_COUNT, 2048)):
                window.write(reg, 8, value)
            window.write(DMA_RUN, 8, 3)
            while window.read(DMA_RUN, 8) & 1:
                pass


def com(url: str) -> None:
    """The driver sends itself bytes at attach, by ports and an interrupt."""
    said = attached(url, "com", lambda device, _: device.check_loopback())  # type: ignore[attr-defined]
    line = next((x for x in said.splitlines() if "interrupting at" in x), "")
    check(line, f"{url}: com, looped back twice: {line}")


def nvme(url: str, wanted: str | None) -> None:
    """The driver reads all of a disk, by each kind of interrupt."""
    for intr in ("msix", "intx", "poll"):
        found = list[tuple[str, float]]()

        def read(device: Driver, _: Host) -> None:
            for disk in disks_of(device):
                digest, start = hashlib.sha256(), time.monotonic()
                for lba in range(0, disk.blocks, STEP):
                    digest.update(disk.read(lba, min(STEP, disk.blocks - lba)))
                speed = disk.blocks * disk.block_size / (time.monotonic() - start) / (1 << 20)
                found.append((digest.hexdigest(), speed))  # noqa: B023

        said = attached(url, "nvme", read, intr=intr)
        lines = [x.partition(" ")[2] for x in said.splitlines() if "interrupting at" in x]
        digest, speed = found[0] if found else ("", 0.0)
        check(digest and digest == (wanted or digest), f"{url}: nvme, {intr}, SHA-256 {digest}")
        print(f"     {speed:.1f} MiB/s; {'; '.join(lines) or 'polled'}")


def main() -> int:
    """Try it all at each node."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--sha256")
    parser.add_argument("nodes", nargs="+")
    given = parser.parse_args()
    for node in given.nodes:
        url = f"pci4:{node}"
        with contextlib.closing(open_host(url)) as host:
            ids = {f.id for f in host.functions() if f.claimed_by is None}
        if EDU in ids:
            for attempt in (edu, registers, waiting, refusals):
                attempt(url)
            kills(url, given.kills)
        if SERIAL in ids:
            com(url)
        if NVME in ids:
            nvme(url, given.sha256)
        if not ids & {EDU, SERIAL, NVME}:
            print(f"skip {url}: none of the devices")
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
