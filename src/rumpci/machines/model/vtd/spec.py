"""Registers and structures of a DMA-remapping unit.

Source: Intel Virtualization Technology for Directed I/O, revision 3.x: 6.5.2
(descriptors), 7.2 and appendix A (faults), 9.1, 9.3 and 9.8 (tables), 10.4
(registers).  Register names are the specification's, without `_REG`.
"""

from __future__ import annotations

import enum

from rumpci.regs import RO, W1C, WO, Field, Register

ADDRESS_BITS = 39
DOMAINS = 256
RECORDS = 4
RECORD_BASE = 0x220
MASK_MAX = 18
"""The largest address mask of an invalidation: 2 to the 18 pages, 1 GiB."""


class VER(Register, offset=0x00, access=RO, section="10.4.1"):
    """Version of the architecture."""

    MAX = Field(7, 4)
    MIN = Field(3, 0)


class CAP(Register, offset=0x08, width=8, access=RO, section="10.4.2"):
    """Capabilities."""

    MAMV = Field(53, 48)
    NFR = Field(47, 40)  # fault records, less one
    PSI = Field(39)
    SLLPS = Field(37, 34)  # 2 MiB, 1 GiB
    FRO = Field(33, 24)  # in units of 16 bytes
    MGAW = Field(21, 16)  # less one
    SAGAW = Field(12, 8)  # bit 1: 39 bits, three levels
    CM = Field(7)
    RWBF = Field(4)
    ND = Field(2, 0)  # 2 to the (2 * ND + 4) domains


class ECAP(Register, offset=0x10, width=8, access=RO, section="10.4.3"):
    """Extended capabilities."""

    IRO = Field(17, 8)
    IR = Field(3)
    QI = Field(1)
    C = Field(0)


class GCMD(Register, offset=0x18, access=WO, section="10.4.4"):
    """Global command; software changes one bit at a time."""

    TE = Field(31)
    SRTP = Field(30)
    QIE = Field(26)


class GSTS(Register, offset=0x1C, access=RO, section="10.4.5"):
    """Global status."""

    TES = Field(31)
    RTPS = Field(30)
    QIES = Field(26)


class RTADDR(Register, offset=0x20, width=8, section="10.4.6"):
    """Root table; taken over by GCMD.SRTP."""

    RTA = Field(63, 12)
    TTM = Field(11, 10)  # 0: legacy mode


class CCMD(Register, offset=0x28, width=8, section="10.4.7"):
    """Invalidation without a queue: this unit never completes one."""


class FSTS(Register, offset=0x34, access=W1C, section="10.4.9"):
    """Fault status."""

    FRI = Field(15, 8, access=RO)
    IQE = Field(4)
    PPF = Field(1, access=RO)
    PFO = Field(0)


class FECTL(Register, offset=0x38, section="10.4.10"):
    """Fault event control; data, address and upper address follow (10.4.11 to 13)."""

    IM = Field(31)
    IP = Field(30, access=RO)


class IQH(Register, offset=0x80, width=8, access=RO, section="10.4.21"):
    """Queue head."""

    QH = Field(18, 4)


class IQT(Register, offset=0x88, width=8, section="10.4.22"):
    """Queue tail."""

    QT = Field(18, 4)


class IQA(Register, offset=0x90, width=8, section="10.4.23"):
    """Queue address and size."""

    PAGE = Field(63, 12)
    DW = Field(11)  # 256-bit descriptors
    QS = Field(2, 0)  # 2 to the QS pages


class ICS(Register, offset=0x9C, access=W1C, section="10.4.24"):
    """Invalidation completion status."""

    IWC = Field(0)


class IECTL(Register, offset=0xA0, section="10.4.25"):
    """Invalidation event control; data, address and upper address follow."""

    IM = Field(31)
    IP = Field(30, access=RO)


class FRCD(Register, offset=8, width=8, section="10.4.31"):
    """The upper half of a fault record; the lower half is the page's address."""

    F = Field(63, access=W1C)
    T = Field(62)  # 1: a read
    FR = Field(39, 32)
    SID = Field(15, 0)


class Reason(enum.IntEnum):
    """Why a request was blocked (appendix A)."""

    ROOT_ABSENT = 0x1
    CONTEXT_ABSENT = 0x2
    CONTEXT_INVALID = 0x3
    BEYOND_WIDTH = 0x4
    WRITE = 0x5
    READ = 0x6
    TABLE_UNREADABLE = 0x7
    ROOT_UNREADABLE = 0x8
    CONTEXT_UNREADABLE = 0x9
    ROOT_RESERVED = 0xA
    CONTEXT_RESERVED = 0xB
    ENTRY_RESERVED = 0xC


# ---- structures in memory --------------------------------------------------------------


class RootEntry(Register, offset=0, width=8, section="9.1"):
    """The low half of a root entry; the high half is reserved."""

    CTP = Field(63, 12)
    P = Field(0)


class ContextLow(Register, offset=0, width=8, section="9.3"):
    """The low half of a context entry."""

    SLPTPTR = Field(63, 12)
    RESERVED = Field(11, 4)
    T = Field(3, 2)  # 0: untranslated requests go through the second-level tables
    FPD = Field(1)
    P = Field(0)


class ContextHigh(Register, offset=8, width=8, section="9.3"):
    """The high half of a context entry."""

    RESERVED = Field(63, 24)
    DID = Field(23, 8)
    AW = Field(2, 0)  # 1: 39 bits


class PageEntry(Register, offset=0, width=8, section="9.8"):
    """A second-level entry, of any level."""

    TM = Field(62)
    HIGH = Field(51, ADDRESS_BITS)  # beyond the machine's addresses
    ADDR = Field(ADDRESS_BITS - 1, 12)
    SNP = Field(11)
    PS = Field(7)
    W = Field(1)
    R = Field(0)


class Kind(enum.IntEnum):
    """The type of a descriptor."""

    CONTEXT = 1
    IOTLB = 2
    WAIT = 5


class Scope(enum.IntEnum):
    """The granularity of an invalidation: all, a domain, or (context) a device, (IOTLB) pages."""

    GLOBAL = 1
    DOMAIN = 2
    NARROW = 3


class InvContext(Register, offset=0, width=8, section="6.5.2.1"):
    """Invalidate cached context entries."""

    FM = Field(49, 48)
    SID = Field(47, 32)
    DID = Field(31, 16)
    G = Field(5, 4)
    TYPE = Field(3, 0)


class InvIotlb(Register, offset=0, width=8, section="6.5.2.3"):
    """Invalidate cached translations; the pages are in the high half."""

    DID = Field(31, 16)
    DR = Field(7)
    DW = Field(6)
    G = Field(5, 4)
    TYPE = Field(3, 0)


class InvPages(Register, offset=8, width=8, section="6.5.2.3"):
    """The high half: 2 to the AM pages; IH says that no table on the way changed."""

    ADDR = Field(63, 12)
    IH = Field(6)
    AM = Field(5, 0)


class InvWait(Register, offset=0, width=8, section="6.5.2.8"):
    """Tell when all before is done: SW writes DATA to the address in the high half."""

    DATA = Field(63, 32)
    FN = Field(6)
    SW = Field(5)
    IF = Field(4)
    TYPE = Field(3, 0)


CAPABILITIES = CAP(
    MAMV=MASK_MAX, NFR=RECORDS - 1, PSI=1, SLLPS=3, FRO=RECORD_BASE // 16,
    MGAW=ADDRESS_BITS - 1, SAGAW=2, ND=2,
)  # fmt: skip
EXTENDED = ECAP(IRO=0xF0 // 16, QI=1, C=1)
