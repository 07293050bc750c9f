"""Registers of the capabilities that came before PCI Express.

Offsets are in bytes from the start of the capability, and a register is one
dword.  Each section names its document.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_CAPLIST, Read, Registers
from rumpci.regs import RO, W1C, Field, Register


class PCI_AGP(PCI_CAPLIST, offset=0x00, access=RO, section="AGP 3.0"):
    """Version of AGP that the device follows."""

    MINOR = Field(19, 16)
    MAJOR = Field(23, 20)


class PCI_AGP_STATUS(Register, offset=0x04, access=RO, section="AGP 3.0"):
    """What the AGP device can do; RQ is the depth of its queue less one."""

    RATE = Field(2, 0)
    MODE_3 = Field(3)
    FW = Field(4)
    OVER4G = Field(5)
    HTRANS = Field(6)
    SBA = Field(9)
    CAL = Field(12, 10)
    ARQSZ = Field(15, 13)
    RQ = Field(31, 24)


class PCI_AGP_COMMAND(Register, offset=0x08, section="AGP 3.0"):
    """What of its status the AGP device is to use."""

    RATE = Field(2, 0)
    FW = Field(4)
    OVER4G = Field(5)
    AGP = Field(8)
    SBA = Field(9)
    CAL = Field(12, 10)
    ARQSZ = Field(15, 13)
    RQ = Field(31, 24)


class PCI_SLOTID(PCI_CAPLIST, offset=0x00, section="PCI-PCI bridge 1.2, 13"):
    """Slots behind a bridge, and the number of their chassis."""

    NSLOTS = Field(20, 16, access=RO)
    FIC = Field(21, access=RO)
    CHASSIS = Field(31, 24)


class PCI_HOTSWAP(PCI_CAPLIST, offset=0x00, section="PICMG 2.1"):
    """CompactPCI hot swap: control and status."""

    DHA = Field(16)
    EIM = Field(17)
    PIE = Field(18, access=RO)
    LOO = Field(19)
    PI = Field(21, 20, access=RO)
    EXT = Field(22, access=W1C)
    INS = Field(23, access=W1C)


_BYTECNT = {n: f"{512 << n} bytes" for n in range(4)}
_SPLTRANS = {0: "1", 1: "2", 2: "3", 3: "4", 4: "8", 5: "12", 6: "16", 7: "32"}


class PCIX_CMD(PCI_CAPLIST, offset=0x00, section="PCI-X 2.0, 7.2.3"):
    """PCI-X command of a device that is no bridge."""

    PERR_RECOVER = Field(16)
    RELAXED_ORDER = Field(17)
    BYTECNT = Field(19, 18, values=_BYTECNT)
    SPLTRANS = Field(22, 20, values=_SPLTRANS)
    VERSION = Field(29, 28, access=RO)


class PCIX_STATUS(Register, offset=0x04, section="PCI-X 2.0, 7.2.4"):
    """PCI-X status of a device that is no bridge."""

    FN = Field(2, 0, access=RO)
    DEV = Field(7, 3, access=RO)
    BUS = Field(15, 8, access=RO)
    BIT64 = Field(16, access=RO)
    MHZ133 = Field(17, access=RO)
    SPLDISC = Field(18, access=W1C)
    SPLUNEX = Field(19, access=W1C)
    DEVCPLX = Field(20, access=RO)
    MAXB = Field(22, 21, access=RO, values=_BYTECNT)
    MAXST = Field(25, 23, access=RO, values=_SPLTRANS)
    MAXRS = Field(28, 26, access=RO, values={n: f"{1 << n} KiB" for n in range(8)})
    SCERR = Field(29, access=W1C)
    MHZ266 = Field(30, access=RO)
    MHZ533 = Field(31, access=RO)


class PCIX_BRIDGE_2ND_STATUS(PCI_CAPLIST, offset=0x00, section="PCI-X 2.0, 8.6"):
    """PCI-X status of a bridge's secondary bus."""

    BIT64 = Field(16, access=RO)
    MHZ133 = Field(17, access=RO)
    SPLDISC = Field(18, access=W1C)
    SPLUNEX = Field(19, access=W1C)
    SPLOVRN = Field(20, access=W1C)
    SPLRQDL = Field(21, access=W1C)
    CLKF = Field(25, 22, access=RO)
    VER = Field(29, 28, access=RO)
    MHZ266 = Field(30, access=RO)
    MHZ533 = Field(31, access=RO)


