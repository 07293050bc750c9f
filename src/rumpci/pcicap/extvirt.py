"""Registers of the extended capabilities for virtualization: SR-IOV, ATS, ACS and their like.

Offsets are in bytes from the start of the capability, and a register is one
dword.  Sections are those of the PCI Express Base Specification 5.0.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_EXTCAPLIST, Read, Registers, placed
from rumpci.regs import RO, W1C, Field, Register


class PCI_ACS(Register, offset=0x04, section="7.7.8.2, 7.7.8.3"):
    """What access control can do (low half) and control (high half); ECVSIZE is in bits."""

    CAP_V = Field(0, access=RO)
    CAP_B = Field(1, access=RO)
    CAP_R = Field(2, access=RO)
    CAP_C = Field(3, access=RO)
    CAP_U = Field(4, access=RO)
    CAP_E = Field(5, access=RO)
    CAP_T = Field(6, access=RO)
    CAP_ENH = Field(7, access=RO)
    ECVSIZE = Field(15, 8, access=RO)
    CTL_V = Field(16)
    CTL_B = Field(17)
    CTL_R = Field(18)
    CTL_C = Field(19)
    CTL_U = Field(20)
    CTL_E = Field(21)
    CTL_T = Field(22)
    CTL_IO = Field(23)
    CTL_DSPMT = Field(25, 24)
    CTL_USPMT = Field(27, 26)
    CTL_UR = Field(28)


class PCI_ACS_ECV(Register, offset=0x08, count=8, section="7.7.8.4"):
    """Ports or functions that requests must not go to, one bit each."""


class PCI_ARI(Register, offset=0x04, section="7.8.8.2, 7.8.8.3"):
    """Alternative routing ids: the next function (low half), and groups."""

    CAP_M = Field(0, access=RO)
    CAP_A = Field(1, access=RO)
    NXTFN = Field(15, 8, access=RO)
    CTL_M = Field(16)
    CTL_A = Field(17)
    FUNCGRP = Field(22, 20)


class PCI_ATS(Register, offset=0x04, section="10.5.1.2, 10.5.1.3"):
    """Address translation: capability (low half) and control; the unit is 4 KiB << STU."""

    INVQDEPTH = Field(4, 0, access=RO)
    PALIGNREQ = Field(5, access=RO)
    GLOBALINVL = Field(6, access=RO)
    RELAXORD = Field(7, access=RO)
    STU = Field(20, 16)
    EN = Field(31)


class PCI_SRIOV_CAP(Register, offset=0x04, access=RO, section="9.3.3.2"):
    """What virtualization can do."""

    VF_MIGRATION = Field(0)
    ARI_CAP_HIER_PRESERVED = Field(1)
    VF_TBT_REQ = Field(2)
    VF_MIGRATION_INTMSG_N = Field(31, 21)


class PCI_SRIOV_CTL(Register, offset=0x08, section="9.3.3.3, 9.3.3.4"):
    """Virtualization control (low half) and status (high half)."""

    VF_ENABLE = Field(0)
    VF_MIGRATION_SUPPORT = Field(1)
    VF_MIGRATION_INT_ENABLE = Field(2)
    VF_MSE = Field(3)
    ARI_CAP_HIER = Field(4)
    VF_TBT_REQ_ENABLE = Field(5)
    STA_VF_MIGRATION = Field(16, access=W1C)


class PCI_SRIOV_VFS(Register, offset=0x0C, access=RO, section="9.3.3.5, 9.3.3.6"):
    """Virtual functions that there can be."""

    INITIAL = Field(15, 0)
    TOTAL = Field(31, 16)


class PCI_SRIOV_NUM_VFS(Register, offset=0x10, section="9.3.3.7, 9.3.3.8"):
    """Virtual functions that there are, and the function that this one depends on."""

    NUM = Field(15, 0)
    FUNC_DEP_LINK = Field(23, 16, access=RO)


class PCI_SRIOV_VF_OFF(Register, offset=0x14, access=RO, section="9.3.3.9, 9.3.3.10"):
    """Where the virtual functions are, in routing ids from this function."""

    OFFSET = Field(15, 0)
    STRIDE = Field(31, 16)


class PCI_SRIOV_VF_DID(Register, offset=0x18, access=RO, section="9.3.3.11"):
    """Device id of the virtual functions."""

    PRODUCT = Field(31, 16)


class PCI_SRIOV_PAGE_CAP(Register, offset=0x1C, access=RO, section="9.3.3.12"):
    """Page sizes that there can be: bit n is 4 KiB << n."""


class PCI_SRIOV_PAGE_SIZE(Register, offset=0x20, section="9.3.3.13"):
    """Page size in use: bit n is 4 KiB << n."""


class PCI_SRIOV_BAR(Register, offset=0x24, count=6, section="9.3.3.14"):
    """Base addresses of the virtual functions, with type bits as in PCI_BAR0."""


class PCI_SRIOV_VF_MIG_STA(Register, offset=0x3C, access=RO, section="9.3.3.15"):
    """Where the migration states are: an offset, in units of 8 bytes, in the BAR BIR."""

    BIR = Field(2, 0)
    OFFSET = Field(31, 3)


class PCI_PAGE_REQ(Register, offset=0x04, section="10.5.2.2, 10.5.2.3"):
    """Page requests: control (low half) and status (high half)."""

    E = Field(0)
    R = Field(1)
    RF = Field(16, access=W1C)
    UPRGI = Field(17, access=W1C)
    S = Field(24, access=RO)
    PASIDR = Field(31, access=RO)


class PCI_PAGE_REQ_OUTSTCAPA(Register, offset=0x08, access=RO, section="10.5.2.4"):
    """Page requests that can be outstanding."""


class PCI_PAGE_REQ_OUTSTALLOC(Register, offset=0x0C, section="10.5.2.5"):
    """Page requests that may be outstanding."""


class PCI_PASID(Register, offset=0x04, section="7.8.9.2, 7.8.9.3"):
    """Process address spaces: capability (low half) and control; the width is in bits."""

    CAP_XPERM = Field(1, access=RO)
    CAP_PRIVMODE = Field(2, access=RO)
    MAXPASIDW = Field(12, 8, access=RO)
    PASID_EN = Field(16)
    XPERM_EN = Field(17)
    PRIVMODE_EN = Field(18)


ACS_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_ACS, PCI_ACS_ECV)
ARI_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_ARI)
ATS_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_ATS)
PRI_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_PAGE_REQ, PCI_PAGE_REQ_OUTSTCAPA, PCI_PAGE_REQ_OUTSTALLOC,
)  # fmt: skip
PASID_REGISTERS: Registers = (PCI_EXTCAPLIST, PCI_PASID)
SRIOV_REGISTERS: Registers = (
    PCI_EXTCAPLIST, PCI_SRIOV_CAP, PCI_SRIOV_CTL, PCI_SRIOV_VFS, PCI_SRIOV_NUM_VFS,
    PCI_SRIOV_VF_OFF, PCI_SRIOV_VF_DID, PCI_SRIOV_PAGE_CAP, PCI_SRIOV_PAGE_SIZE, PCI_SRIOV_BAR,
    PCI_SRIOV_VF_MIG_STA,
)  # fmt: skip


def acs_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the egress vector if there is one, as long as its size says (7.7.8)."""
    can = PCI_ACS(read(PCI_ACS.offset))
    if not can.CAP_E:
        return ACS_REGISTERS[:2]
    dwords = ((can.ECVSIZE or 256) + 31) // 32
    return (*ACS_REGISTERS[:2], placed(PCI_ACS_ECV, count=dwords))
