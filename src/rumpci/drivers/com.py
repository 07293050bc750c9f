"""com: a 16550 UART behind an I/O-port BAR.  Source: PC16550D; NetBSD com(4) for the names."""

from __future__ import annotations

import os
import select

from rumpci import kern
from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.bus_space import bus_space_unmap, bus_space_write_multi_1
from rumpci.drivers.comreg import (
    COM_CFCR,
    COM_DATA,
    COM_DLBH,
    COM_DLBL,
    COM_FIFO,
    COM_FIFO_SIZE,
    COM_FREQ,
    COM_IER,
    COM_IIR,
    COM_LSR,
    COM_MCR,
    COM_NPORTS,
)
from rumpci.errors import BadRange, DriverError, WaitTimeout
from rumpci.kern import (
    IPL_TTY,
    cv_broadcast,
    cv_init,
    cv_timedwait,
    mutex_enter,
    mutex_exit,
    mutex_init,
)
from rumpci.pci import PciAttachArgs, pci_mapreg_submap
from rumpci.pci_intr import (
    pci_intr_disestablish,
    pci_intr_establish_xname,
    pci_intr_map,
    pci_intr_string,
)
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_CLASS,
    PCI_INTERFACE,
    PCI_MAPREG_TYPE_IO,
    PCI_SUBCLASS,
)

_COMMUNICATIONS, _SERIAL, _16550 = 0x07, 0x00, 0x02
_TRANSMIT_LIMIT_US = 5_000_000
_PATTERN = b"\x55\xaa"


class Com(Driver):
    """`write` sends, polled; `read` takes what an interrupt brought; `run` joins a terminal."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Class: communications, serial, 16550 or better."""
        kind = PCI_CLASS(pa.pa_class), PCI_SUBCLASS(pa.pa_class)
        return kind == (_COMMUNICATIONS, _SERIAL) and PCI_INTERFACE(pa.pa_class) >= _16550

    def attach(self, pa: PciAttachArgs) -> None:
        """Map the ports, look for the FIFO, set 115200 8N1, and send itself two bytes."""
        pci_aprint_devinfo(self, pa)
        self.iot, self.ioh, _, self.ios = pci_mapreg_submap(
            pa, PCI_BAR0, PCI_MAPREG_TYPE_IO, maxsize=COM_NPORTS
        )
        COM_IER.write(self.iot, self.ioh)
        COM_FIFO.write(self.iot, self.ioh, ENABLE=1, RCV_RST=1, XMT_RST=1)
        self.fifo = COM_FIFO_SIZE if COM_IIR.read(self.iot, self.ioh).FIFO == 3 else 1
        self.set_speed(115_200)
        chip = "ns16550a" if self.fifo > 1 else "ns8250 or ns16450"
        aprint_normal_dev(self, f"{chip}, {self.fifo}-byte fifo, 115200 baud")
        self.establish(pa)
        self.check_loopback()
        COM_MCR.write(self.iot, self.ioh, DTR=1, RTS=1, IENABLE=1)

    def establish(self, pa: PciAttachArgs) -> None:
        """Receive by interrupt."""
        self.pc, self.received = pa.pa_pc, bytearray()
        self.lock, self.cv = mutex_init(IPL_TTY), cv_init("comrx")
        handle = pci_intr_map(pa)
        self.ih = pci_intr_establish_xname(self.pc, handle, IPL_TTY, self.intr, None, self.xname)
        COM_IER.write(self.iot, self.ioh, ERXRDY=1)
        aprint_normal_dev(self, f"interrupting at {pci_intr_string(self.pc, handle)}")

    def check_loopback(self) -> None:
        """Send two bytes with the line looped back; they must arrive.  Raises DriverError (EIO).

        Source: PC16550D, 8.8.
        """
        COM_MCR.write(self.iot, self.ioh, LOOPBACK=1, IENABLE=1)
        self.write(_PATTERN)
        if (got := self.read_until(_PATTERN, _TRANSMIT_LIMIT_US)) != _PATTERN:
            raise DriverError(
                f"attaching {self.xname}", f"loopback gave {got!r}", "is the interrupt routed?"
            )

    def detach(self) -> None:
        """Hang up, stop interrupts and unmap."""
        COM_IER.write(self.iot, self.ioh)
        COM_MCR.write(self.iot, self.ioh)
        pci_intr_disestablish(self.pc, self.ih)
        bus_space_unmap(self.iot, self.ioh, self.ios)

    def intr(self, arg: object) -> bool:
        """Take every byte that has arrived."""
        del arg
        before = len(self.received)
        while COM_LSR.read(self.iot, self.ioh).RXRDY:
            self.received.append(COM_DATA.read(self.iot, self.ioh))
        cv_broadcast(self.cv)
        return len(self.received) > before

    def set_speed(self, rate: int) -> None:
        """Set `rate` (bits a second), 8 data bits, no parity, 1 stop bit.

        Raises BadRange (EINVAL) for a rate without a divisor.  PC16550D, 8.2.
        """
        divisor = COM_FREQ // 16 // rate if rate > 0 else 0
        if not 1 <= divisor <= 0xFFFF:
            raise BadRange(f"{self.xname}: speed {rate}", "no divisor", "use 2 to 115200")
        COM_CFCR.write(self.iot, self.ioh, BITS=3, DLAB=1)
        COM_DLBL.write(self.iot, self.ioh, divisor & 0xFF)
        COM_DLBH.write(self.iot, self.ioh, divisor >> 8)
        COM_CFCR.write(self.iot, self.ioh, BITS=3)

    def write(self, data: bytes) -> None:
        """Send `data`, a FIFO's worth at a time.  Raises WaitTimeout (ETIMEDOUT)."""
        for start in range(0, len(data), self.fifo):
            piece = data[start : start + self.fifo]
            COM_LSR.wait(self.iot, self.ioh, _TRANSMIT_LIMIT_US, TXRDY=1)
            bus_space_write_multi_1(self.iot, self.ioh, COM_DATA.offset, piece, len(piece))

    def read(self, most: int = 4096) -> bytes:
        """Take what has arrived, at most `most` bytes; empty if nothing has."""
        kern.delay(0)  # a moment for the handler
        mutex_enter(self.lock)
        data = bytes(self.received[:most])
        del self.received[:most]
        mutex_exit(self.lock)
        return data

    def read_until(self, end: bytes, limit: int) -> bytes:
        """Read until the data ends with `end`, at most `limit` microseconds; what came by then."""
        data, deadline = b"", kern.deadline(limit)
        while not data.endswith(end) and not deadline.passed():
            data += self.read(1) or self._sleep()
        return data

    def _sleep(self) -> bytes:
        """Until something arrives, at most a tick."""
        mutex_enter(self.lock)
        try:
            if not self.received:
                cv_timedwait(self.cv, self.lock, 1)
        except WaitTimeout:
            pass
        finally:
            mutex_exit(self.lock)
        return b""

    def run(self) -> None:
        """Join standard input and output to the line until the input ends.

        After the end of input, what arrives within half a second is still shown.
        """
        while self._pass_input():
            os.write(1, self.read())
        deadline = kern.deadline(500_000)
        while not deadline.passed():
            os.write(1, self.read() or self._sleep())

    def _pass_input(self) -> bool:
        """Send what standard input has; False at its end."""
        if not select.select([0], [], [], 0.002)[0]:
            return True
        data = os.read(0, 4096)
        self.write(data)
        return bool(data)
