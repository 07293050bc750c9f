"""The 16550 UART: eight I/O ports.  Source: National Semiconductor PC16550D, section 8.

Names are those of NetBSD's <dev/ic/comreg.h> where it has them.
"""

from __future__ import annotations

from rumpci.regs import RO, RW, WO, Field, Register

COM_NPORTS = 8
COM_FREQ = 1_843_200  # Hz; the divisor is COM_FREQ / 16 / rate
COM_FIFO_SIZE = 16


class COM_DATA(Register, offset=0, width=1, access=RW, section="8.1"):
    """Receive buffer when read, transmit holding register when written."""


class COM_DLBL(Register, offset=0, width=1, access=RW, section="8.2"):
    """Divisor latch, low byte, while COM_CFCR.DLAB is set."""


class COM_DLBH(Register, offset=1, width=1, access=RW, section="8.2"):
    """Divisor latch, high byte, while COM_CFCR.DLAB is set."""


class COM_IER(Register, offset=1, width=1, access=RW, section="8.7"):
    """Interrupt enable."""

    ERXRDY = Field(0)
    ETXRDY = Field(1)
    ERLS = Field(2)
    EMSC = Field(3)


class COM_IIR(Register, offset=2, width=1, access=RO, section="8.6"):
    """Interrupt identification."""

    FIFO = Field(7, 6, values={0: "none", 3: "16550A"})
    IMASK = Field(3, 1, values={0: "modem", 1: "transmit", 2: "receive", 3: "line", 6: "timeout"})
    NOPEND = Field(0)


class COM_FIFO(Register, offset=2, width=1, access=WO, section="8.5"):
    """FIFO control."""

    TRIGGER = Field(7, 6, values={0: "1", 1: "4", 2: "8", 3: "14"})
    XMT_RST = Field(2)
    RCV_RST = Field(1)
    ENABLE = Field(0)


class COM_CFCR(Register, offset=3, width=1, access=RW, section="8.1"):
    """Line control."""

    DLAB = Field(7)
    SBREAK = Field(6)
    PEVEN = Field(4)
    PENAB = Field(3)
    STOPB = Field(2)
    BITS = Field(1, 0, values={0: "5", 1: "6", 2: "7", 3: "8"})


class COM_MCR(Register, offset=4, width=1, access=RW, section="8.8"):
    """Modem control."""

    LOOPBACK = Field(4)
    IENABLE = Field(3)
    DRS = Field(2)
    RTS = Field(1)
    DTR = Field(0)


class COM_LSR(Register, offset=5, width=1, access=RO, section="8.4"):
    """Line status."""

    RCV_FIFO = Field(7)
    TSRE = Field(6)
    TXRDY = Field(5)
    BI = Field(4)
    FE = Field(3)
    PE = Field(2)
    OE = Field(1)
    RXRDY = Field(0)


class COM_SCRATCH(Register, offset=7, width=1, access=RW, section="8.10"):
    """A byte to keep."""
