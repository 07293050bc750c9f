"""VT-d: registers of the unit, and what it reads from memory.

Entries and descriptors of 128 bits are two declarations, `X` for the low half
and `X_HI` for the high one.

Source: Intel Virtualization Technology for Directed I/O, architecture
specification: 6.5.2 (descriptors), 9 (entries), 10.4 (registers).
"""

from __future__ import annotations

from rumpci.regs import RO, RW, W1C, Field, Register


class VTD_CAP(Register, offset=0x08, width=8, access=RO, section="10.4.2"):
    """Capability."""

    ND = Field(2, 0)  # domain ids have 4 + 2 * ND bits
    CM = Field(7)  # entries that are not present may be cached
    SAGAW = Field(12, 8)  # bit n: tables of n + 2 levels
    MGAW = Field(21, 16)  # widest address, less 1
    FRO = Field(33, 24)  # where the fault records are, in 16 bytes
    SLLPS = Field(37, 34)  # bit 0: 2 MiB pages; bit 1: 1 GiB
    PSI = Field(39)  # single pages can be invalidated
    NFR = Field(47, 40)  # fault records, less 1
    MAMV = Field(53, 48)  # most low bits of a page number that an invalidation may ignore
    DWD = Field(54)
    DRD = Field(55)


class VTD_ECAP(Register, offset=0x10, width=8, access=RO, section="10.4.3"):
    """Extended capability."""

    C = Field(0)
    QI = Field(1)
    IR = Field(3)
    IRO = Field(17, 8)


class VTD_GCMD(Register, offset=0x18, section="10.4.4"):
    """Global command: each change is confirmed in VTD_GSTS, in the bit of the same place."""

    TE = Field(31)
    SRTP = Field(30)
    QIE = Field(26)
    IRE = Field(25)
    SIRTP = Field(24)


class VTD_GSTS(Register, offset=0x1C, access=RO, section="10.4.5"):
    """Global status."""

    TES = Field(31)
    RTPS = Field(30)
    QIES = Field(26)
    IRES = Field(25)
    IRTPS = Field(24)


class VTD_RTADDR(Register, offset=0x20, width=8, section="10.4.6"):
    """Root table: its page."""

    RTA = Field(63, 12)


class VTD_FSTS(Register, offset=0x34, access=RW, section="10.4.9"):
    """Fault status."""

    PFO = Field(0, access=W1C)  # there were more faults than records
    PPF = Field(1, access=RO)  # some record has a fault
    IQE = Field(4, access=W1C)  # a descriptor that makes no sense: the queue has stopped
    ICE = Field(5, access=W1C)
    ITE = Field(6, access=W1C)
    FRI = Field(15, 8, access=RO)  # the first record with a fault


class VTD_FECTL(Register, offset=0x38, section="10.4.10"):
    """Fault event control."""

    IM = Field(31)
    IP = Field(30, access=RO)


class VTD_FEDATA(Register, offset=0x3C, section="10.4.11"):
    """Fault event: the message's data."""


class VTD_FEADDR(Register, offset=0x40, section="10.4.12"):
    """Fault event: the message's address."""


class VTD_FEUADDR(Register, offset=0x44, section="10.4.13"):
    """Fault event: the upper half of the message's address."""


class VTD_IQH(Register, offset=0x80, width=8, access=RO, section="10.4.21"):
    """Invalidation queue head."""

    HEAD = Field(18, 4)


class VTD_IQT(Register, offset=0x88, width=8, section="10.4.22"):
    """Invalidation queue tail, in descriptors."""

    TAIL = Field(18, 4)


class VTD_IQA(Register, offset=0x90, width=8, section="10.4.23"):
    """Invalidation queue: its page and size (0: 256 descriptors)."""

    PAGE = Field(63, 12)
    SIZE = Field(2, 0)


class VTD_IRTA(Register, offset=0xB8, width=8, section="10.4.29"):
    """Interrupt remapping table: its page, and its size as 2 to the (SIZE + 1) entries."""

    PAGE = Field(63, 12)
    SIZE = Field(3, 0)


class FRCD(Register, offset=0, width=8, access=RO, section="10.4.14"):
    """Fault record: the page, or for an interrupt its index in bits 63:48."""

    FI = Field(63, 12)
    INDEX = Field(63, 48)


class FRCD_HI(Register, offset=8, width=8, section="10.4.14"):
    """Fault record: who and why."""

    F = Field(63, access=W1C)
    T = Field(62)  # 1: a read
    FR = Field(39, 32)
    SID = Field(15, 0)


class ROOT(Register, offset=0, width=8, section="9.1"):
    """Root entry, one a bus: the bus's context table.  Its high half is zero."""

    P = Field(0)
    CTP = Field(63, 12)


class CONTEXT(Register, offset=0, width=8, section="9.3"):
    """Context entry, one a function: its second-level table.  TT 0: untranslated requests only."""

    P = Field(0)
    FPD = Field(1)
    TT = Field(3, 2)
    SLPTPTR = Field(63, 12)


class CONTEXT_HI(Register, offset=8, width=8, section="9.3"):
    """Context entry: the table's depth (AW + 2 levels), and the domain."""

    AW = Field(2, 0)
    DID = Field(23, 8)


class SLPTE(Register, offset=0, width=8, section="9.8"):
    """Second-level entry: a page, or the next table."""

    R = Field(0)  # the device may read
    W = Field(1)
    PS = Field(7)  # above the last level: a large page, not a table
    ADDR = Field(51, 12)


class IRTE(Register, offset=0, width=8, section="9.10"):
    """Interrupt remapping entry: what is delivered."""

    P = Field(0)
    TM = Field(4)  # 1: level-triggered
    VECTOR = Field(23, 16)
    DEST = Field(47, 40)


class IRTE_HI(Register, offset=8, width=8, section="9.10"):
    """Interrupt remapping entry: who may use it."""

    SVT = Field(19, 18)  # 1: all bits of SID as SQ says
    SQ = Field(17, 16)
    SID = Field(15, 0)


GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3
"""Field G of CC_INV and IOTLB_INV: everything, one domain, one function or range of pages."""


class CC_INV(Register, offset=0, width=8, section="6.5.2.1"):
    """Forget context entries: TYPE 1."""

    TYPE = Field(3, 0)
    G = Field(5, 4)
    DID = Field(31, 16)
    SID = Field(47, 32)
    FM = Field(49, 48)


class IOTLB_INV(Register, offset=0, width=8, section="6.5.2.3"):
    """Forget translations: TYPE 2.  DR and DW: reads and writes under way end first."""

    TYPE = Field(3, 0)
    G = Field(5, 4)
    DW = Field(6)
    DR = Field(7)
    DID = Field(31, 16)


class IOTLB_INV_HI(Register, offset=8, width=8, section="6.5.2.3"):
    """Which: 2 to the AM pages from ADDR, a multiple of that; IH 1: not the upper levels."""

    AM = Field(5, 0)
    IH = Field(6)
    ADDR = Field(63, 12)


class IEC_INV(Register, offset=0, width=8, section="6.5.2.7"):
    """Forget interrupt remapping entries: TYPE 4; all, or (G 1) 2 to the IM from IIDX on."""

    TYPE = Field(3, 0)
    G = Field(4)
    IM = Field(31, 27)
    IIDX = Field(47, 32)


class WAIT_INV(Register, offset=0, width=8, section="6.5.2.8"):
    """Write DATA to the address in the next word when all before it is done: TYPE 5."""

    TYPE = Field(3, 0)
    IF = Field(4)
    SW = Field(5)
    FN = Field(6)
    DATA = Field(63, 32)
