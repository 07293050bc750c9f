"""From a device's interrupt to the first line of its handler, and what a shim costs."""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import threading
import time
from collections.abc import Iterator

from bench.measure import Row
from rumpci.autoconf import Autoconf
from rumpci.bus_space import bus_space_read_4, bus_space_write_4
from rumpci.cpu import curcpu, own_cpu
from rumpci.drivers.edu import SHIM, Edu
from rumpci.drivers.edureg import EDU_INTR_RAISE, EDU_INTR_STATUS
from rumpci.guard.shim import BarLimits, verify
from rumpci.hosts import open_host

COUNT, BURST = 2000, 10_000


def _median(samples: list[float]) -> float:
    return statistics.median(samples) * 1e6


def _eventfd() -> float:
    """Microseconds for a thread to be woken by eventfd and epoll, and to answer."""
    ping, pong = os.eventfd(0), os.eventfd(0)
    poll, samples = select.epoll(), []
    poll.register(pong, select.EPOLLIN)

    def answer() -> None:
        inner = select.epoll()
        inner.register(ping, select.EPOLLIN)
        for _ in range(COUNT):
            inner.poll()
            os.eventfd_read(ping)
            os.eventfd_write(pong, 1)

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(COUNT):
        start = time.perf_counter()
        os.eventfd_write(ping, 1)
        poll.poll()
        os.eventfd_read(pong)
        samples.append(time.perf_counter() - start)
    thread.join()
    return _median(samples)


def latency(how: str, url: str = "qemu:edu") -> tuple[float, int]:
    """Microseconds from the raise register to the handler; and how many of BURST events came."""
    arrived: list[float] = []

    class Timed(Edu):
        """edu that notes when its handler starts."""

        def intr(self, arg: object) -> bool:
            arrived.append(time.perf_counter())
            return super().intr(arg)

    with contextlib.ExitStack() as stack:
        cpu = stack.enter_context(own_cpu())
        host = stack.enter_context(contextlib.closing(open_host(url)))
        with Autoconf(host, properties={"timed": {"intr": how}}) as autoconf:
            (edu,) = autoconf.attach([Timed])
            assert isinstance(edu, Timed)
            assert edu.ih is not None
            arrived.clear()
            samples = []
            iot, ioh, offset = edu.iot, edu.ioh, EDU_INTR_RAISE.offset
            for number in range(COUNT):
                bus_space_read_4(iot, ioh, 0)  # what was posted before is done
                start = time.perf_counter()
                bus_space_write_4(iot, ioh, offset, 2)
                while len(arrived) <= number:
                    cpu.poll(1)
                samples.append(arrived[number] - start)
            before = edu.ih.count
            for _ in range(BURST):
                edu.raise_intr(4)
            while curcpu().poll(0.05):
                pass
            assert edu.causes & 4
            return _median(samples), edu.ih.count - before


def _shim() -> tuple[float, float]:
    """Microseconds for a shim that finds nothing, and for the one register read in it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_cpu())
        host = stack.enter_context(contextlib.closing(open_host("qemu:edu")))
        with Autoconf(host, properties={"edu": {"intr": "poll"}}) as autoconf:
            (edu,) = autoconf.attach([Edu])
            assert isinstance(edu, Edu)
            claim = next(iter(autoconf.pc.claims.values()))
            limits = {bar.index: BarLimits.of(bar) for bar in claim.function.bars}
            verified, window = verify(SHIM.encode(), limits), claim.window(0, 0, 0x100)
            shim, read = [], []

            def bar_read(_bar: int, offset: int, width: int) -> int:
                return window.read(offset, width)

            def bar_write(_bar: int, offset: int, width: int, value: int) -> None:
                window.write(offset, width, value)

            for _ in range(COUNT):
                start = time.perf_counter()
                verified.run(bar_read, bar_write)
                middle = time.perf_counter()
                EDU_INTR_STATUS.read(edu.iot, edu.ioh)
                shim.append(middle - start)
                read.append(time.perf_counter() - middle)
            return _median(shim), _median(read)


def interrupts() -> Iterator[Row]:
    """Latency by MSI and INTx beside a bare eventfd, a burst, and the shim."""
    raw = _eventfd()
    yield Row("eventfd and epoll, there and back, two threads", raw, "us")
    for how in ("msi", "intx", "shim"):
        taken, came = latency(how)
        limit = raw + 15 if how == "msi" else None
        yield Row(f"raise to handler, {how}", taken, "us", limit=limit)
        if how == "msi":
            yield Row(f"  of {BURST} MSIs raised at once, events (the APIC merges)", came, "")
    shim, read = _shim()
    yield Row("shim with one register read, not ours", shim, "us", limit=20)
    yield Row("  that register read alone", read, "us", "shim / this", shim / read)
