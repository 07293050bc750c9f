"""From a device's MSI to the first line of its handler, beside a bare eventfd loop in Python."""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import time
from collections.abc import Callable, Iterator

from bench.guest.devices import EDU, EDU_BARE, attached, claimed
from bench.measure import Row, Timed, median_ratio, rounds
from rumpci import pcireg as pr
from rumpci.bus_space import bus_space_read_4, bus_space_write_4
from rumpci.cpu import curcpu
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_INTR_ACK, EDU_INTR_RAISE
from rumpci.hosts.vfio.abi import Irq

COUNT, ROUNDS = 200, 21
GOAL = 1.5
_RAISE, _ACK = EDU_INTR_RAISE.offset, EDU_INTR_ACK.offset


class Timed_(Edu):  # noqa: N801  # a driver's name is its class's
    """edu that notes when its handler starts."""

    arrived = 0.0

    def intr(self, arg: object) -> bool:
        """See Edu."""
        self.arrived = time.perf_counter()
        return super().intr(arg)


def _rumpci(edu: Timed_) -> Timed:
    """Seconds from the raise to the handler, which the driver waits for in Cpu.poll."""
    iot, ioh, poll = edu.iot, edu.ioh, curcpu().poll

    def timed() -> float:
        samples = []
        for _ in range(COUNT):
            edu.arrived = 0.0
            bus_space_read_4(iot, ioh, 0)
            start = time.perf_counter()
            bus_space_write_4(iot, ioh, _RAISE, 2)
            while not edu.arrived:
                poll(1)
            samples.append(edu.arrived - start)
        return statistics.median(samples)

    return timed


def _bare(stack: contextlib.ExitStack) -> dict[str, Timed]:
    """The same from another edu, with nothing around its eventfd, waited for in three ways."""
    claim, tag, handle = claimed(stack, EDU_BARE)
    command = claim.conf_read(pr.PCI_COMMAND_STATUS_REG)
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, command | pr.PCI_COMMAND_MASTER_ENABLE)
    fd = os.eventfd(0)
    stack.callback(os.close, fd)
    claim.device.set_trigger(Irq.MSI, 0, [fd])
    epoll = stack.enter_context(select.epoll())
    epoll.register(fd, select.EPOLLIN)
    waits: dict[str, Callable[[], object]] = {
        "read": lambda: None,
        "epoll": epoll.poll,
        "select": lambda: select.select([fd], [], []),
    }

    def loop(wait: Callable[[], object]) -> Timed:
        def timed() -> float:
            samples = []
            for _ in range(COUNT):
                bus_space_read_4(tag, handle, 0)
                start = time.perf_counter()
                bus_space_write_4(tag, handle, _RAISE, 2)
                wait()
                os.eventfd_read(fd)
                end = time.perf_counter()
                bus_space_write_4(tag, handle, _ACK, 2)
                samples.append(end - start)
            return statistics.median(samples)

        return timed

    return {name: loop(wait) for name, wait in waits.items()}


def interrupts() -> Iterator[Row]:
    """MSI to handler."""
    with contextlib.ExitStack() as stack:
        edu = attached(stack, EDU, Timed_, intr="msi")
        samples = rounds({"rumpci": _rumpci(edu), **_bare(stack)}, ROUNDS)
    ours = samples.pop("rumpci")
    yield Row("MSI to handler on VFIO", statistics.median(ours) * 1e6, "us")
    for name, taken in samples.items():
        yield Row(
            f"  bare loop, {name}", statistics.median(taken) * 1e6, "us", "rumpci / this",
            median_ratio(ours, taken), GOAL if name == "epoll" else None,
        )  # fmt: skip
