"""Registers of the extended capabilities that are not about errors or virtualization.

Offsets are in bytes from the start of the capability, and a register is one
dword.  Sections are those of the PCI Express Base Specification 5.0.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_EXTCAPLIST, Read, Registers, placed
from rumpci.regs import RO, W1C, Field, Register


class PCI_VC_CAP1(Register, offset=0x04, access=RO, section="7.9.1.2"):
    """Virtual channels of the port: how many there are beside the first."""

    EXT_COUNT = Field(2, 0)
    LOWPRI_EXT_COUNT = Field(6, 4)
    REFCLK = Field(9, 8, values={0: "100 ns"})
    PORT_ARB_TABLE_SIZE = Field(11, 10)


class PCI_VC_CAP2(Register, offset=0x08, access=RO, section="7.9.1.3"):
    """Arbitration between channels; the table's offset is in units of 16 bytes."""

    HW_FIXED_SCHEME = Field(0)
    WRR_32 = Field(1)
    WRR_64 = Field(2)
    WRR_128 = Field(3)
    ARB_TABLE_OFFSET = Field(31, 24)


class PCI_VC_CONTROL(Register, offset=0x0C, section="7.9.1.4, 7.9.1.5"):
    """Arbitration control (low half) and status (high half)."""

    LOAD_VC_ARB_TABLE = Field(0)
    VC_ARB_SELECT = Field(3, 1)
    VC_ARB_TABLE_STATUS = Field(16, access=RO)


class PCI_VC_RESOURCE_CAP(Register, offset=0x10, access=RO, count=8, stride=12, section="7.9.1.6"):
    """What one channel can do; the table's offset is in units of 16 bytes."""

    HW_FIXED_SCHEME = Field(0)
    WRR_32 = Field(1)
    WRR_64 = Field(2)
    WRR_128 = Field(3)
    TWRR_128 = Field(4)
    WRR_256 = Field(5)
    ADV_PKT_SWITCH = Field(14)
    REJCT_SNOOP_TRANS = Field(15)
    MAX_TIME_SLOTS = Field(22, 16)
    PORT_ARB_TABLE_OFFSET = Field(31, 24)


class PCI_VC_RESOURCE_CTL(Register, offset=0x14, count=8, stride=12, section="7.9.1.7"):
    """Traffic classes and arbitration of one channel."""

    TCVC_MAP = Field(7, 0)
    LOAD_PORT_ARB_TABLE = Field(16)
    PORT_ARB_SELECT = Field(19, 17)
    VC_ID = Field(26, 24)
    VC_ENABLE = Field(31)


class PCI_VC_RESOURCE_STA(Register, offset=0x18, access=RO, count=8, stride=12, section="7.9.1.8"):
    """State of one channel, in the high half."""

    PORT_ARB_TABLE = Field(16)
    VC_NEG_PENDING = Field(17)


class PCI_SERIAL_LOW(Register, offset=0x04, access=RO, section="7.9.3.2"):
    """Low half of the device's serial number."""


class PCI_SERIAL_HIGH(Register, offset=0x08, access=RO, section="7.9.3.2"):
    """High half of the device's serial number."""


class PCI_PWRBDGT_DSEL(Register, offset=0x04, section="7.8.1.2"):
    """Which power budget to show."""

    DSEL = Field(7, 0)


class PCI_PWRBDGT_DATA(Register, offset=0x08, access=RO, section="7.8.1.3"):
    """One power budget, in watts to be multiplied by the scale."""

    BASEPWR = Field(7, 0)
    SCALE = Field(9, 8, values={0: "1", 1: "0.1", 2: "0.01", 3: "0.001"})
    PM_SUBSTAT = Field(12, 10)
    PM_STAT = Field(14, 13, values={0: "D0", 1: "D1", 2: "D2", 3: "D3"})
    TYPE = Field(17, 15)
    PWRRAIL = Field(20, 18)


class PCI_PWRBDGT_CAP(Register, offset=0x0C, access=RO, section="7.8.1.4"):
    """Whether the system's budget has the device's power already."""

    SYSALLOC = Field(0)


class PCI_RCLINK_DCL_ESDESC(Register, offset=0x04, access=RO, section="7.9.8.2"):
    """The element of the root complex that this is."""

    ELMTYPE = Field(3, 0)
    NUMLINKENT = Field(15, 8)
    COMPID = Field(23, 16)
    PORTNUM = Field(31, 24)


class PCI_VSEC(Register, offset=0x04, access=RO, section="7.9.5.2"):
    """A vendor's own identification of the capability; the length is in bytes."""

    ID = Field(15, 0)
    REV = Field(19, 16)
    LENGTH = Field(31, 20)


class PCI_DVSEC1(Register, offset=0x04, access=RO, section="7.9.6.2"):
    """Whose capability it is; the length is in bytes."""

    VENDOR = Field(15, 0)
    REV = Field(19, 16)
    LENGTH = Field(31, 20)


class PCI_DVSEC2(Register, offset=0x08, access=RO, section="7.9.6.3"):
    """That vendor's identification of the capability."""

    ID = Field(15, 0)