class PCIX_BRIDGE_PRI_STATUS(Register, offset=0x04, section="PCI-X 2.0, 8.6"):
    """PCI-X status of a bridge's primary bus."""

    FN = Field(2, 0, access=RO)
    DEV = Field(7, 3, access=RO)
    BUS = Field(15, 8, access=RO)
    BIT64 = Field(16, access=RO)
    MHZ133 = Field(17, access=RO)
    SPLDISC = Field(18, access=W1C)
    SPLUNEX = Field(19, access=W1C)
    SPLOVRN = Field(20, access=W1C)
    SPLRQDL = Field(21, access=W1C)
    MHZ266 = Field(30, access=RO)
    MHZ533 = Field(31, access=RO)


class PCIX_BRIDGE_STCR(Register, offset=0x08, count=2, section="PCI-X 2.0, 8.6"):
    """Split transactions of a bridge, upstream then downstream, in units of 128 bytes."""

    STCAP = Field(15, 0, access=RO)
    STCLIM = Field(31, 16)


_HT_TYPES = dict.fromkeys(range(4), "slave") | dict.fromkeys(range(4, 8), "host")
_HT_TYPES |= {
    0x08: "switch", 0x10: "interrupt", 0x11: "revision id", 0x12: "unit id clumping",
    0x13: "extended configuration", 0x14: "address mapping", 0x15: "MSI mapping",
    0x16: "direct route", 0x17: "VC set", 0x18: "retry mode", 0x19: "x86 encoding",
    0x1A: "gen 3", 0x1B: "FLE", 0x1C: "power management",
    0x1D: "high node count",
}  # fmt: skip
_HT_MSIMAP = 0x15


class PCI_HT_CMD(PCI_CAPLIST, offset=0x00, section="HyperTransport 3.1, 7"):
    """HyperTransport command; the bits below the type depend on the type."""

    COMMAND = Field(26, 16)
    CAPTYPE = Field(31, 27, access=RO, values=_HT_TYPES)


class PCI_HT_MSI(PCI_CAPLIST, offset=0x00, section="HyperTransport 3.1, 7"):
    """HyperTransport's mapping of MSI."""

    ENABLED = Field(16)
    FIXED = Field(17, access=RO)
    CAPTYPE = Field(31, 27, access=RO, values=_HT_TYPES)


class PCI_HT_MSI_ADDR_LO(Register, offset=0x04, section="HyperTransport 3.1, 7"):
    """Low half of the address that is mapped."""

    ADDR = Field(31, 20)


class PCI_HT_MSI_ADDR_HI(Register, offset=0x08, section="HyperTransport 3.1, 7"):
    """High half of the address that is mapped."""


class PCI_DEBUG_BASE(PCI_CAPLIST, offset=0x00, access=RO, section="EHCI 1.0, C"):
    """Where the debug port's registers are: an offset in bytes in BAR number BARNUM - 1."""

    PORTOFF = Field(28, 16)
    BARNUM = Field(31, 29)


class PCI_SHPC(PCI_CAPLIST, offset=0x00, section="SHPC 1.0"):
    """Standard hot-plug controller: which of its dwords to access, and its interrupt."""

    DWORD_SELECT = Field(23, 16)
    CSP = Field(30, access=RO)
    CIP = Field(31, access=RO)


class PCI_SHPC_DATA(Register, offset=0x04, section="SHPC 1.0"):
    """The hot-plug controller's dword that is selected."""


class PCIX_ECC(Register, offset=0x08, count=4, section="PCI-X 2.0, 7.2.5"):
    """PCI-X errors corrected: control and status, address (two dwords), attributes."""


AGP_REGISTERS: Registers = (PCI_AGP, PCI_AGP_STATUS, PCI_AGP_COMMAND)
PCIX_DEVICE: Registers = (PCIX_CMD, PCIX_STATUS)
PCIX_BRIDGE: Registers = (PCIX_BRIDGE_2ND_STATUS, PCIX_BRIDGE_PRI_STATUS, PCIX_BRIDGE_STCR)
HT_MSI: Registers = (PCI_HT_MSI, PCI_HT_MSI_ADDR_LO, PCI_HT_MSI_ADDR_HI)


def pcix_layout(read: Read, bridge: bool) -> Registers:
    """The registers of a bridge or of another device, by version (PCI-X 2.0, 7.2 and 8.6)."""
    if bridge:
        return PCIX_BRIDGE
    return (*PCIX_DEVICE, PCIX_ECC) if PCIX_CMD(read(0)).VERSION else PCIX_DEVICE


def ht_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """The command, and the address that MSI is mapped at unless it is fixed."""
    command = PCI_HT_MSI(read(0))
    if command.CAPTYPE != _HT_MSIMAP:
        return (PCI_HT_CMD,)
    return HT_MSI[:1] if command.FIXED else HT_MSI
