"""The PCI Express capability's registers, with the field names of NetBSD's PCIE_ constants.

Sections are those of the PCI Express Base Specification 5.0.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_CAPLIST, Read, Registers
from rumpci.regs import RO, W1C, Field, Register

PCIE_XCAP_TYPE_PCIE_DEV, PCIE_XCAP_TYPE_PCI_DEV = 0x0, 0x1
PCIE_XCAP_TYPE_RP, PCIE_XCAP_TYPE_UP, PCIE_XCAP_TYPE_DOWN = 0x4, 0x5, 0x6
PCIE_XCAP_TYPE_PCIE2PCI, PCIE_XCAP_TYPE_PCI2PCIE = 0x7, 0x8
PCIE_XCAP_TYPE_RCIEP, PCIE_XCAP_TYPE_RC_EVNTC = 0x9, 0xA

_TYPES = {
    PCIE_XCAP_TYPE_PCIE_DEV: "endpoint",
    PCIE_XCAP_TYPE_PCI_DEV: "legacy endpoint",
    PCIE_XCAP_TYPE_RP: "root port",
    PCIE_XCAP_TYPE_UP: "upstream port",
    PCIE_XCAP_TYPE_DOWN: "downstream port",
    PCIE_XCAP_TYPE_PCIE2PCI: "PCIe to PCI bridge",
    PCIE_XCAP_TYPE_PCI2PCIE: "PCI to PCIe bridge",
    PCIE_XCAP_TYPE_RCIEP: "root complex endpoint",
    PCIE_XCAP_TYPE_RC_EVNTC: "root complex event collector",
}
_BYTES = {n: f"{128 << n} bytes" for n in range(6)}
_SPEEDS = {
    1: "2.5 GT/s", 2: "5 GT/s", 3: "8 GT/s", 4: "16 GT/s", 5: "32 GT/s", 6: "64 GT/s",
}  # fmt: skip
_WIDTHS = {n: f"x{n}" for n in (1, 2, 4, 8, 12, 16, 32)}
_INDICATOR = {1: "on", 2: "blink", 3: "off"}


class PCIE_XCAP(PCI_CAPLIST, offset=0x00, access=RO, section="7.5.3.1, 7.5.3.2"):
    """Version of the capability and type of the port."""

    VER = Field(19, 16)
    TYPE = Field(23, 20, values=_TYPES)
    SI = Field(24)
    IRQ = Field(29, 25)


class PCIE_DCAP(Register, offset=0x04, access=RO, section="7.5.3.3"):
    """What the device can do."""

    MAX_PAYLOAD = Field(2, 0, values=_BYTES)
    PHANTOM_FUNCS = Field(4, 3)
    EXT_TAG_FIELD = Field(5)
    L0S_LATENCY = Field(8, 6)
    L1_LATENCY = Field(11, 9)
    ATTN_BUTTON = Field(12)
    ATTN_IND = Field(13)
    PWR_IND = Field(14)
    ROLE_ERR_RPT = Field(15)
    SLOT_PWR_LIM_VAL = Field(25, 18)
    SLOT_PWR_LIM_SCALE = Field(27, 26)
    FLR = Field(28)


class PCIE_DCSR(Register, offset=0x08, section="7.5.3.4, 7.5.3.5"):
    """Device control (low half) and status (high half).

    INITIATE_FLR is the bit that enables configuration retries on a bridge to PCI.
    """

    ENA_COR_ERR = Field(0)
    ENA_NFER = Field(1)
    ENA_FER = Field(2)
    ENA_URR = Field(3)
    ENA_RELAX_ORD = Field(4)
    MAX_PAYLOAD = Field(7, 5, values=_BYTES)
    EXT_TAG_FIELD = Field(8)
    PHANTOM_FUNCS = Field(9)
    AUX_POWER_PM = Field(10)
    ENA_NO_SNOOP = Field(11)
    MAX_READ_REQ = Field(14, 12, values=_BYTES)
    INITIATE_FLR = Field(15)
    CED = Field(16, access=W1C)
    NFED = Field(17, access=W1C)
    FED = Field(18, access=W1C)
    URD = Field(19, access=W1C)
    AUX_PWR = Field(20, access=RO)
    TRANSACTION_PND = Field(21, access=RO)
    EMGPWRREDD = Field(22, access=W1C)


class PCIE_LCAP(Register, offset=0x0C, access=RO, section="7.5.3.6"):
    """What the link can do."""

    MAX_SPEED = Field(3, 0, values=_SPEEDS)
    MAX_WIDTH = Field(9, 4, values=_WIDTHS)
    ASPM = Field(11, 10, values={0: "none", 1: "L0s", 2: "L1", 3: "L0s and L1"})
    L0S_EXIT = Field(14, 12)
    L1_EXIT = Field(17, 15)
    CLOCK_PM = Field(18)
    SURPRISE_DOWN = Field(19)
    DL_ACTIVE = Field(20)
    LINK_BW_NOTIFY = Field(21)
    ASPM_COMPLIANCE = Field(22)
    PORT = Field(31, 24)


class PCIE_LCSR(Register, offset=0x10, section="7.5.3.7, 7.5.3.8"):
    """Link control (low half) and status (high half)."""

    ASPM_L0S = Field(0)
    ASPM_L1 = Field(1)
    RCB = Field(3, values={0: "64 bytes", 1: "128 bytes"})
    LINK_DIS = Field(4)
    RETRAIN = Field(5)
    COMCLKCFG = Field(6)
    EXTNDSYNC = Field(7)
    ENCLKPM = Field(8)
    HAWD = Field(9)
    LBMIE = Field(10)
    LABIE = Field(11)
    DRSSGNL = Field(15, 14)
    LINKSPEED = Field(19, 16, access=RO, values=_SPEEDS)
    NLW = Field(25, 20, access=RO, values=_WIDTHS)
    LINKTRAIN_ERR = Field(26, access=RO)
    LINKTRAIN = Field(27, access=RO)
    SLOTCLKCFG = Field(28, access=RO)
    DLACTIVE = Field(29, access=RO)
    LINK_BW_MGMT = Field(30, access=W1C)
    LINK_AUTO_BW = Field(31, access=W1C)


class PCIE_SLCAP(Register, offset=0x14, access=RO, section="7.5.3.9"):
    """What the slot has."""

    ABP = Field(0)
    PCP = Field(1)
    MSP = Field(2)
    AIP = Field(3)
    PIP = Field(4)
    HPS = Field(5)
    HPC = Field(6)
    SPLV = Field(14, 7)
    SPLS = Field(16, 15)
    EIP = Field(17)
    NCCS = Field(18)
    PSN = Field(31, 19)


class PCIE_SLCSR(Register, offset=0x18, section="7.5.3.10, 7.5.3.11"):
    """Slot control (low half) and status (high half)."""

    ABE = Field(0)
    PFE = Field(1)
    MSE = Field(2)
    PDE = Field(3)
    CCE = Field(4)
    HPE = Field(5)
    AIC = Field(7, 6, values=_INDICATOR)
    PIC = Field(9, 8, values=_INDICATOR)
    PCC = Field(10)
    EIC = Field(11)
    DLLSCE = Field(12)
    AUTOSPLDIS = Field(13)
    INBPDDIS = Field(14)
    ABP = Field(16, access=W1C)
    PFD = Field(17, access=W1C)
    MSC = Field(18, access=W1C)
    PDC = Field(19, access=W1C)
    CC = Field(20, access=W1C)
    MS = Field(21, access=RO)
    PDS = Field(22, access=RO)
    EIS = Field(23, access=RO)
    LACS = Field(24, access=W1C)


class PCIE_RCR(Register, offset=0x1C, section="7.5.3.12, 7.5.3.13"):
    """Root control (low half) and capabilities (high half)."""

    SERR_CER = Field(0)
    SERR_NFER = Field(1)
    SERR_FER = Field(2)
    PME_IE = Field(3)
    CRS_SVE = Field(4)
    CRS_SV = Field(16, access=RO)


class PCIE_RSR(Register, offset=0x20, section="7.5.3.14"):
    """Root status: who requested power management."""

    PME_REQUESTER = Field(15, 0, access=RO)
    PME_STAT = Field(16, access=W1C)
    PME_PEND = Field(17, access=RO)


class PCIE_DCAP2(Register, offset=0x24, access=RO, section="7.5.3.15"):
    """What more the device can do."""

    COMPT_RANGE = Field(3, 0)
    COMPT_DIS = Field(4)
    ARI_FWD = Field(5)
    ATOM_ROUT = Field(6)
    ATOM_32 = Field(7)
    ATOM_64 = Field(8)
    CAS_128 = Field(9)
    NO_ROPR_PASS = Field(10)
    LTR_MEC = Field(11)
    TPH_COMP = Field(13, 12)
    LNSYSCLS = Field(15, 14)
    TBT_COMP = Field(16)
    TBT_REQ = Field(17)
    OBFF = Field(19, 18)
    EXTFMT_FLD = Field(20)
    EETLP_PREF = Field(21)
    MAX_EETLP = Field(23, 22)
    EMGPWRRED = Field(25, 24)
    EMGPWRRED_INI = Field(26)
    FRS = Field(31)


class PCIE_DCSR2(Register, offset=0x28, section="7.5.3.16"):
    """Device control 2; its status half is reserved."""

    COMPT_VAL = Field(3, 0)
    COMPT_DIS = Field(4)
    ARI_FWD = Field(5)
    ATOM_REQ = Field(6)
    ATOM_EBLK = Field(7)
    IDO_REQ = Field(8)
    IDO_COMP = Field(9)
    LTR_MEC = Field(10)
    EMGPWRRED_REQ = Field(11)
    TBT_REQ = Field(12)
    OBFF_EN = Field(14, 13)
    EETLP = Field(15)


class PCIE_LCAP2(Register, offset=0x2C, access=RO, section="7.5.3.18"):
    """Speeds of the link, and what more it can do."""

    SUP_LNKSV = Field(7, 1)
    CROSSLNK = Field(8)
    LOWSKPOS_GENSUPPSV = Field(15, 9)
    LOWSKPOS_RECSUPPSV = Field(22, 16)
    RETIMERPD = Field(23)
    RETIMERPD2 = Field(24)
    DRS = Field(31)


class PCIE_LCSR2(Register, offset=0x30, section="7.5.3.19, 7.5.3.20"):
    """Link control 2 (low half) and status 2 (high half)."""

    TGT_LSPEED = Field(3, 0, values=_SPEEDS)
    ENT_COMPL = Field(4)
    HW_AS_DIS = Field(5)
    SEL_DEEMP = Field(6)
    TX_MARGIN = Field(9, 7)
    EN_MCOMP = Field(10)
    COMP_SOS = Field(11)
    COMP_DEEMP = Field(15, 12)
    DEEMP_LVL = Field(16, access=RO)
    EQ_COMPL = Field(17, access=RO)
    EQP1_SUC = Field(18, access=RO)
    EQP2_SUC = Field(19, access=RO)
    EQP3_SUC = Field(20, access=RO)
    LNKEQ_REQ = Field(21, access=W1C)
    RETIMERPD = Field(22, access=RO)
    RETIMERPD2 = Field(23, access=RO)
    DSCOMPN = Field(30, 28, access=RO)
    DRSRCV = Field(31, access=W1C)


class PCIE_SLCAP2(Register, offset=0x34, access=RO, section="7.5.3.21"):
    """What more the slot has."""

    INBPDDIS = Field(0)


class PCIE_SLCSR2(Register, offset=0x38, section="7.5.3.22, 7.5.3.23"):
    """Slot control 2 and status 2: reserved."""


PCIE_REGISTERS: Registers = (
    PCIE_XCAP, PCIE_DCAP, PCIE_DCSR, PCIE_LCAP, PCIE_LCSR, PCIE_SLCAP, PCIE_SLCSR, PCIE_RCR,
    PCIE_RSR, PCIE_DCAP2, PCIE_DCSR2, PCIE_LCAP2, PCIE_LCSR2, PCIE_SLCAP2, PCIE_SLCSR2,
)  # fmt: skip
"""All registers of the capability, in the order of their offsets."""

_LINK = {PCIE_LCAP, PCIE_LCSR, PCIE_LCAP2, PCIE_LCSR2}
_SLOT = {PCIE_SLCAP, PCIE_SLCSR, PCIE_SLCAP2, PCIE_SLCSR2}
_ROOT = {PCIE_RCR, PCIE_RSR}
_NO_LINK = {PCIE_XCAP_TYPE_RCIEP, PCIE_XCAP_TYPE_RC_EVNTC}
_WITH_SLOT = {PCIE_XCAP_TYPE_RP, PCIE_XCAP_TYPE_DOWN, PCIE_XCAP_TYPE_PCI2PCIE}
_WITH_ROOT = {PCIE_XCAP_TYPE_RP, PCIE_XCAP_TYPE_RC_EVNTC}


def pcie_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """The registers that mean something, by version, type of port and slot (7.5.3)."""
    xcap = PCIE_XCAP(read(PCIE_XCAP.offset))
    absent: set[type[Register]] = set()
    if xcap.TYPE in _NO_LINK:
        absent |= _LINK
    if xcap.TYPE not in _WITH_SLOT or not xcap.SI:
        absent |= _SLOT
    if xcap.TYPE not in _WITH_ROOT:
        absent |= _ROOT
    end = PCIE_DCAP2.offset if xcap.VER < 2 else PCIE_SLCSR2.offset + 4
    return tuple(r for r in PCIE_REGISTERS if r.offset < end and r not in absent)
