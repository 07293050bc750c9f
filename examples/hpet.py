"""A device that is not PCI: the HPET, by a node of the kernel's generic UIO.

Its main counter is read, and one of its timers interrupts.

    uio:/dev/uio0, where uio_pdrv_genirq has the HPET (tests/linux/kmod/uio_board.c)

Properties: `timer` (2), `gsi` (23), the input of the I/O APIC that the timer is routed to.
Source: IA-PC HPET Specification 1.0a, 2.3.
"""

from __future__ import annotations

from rumpci.autoconf import Driver, aprint_normal_dev
from rumpci.bus_space import (
    bus_space_read_4,
    bus_space_write_4,
)
from rumpci.errors import DriverError
from rumpci.kern import (
    IPL_HIGH,
    cv_broadcast,
    cv_init,
    cv_timedwait,
    hz,
    mutex_enter,
    mutex_exit,
    mutex_init,
)
from rumpci.mainbus import (
    MainbusAttachArgs,
    mainbus_intr_disestablish,
    mainbus_intr_establish,
    mainbus_map,
)

CAPABILITIES, CONFIG, STATUS, COUNTER = 0x00, 0x10, 0x20, 0xF0
TIMER, TIMER_STEP, COMPARATOR = 0x100, 0x20, 8
ENABLE = 1  # of CONFIG
LEVEL, INTERRUPT, ROUTE_SHIFT = 1 << 1, 1 << 2, 9  # of a timer's configuration
FEMTOSECONDS = 10**15
TICK_HZ = 100
LIMIT_S = 20


class Hpet(Driver):
    """Reads its clock, and has a timer interrupt three times."""

    attaches_at = "mainbus"

    @staticmethod
    def match(ma: MainbusAttachArgs) -> bool:
        """By the name that the kernel's driver gives it."""
        return ma.ma_name.split("@")[0] == "hpet"

    def attach(self, ma: MainbusAttachArgs) -> None:
        """Map its registers, and learn how fast it counts."""
        self.ma = ma
        self.iot, self.ioh = mainbus_map(ma)
        self.hz = FEMTOSECONDS // bus_space_read_4(self.iot, self.ioh, CAPABILITIES + 4)
        self.timer = TIMER + TIMER_STEP * int(self.properties.get("timer", "2"))
        self.bit = 1 << int(self.properties.get("timer", "2"))
        self.lock, self.cv, self.fired = mutex_init(IPL_HIGH), cv_init("hpet"), 0
        self.console.put(f": {self.hz} Hz\n")
        enabled = bus_space_read_4(self.iot, self.ioh, CONFIG) | ENABLE
        bus_space_write_4(self.iot, self.ioh, CONFIG, enabled)

    def now(self) -> int:
        """The main counter, 64 bits, in two halves as not every HPET reads it at once."""
        while True:
            high, low, again = (
                bus_space_read_4(self.iot, self.ioh, COUNTER + at) for at in (4, 0, 4)
            )
            if high == again:
                return high << 32 | low

    def run(self) -> None:
        """Read the clock twice, and sleep by its timer."""
        first = self.now()
        if self.now() <= first:
            raise DriverError(f"reading {self.xname}", "it does not count", "is it an HPET?")
        for _ in range(3):
            aprint_normal_dev(self, f"slept {self.sleep(self.hz // TICK_HZ)} ticks")

    def sleep(self, ticks: int) -> int:
        """Sleep until the timer interrupts; how long that was, in ticks."""
        cookie = mainbus_intr_establish(self.ma, IPL_HIGH, self.intr)
        route = int(self.properties.get("gsi", "23")) << ROUTE_SHIFT
        start, before = self.now(), self.fired
        mutex_enter(self.lock)
        try:
            for at, half in ((0, start + ticks), (4, start + ticks >> 32)):
                place = self.timer + COMPARATOR + at
                bus_space_write_4(self.iot, self.ioh, place, half & 0xFFFF_FFFF)
            bus_space_write_4(self.iot, self.ioh, STATUS, self.bit)
            bus_space_write_4(self.iot, self.ioh, self.timer, LEVEL | INTERRUPT | route)
            while self.fired == before:
                cv_timedwait(self.cv, self.lock, LIMIT_S * hz)
        finally:
            mutex_exit(self.lock)
            bus_space_write_4(self.iot, self.ioh, self.timer, 0)
            mainbus_intr_disestablish(cookie)
        return self.now() - start

    def intr(self, arg: object) -> bool:
        """Acknowledge, and wake who sleeps."""
        del arg
        ours = bus_space_read_4(self.iot, self.ioh, STATUS) & self.bit
        if ours:
            bus_space_write_4(self.iot, self.ioh, STATUS, self.bit)
            self.fired += 1
            cv_broadcast(self.cv)
        return bool(ours)
