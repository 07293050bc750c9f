"""mainbus(4): devices that are on no bus that can be enumerated, such as a clock at fixed ports.

    class Rtc(Driver):
        attaches_at = "mainbus"

        @staticmethod
        def match(ma):
            return ma.ma_name == "rtc"

        def attach(self, ma):
            self.iot, self.ioh = mainbus_map(ma, 0)

The host names them and says what they have: ranges of memory or ports, perhaps an interrupt.
They have no configuration space and, here, no DMA.

    NoSuchBar       ENXIO   there is no such range
    NoVectors       ENOSPC  the device has no interrupt
    InterruptBusy   EBUSY   a handler is established already

Source: NetBSD mainbus(4), autoconf(9), struct mainbus_attach_args; here the ports' own
structures (such as x86's isa_attach_args) are one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rumpci.bus_space import BusSpaceHandle, BusSpaceTag, map_bar
from rumpci.cpu import IPL_VM, Handler, curcpu
from rumpci.errors import NoSuchBar, NotClaimed
from rumpci.host import Bar, Space
from rumpci.host_platform import PlatformClaim, PlatformDevice, PlatformHost


@dataclass
class MainbusAttachArgs:
    """What match and attach are told: the device's name and ranges; whether it can interrupt.

    `ma_memt` and `ma_iot` work from attach to detach.
    """

    ma_name: str
    ma_ranges: tuple[Bar, ...]
    ma_intr: bool
    ma_memt: BusSpaceTag
    ma_iot: BusSpaceTag
    claim: PlatformClaim | None = None

    @classmethod
    def of(cls, device: PlatformDevice, name: str = "") -> MainbusAttachArgs:
        """The arguments for one device."""
        name = name or device.name
        memt, iot = BusSpaceTag(Space.MEM, name), BusSpaceTag(Space.IO, name)
        return cls(device.name, device.bars, device.wired, memt, iot)


def mainbus_map(
    ma: MainbusAttachArgs, index: int = 0, flags: int = 0
) -> tuple[BusSpaceTag, BusSpaceHandle]:
    """Map all of a range.  Raises NoSuchBar (ENXIO), NotClaimed (EPERM)."""
    bar = next((bar for bar in ma.ma_ranges if bar.index == index), None)
    if bar is None:
        have = ", ".join(str(bar.index) for bar in ma.ma_ranges) or "none"
        raise NoSuchBar(
            f"mapping range {index} of {ma.ma_name}", "it has no such range", f"it has: {have}"
        )
    tag = ma.ma_iot if bar.space is Space.IO else ma.ma_memt
    return tag, map_bar(tag, bar, 0, bar.size, flags)


def mainbus_intr_establish(
    ma: MainbusAttachArgs,
    level: int,
    handler: Callable[[Any], int | bool | None],
    arg: Any = None,
) -> Handler:
    """Call `handler(arg)` for each event, at `level`.  The line is masked until it returns.

    Raises NoVectors (ENOSPC), InterruptBusy (EBUSY).
    """
    if ma.claim is None:
        raise NotClaimed(
            f"mainbus_intr_establish of {ma.ma_name}",
            "no driver is attached to it",
            "call it in attach and later",
        )
    interrupt = ma.claim.intr_alloc()
    interrupt.establish()
    made = Handler(interrupt, max(level, IPL_VM), handler, arg, ma.ma_name, ma.claim)
    curcpu().establish(made)
    return made


def mainbus_intr_disestablish(cookie: Handler) -> None:
    """Call the handler no more."""
    curcpu().disestablish(cookie)
    cookie.interrupt.disestablish()


@contextlib.contextmanager
def mainbus_claimed(
    host: PlatformHost, device: PlatformDevice, who: str
) -> Iterator[MainbusAttachArgs]:
    """A device, held for `who` and usable through what is yielded; released at the end."""
    with contextlib.ExitStack() as acquired:
        claim = host.claim_platform(device.name, who)
        acquired.callback(claim.release)
        acquired.callback(curcpu().disestablish_owner, claim)
        ma = MainbusAttachArgs.of(device, who)
        ma.claim = claim
        acquired.callback(setattr, ma, "claim", None)
        for tag in (ma.ma_memt, ma.ma_iot):
            tag.claim = claim
            acquired.callback(setattr, tag, "claim", None)
        yield ma