class PCI_MCAST_CAP(Register, offset=0x04, section="7.9.11.2, 7.9.11.3"):
    """What multicast can do (low half) and control (high half)."""

    MAXGRP = Field(5, 0, access=RO)
    WINSIZEREQ = Field(13, 8, access=RO)
    ECRCREGEN = Field(15, access=RO)
    NUMGRP = Field(21, 16)
    ENA = Field(31)


class PCI_MCAST_BARL(Register, offset=0x08, section="7.9.11.4"):
    """Low half of the multicast base address."""

    INDPOS = Field(5, 0)
    ADDR = Field(31, 12)


class PCI_MCAST_BARH(Register, offset=0x0C, section="7.9.11.4"):
    """High half of the multicast base address."""


class PCI_MCAST_RECV(Register, offset=0x10, count=2, section="7.9.11.5"):
    """Groups that are received, low half first."""


class PCI_MCAST_BLOCKALL(Register, offset=0x18, count=2, section="7.9.11.6"):
    """Groups that are blocked, low half first."""


class PCI_MCAST_BLOCKUNTRNS(Register, offset=0x20, count=2, section="7.9.11.7"):
    """Groups that are blocked if the address is not translated, low half first."""


class PCI_MCAST_OVERLAYL(Register, offset=0x28, section="7.9.11.8"):
    """Low half of the overlay's address; of ports only."""

    SIZE = Field(5, 0)
    ADDR = Field(31, 6)


class PCI_MCAST_OVERLAYH(Register, offset=0x2C, section="7.9.11.8"):
    """High half of the overlay's address; of ports only."""


class PCI_RESIZBAR_CAP(Register, offset=0x04, access=RO, count=6, stride=8, section="7.8.6.2"):
    """Sizes that one BAR can have: the lowest bit is 1 MiB, each next one is double."""

    SIZES = Field(31, 4)


class PCI_RESIZBAR_CTL(Register, offset=0x08, count=6, stride=8, section="7.8.6.3"):
    """Size of one BAR: two to the power of BARSIZ, in MiB."""

    BARIDX = Field(2, 0, access=RO)
    NUMBAR = Field(7, 5, access=RO)
    BARSIZ = Field(13, 8)
    SIZES_HI = Field(31, 16, access=RO)


class PCI_TPH_REQ_CAP(Register, offset=0x04, access=RO, section="7.9.13.2"):
    """Processing hints: modes, and where the table of steering tags is (its size less one)."""

    NOST = Field(0)
    INTVEC = Field(1)
    DEVSPEC = Field(2)
    XTPHREQ = Field(8)
    STTBLLOC = Field(10, 9, values={0: "none", 1: "here", 2: "MSI-X table"})
    STTBLSIZ = Field(26, 16)


class PCI_TPH_REQ_CTL(Register, offset=0x08, section="7.9.13.3"):
    """Processing hints: mode and enable."""

    STSEL = Field(2, 0, values={0: "no tags", 1: "interrupt vector", 2: "device specific"})
    TPHREQEN = Field(9, 8, values={0: "off", 1: "TPH", 3: "TPH and extended TPH"})


class PCI_TPH_REQ_STTBL(Register, offset=0x0C, count=32, section="7.9.13.4"):
    """Steering tags, two to a dword."""

    LOW = Field(15, 0)
    HIGH = Field(31, 16)


class PCI_LTR(Register, offset=0x04, section="7.8.2.2, 7.8.2.3"):
    """Latencies to tolerate: a value times 32 to the power of a scale, in nanoseconds."""

    MAXSNOOPLAT_VAL = Field(9, 0)
    MAXSNOOPLAT_SCALE = Field(12, 10)
    MAXNOSNOOPLAT_VAL = Field(25, 16)
    MAXNOSNOOPLAT_SCALE = Field(28, 26)


class PCI_SECPCIE_LCTL3(Register, offset=0x04, section="7.7.3.2"):
    """Link control 3."""

    PERFEQ = Field(0)
    LINKEQREQ_IE = Field(1)
    ELSKPOSGENV = Field(15, 9)


class PCI_SECPCIE_LANEERR_STA(Register, offset=0x08, access=W1C, section="7.7.3.3"):
    """Lanes with errors, one bit each."""


class PCI_SECPCIE_EQCTL(Register, offset=0x0C, section="7.7.3.4"):
    """Equalization of lanes 0 (low half) and 1; further lanes are in the dwords that follow."""

    DP_XMIT_PRESET = Field(3, 0)
    DP_RCV_HINT = Field(6, 4)
    UP_XMIT_PRESET = Field(11, 8)
    UP_RCV_HINT = Field(14, 12)
    LANE1 = Field(31, 16)


class PCI_L1PM_CAP(Register, offset=0x04, access=RO, section="7.8.3.2"):
    """Substates of L1 that the port has; PCMRT is in microseconds."""

    PCIPM12 = Field(0)
    PCIPM11 = Field(1)
    ASPM12 = Field(2)
    ASPM11 = Field(3)
    L1PM = Field(4)
    LA = Field(5)
    PCMRT = Field(15, 8)
    PTPOSCALE = Field(17, 16, values={0: "2 us", 1: "10 us", 2: "100 us"})
    PTPOVAL = Field(23, 19)


