"""A device that is not PCI: the PC's clock, at I/O ports 0x70 and 0x71.

    rumpci run --inside examples/rtc.py --on qemu:edu

Source: Motorola MC146818A data sheet, address map and registers A to D.
"""

from __future__ import annotations

import datetime

from rumpci.autoconf import Driver, aprint_normal_dev
from rumpci.bus_space import bus_space_read_1, bus_space_write_1
from rumpci.errors import DriverError
from rumpci.mainbus import MainbusAttachArgs, mainbus_map

INDEX, DATA = 0, 1
SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, CENTURY = 0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32
REG_A, REG_B, REG_D = 0x0A, 0x0B, 0x0D
UPDATING, BINARY, HOURS_24, VALID = 0x80, 0x04, 0x02, 0x80
TRIES = 10_000


class Rtc(Driver):
    """Reads the time of day."""

    attaches_at = "mainbus"

    @staticmethod
    def match(ma: MainbusAttachArgs) -> bool:
        """By its name."""
        return ma.ma_name == "rtc"

    def attach(self, ma: MainbusAttachArgs) -> None:
        """Map its two ports, and see whether its time is valid."""
        self.iot, self.ioh = mainbus_map(ma)
        if not self.read(REG_D) & VALID:
            raise DriverError(f"attaching {self.xname}", "its time is not valid", "set it")
        self.console.put(": MC146818 or like it\n")

    def read(self, register: int) -> int:
        """One of its bytes."""
        bus_space_write_1(self.iot, self.ioh, INDEX, register)
        return bus_space_read_1(self.iot, self.ioh, DATA)

    def time(self) -> datetime.datetime:
        """What it says; in between two updates.  Raises DriverError (EIO)."""
        for _ in range(TRIES):
            first = self.registers()
            if not self.read(REG_A) & UPDATING and first == self.registers():
                return datetime.datetime(*first, tzinfo=datetime.UTC)
        raise DriverError(f"reading {self.xname}", "it is always updating", "is it a clock?")

    def registers(self) -> tuple[int, int, int, int, int, int]:
        """Year, month, day, hour, minute and second."""
        century, year, month, day, hour, minute, second = (
            self.number(at) for at in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS)
        )
        return 100 * century + year, month, day, hour, minute, second

    def number(self, register: int) -> int:
        """A register as a number: it counts in decimal digits unless it is told not to."""
        value = self.read(register)
        if self.read(REG_B) & BINARY:
            return value
        return 10 * (value >> 4) + (value & 0xF)

    def run(self) -> None:
        """Say what time it is."""
        aprint_normal_dev(self, f"it is {self.time():%Y-%m-%d %H:%M:%S}")
