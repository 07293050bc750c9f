"""An asyncio program that awaits a device's interrupts.

An interrupt is a descriptor: asyncio, selectors and epoll take it as it is.
Run it with `python examples/aio.py [HOST]`, where HOST has an edu device.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from rumpci.autoconf import Autoconf
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_INTR_ACK, EDU_INTR_STATUS
from rumpci.host import Event, Interrupt
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs
from rumpci.pci_intr import pci_intr_map


async def events(interrupt: Interrupt) -> AsyncIterator[Event]:
    """The events of an interrupt as they come."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(interrupt.fileno(), ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            for event in interrupt.read():
                yield event
    finally:
        loop.remove_reader(interrupt.fileno())


class AsyncEdu(Edu):
    """edu whose interrupts are left to asyncio."""

    def establish(self, pa: PciAttachArgs) -> None:
        """Establish INTx without a handler."""
        self.interrupt = pci_intr_map(pa).interrupt
        self.interrupt.establish()


async def count(edu: AsyncEdu, wanted: int) -> list[int]:
    """Have the device interrupt `wanted` times, and await each."""
    causes: list[int] = []
    edu.raise_intr(1)
    async for event in events(edu.interrupt):
        causes.append(int(EDU_INTR_STATUS.read(edu.iot, edu.ioh)))
        print(f"event {event.sequence}: cause {causes[-1]:#x}")
        EDU_INTR_ACK.write(edu.iot, edu.ioh, causes[-1])
        edu.interrupt.unmask()
        if len(causes) == wanted:
            break
        edu.raise_intr(len(causes) + 1)
    return causes


def main(url: str = "qemu:edu") -> int:
    """Await three interrupts; 0 if they came in order."""
    with contextlib.closing(open_host(url)) as host, Autoconf(host) as autoconf:
        (edu,) = autoconf.attach([AsyncEdu])
        assert isinstance(edu, AsyncEdu)
        return 0 if asyncio.run(count(edu, 3)) == [1, 2, 3] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