class PCI_L1PM_CTL1(Register, offset=0x08, section="7.8.3.3"):
    """Substates of L1 that are enabled; CMRT is in microseconds."""

    PCIPM12_EN = Field(0)
    PCIPM11_EN = Field(1)
    ASPM12_EN = Field(2)
    ASPM11_EN = Field(3)
    LAIE = Field(4)
    LA = Field(5)
    CMRT = Field(15, 8)
    LTRTHVAL = Field(25, 16)
    LTRTHSCALE = Field(31, 29)


class PCI_L1PM_CTL2(Register, offset=0x0C, section="7.8.3.4"):
    """Time to power on."""

    TPOSCALE = Field(1, 0, values={0: "2 us", 1: "10 us", 2: "100 us"})
    TPOVAL = Field(7, 3)


class PCI_L1PM_STAT(Register, offset=0x10, access=W1C, section="7.8.3.5"):
    """Link activation status."""

    LA = Field(0)


class PCI_PTM_CAP(Register, offset=0x04, access=RO, section="7.9.16.2"):
    """Precision time: roles, and granularity of the clock in nanoseconds."""

    REQ = Field(0)
    RESP = Field(1)
    ROOT = Field(2)
    LCLCLKGRNL = Field(15, 8)


class PCI_PTM_CTL(Register, offset=0x08, section="7.9.16.3"):
    """Precision time: control, and granularity in effect in nanoseconds."""

    EN = Field(0)
    ROOTSEL = Field(1)
    EFCTGRNL = Field(15, 8)


VC_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_VC_CAP1, PCI_VC_CAP2, PCI_VC_CONTROL, PCI_VC_RESOURCE_CAP,
    PCI_VC_RESOURCE_CTL, PCI_VC_RESOURCE_STA,
)  # fmt: skip
SERNUM_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_SERIAL_LOW, PCI_SERIAL_HIGH)
PWRBDGT_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_PWRBDGT_DSEL, PCI_PWRBDGT_DATA, PCI_PWRBDGT_CAP,
)  # fmt: skip
RCLINK_DCL_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_RCLINK_DCL_ESDESC)
VSEC_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_VSEC)
DVSEC_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_DVSEC1, PCI_DVSEC2)
MCAST_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_MCAST_CAP, PCI_MCAST_BARL, PCI_MCAST_BARH, PCI_MCAST_RECV,
    PCI_MCAST_BLOCKALL, PCI_MCAST_BLOCKUNTRNS, PCI_MCAST_OVERLAYL, PCI_MCAST_OVERLAYH,
)  # fmt: skip
RESIZBAR_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_RESIZBAR_CAP, PCI_RESIZBAR_CTL)
TPH_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_TPH_REQ_CAP, PCI_TPH_REQ_CTL, PCI_TPH_REQ_STTBL)
LTR_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_LTR)
SECPCIE_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_SECPCIE_LCTL3, PCI_SECPCIE_LANEERR_STA, PCI_SECPCIE_EQCTL,
)  # fmt: skip
L1PM_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_L1PM_CAP, PCI_L1PM_CTL1, PCI_L1PM_CTL2, PCI_L1PM_STAT,
)  # fmt: skip
PTM_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_PTM_CAP, PCI_PTM_CTL)


def vc_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the registers of as many channels as there are (7.9.1)."""
    channels = 1 + PCI_VC_CAP1(read(PCI_VC_CAP1.offset)).EXT_COUNT
    return VC_REGISTERS[:4] + tuple(placed(r, count=channels) for r in VC_REGISTERS[4:])


def mcast_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the overlay in a port, which is what a bridge's header tells (7.9.11)."""
    return MCAST_REGISTERS if bridge else MCAST_REGISTERS[:-2]


def resizbar_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With as many BARs, 1 to 6, as the first one's control says (7.8.6)."""
    bars = PCI_RESIZBAR_CTL(read(PCI_RESIZBAR_CTL.offset)).NUMBAR
    count = min(max(bars, 1), PCI_RESIZBAR_CTL.count)
    return (PCI_EXTCAPLIST, *(placed(r, count=count) for r in RESIZBAR_REGISTERS[1:]))


def tph_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the table of steering tags if it is here, at most 64 of them (7.9.13)."""
    can = PCI_TPH_REQ_CAP(read(PCI_TPH_REQ_CAP.offset))
    if can.STTBLLOC != 1:
        return TPH_REGISTERS[:3]
    dwords = min(can.STTBLSIZ // 2 + 1, PCI_TPH_REQ_STTBL.count)
    return (*TPH_REGISTERS[:3], placed(PCI_TPH_REQ_STTBL, count=dwords))


def l1pm_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the status if the port has link activation (7.8.3)."""
    return L1PM_REGISTERS if PCI_L1PM_CAP(read(PCI_L1PM_CAP.offset)).LA else L1PM_REGISTERS[:-1]
