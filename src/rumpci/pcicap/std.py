"""Registers of the capabilities that PCI Express devices have too.

Offsets are in bytes from the start of the capability, and a register is one
dword.  Sections are those of the PCI Express Base Specification 5.0 unless
they name another document.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_CAPLIST, Read, Registers, placed
from rumpci.regs import RO, W1C, Field, Register


class PCI_PM_CAP(PCI_CAPLIST, offset=0x00, access=RO, section="7.5.2.1"):
    """Power management: states supported, and those that can signal PME#."""

    VERSION = Field(18, 16)
    PME_CLOCK = Field(19)
    DSI = Field(21)
    AUXCUR = Field(
        24, 22,
        values={
            0: "0 mA", 1: "55 mA", 2: "100 mA", 3: "160 mA",
            4: "220 mA", 5: "270 mA", 6: "320 mA", 7: "375 mA",
        },
    )  # fmt: skip
    D1SUPP = Field(25)
    D2SUPP = Field(26)
    PME_D0 = Field(27)
    PME_D1 = Field(28)
    PME_D2 = Field(29)
    PME_D3HOT = Field(30)
    PME_D3COLD = Field(31)


class PCI_PM_CSR(Register, offset=0x04, section="7.5.2.2, 7.5.2.3"):
    """Power state, PME# and the data that DATASEL selects."""

    STATE = Field(1, 0, values={0: "D0", 1: "D1", 2: "D2", 3: "D3hot"})
    NO_SOFTRST = Field(3, access=RO)
    PME_EN = Field(8)
    DATASEL = Field(12, 9)
    DATASCL = Field(14, 13, access=RO)
    PME_STS = Field(15, access=W1C)
    B2B3_SUPPORT = Field(22, access=RO)
    BPCC_EN = Field(23, access=RO)
    DATA = Field(31, 24, access=RO)


class PCI_VPD(PCI_CAPLIST, offset=0x00, section="7.9.19"):
    """Vital product data: byte address, and whether a write or a read has been done."""

    ADDRESS = Field(30, 16)
    OPFLAG = Field(31)


class PCI_VPD_DATA(Register, offset=0x04, section="7.9.19"):
    """The dword of vital product data at the address."""


_VECTORS = {n: str(1 << n) for n in range(6)}


class PCI_MSI_CTL(PCI_CAPLIST, offset=0x00, section="7.7.1.1, 7.7.1.2"):
    """Message signalled interrupts: control; MMC and MME are numbers of vectors."""

    MSI_ENABLE = Field(16)
    MMC = Field(19, 17, access=RO, values=_VECTORS)
    MME = Field(22, 20, values=_VECTORS)
    ADDR_64BIT = Field(23, access=RO)
    PERVEC_MASK = Field(24, access=RO)
    EXTMDATA_CAP = Field(25, access=RO)
    EXTMDATA_EN = Field(26)


class PCI_MSI_MADDR(Register, offset=0x04, section="7.7.1.3"):
    """Message address, or its low half."""

    ADDR = Field(31, 2)


class PCI_MSI_MADDR64_HI(Register, offset=0x08, section="7.7.1.4"):
    """High half of the message address."""


class PCI_MSI_MDATA(Register, offset=0x08, section="7.7.1.5, 7.7.1.6"):
    """Message data after a 32-bit address."""

    DATA = Field(15, 0)
    EXTDATA = Field(31, 16)


class PCI_MSI_MDATA64(Register, offset=0x0C, section="7.7.1.5, 7.7.1.6"):
    """Message data after a 64-bit address."""

    DATA = Field(15, 0)
    EXTDATA = Field(31, 16)


class PCI_MSI_MASK(Register, offset=0x0C, section="7.7.1.7"):
    """Masked vectors, after a 32-bit address."""


class PCI_MSI_PENDING(Register, offset=0x10, access=RO, section="7.7.1.8"):
    """Pending vectors, after a 32-bit address."""


class PCI_MSI_MASK64(Register, offset=0x10, section="7.7.1.7"):
    """Masked vectors, after a 64-bit address."""


class PCI_MSI_PENDING64(Register, offset=0x14, access=RO, section="7.7.1.8"):
    """Pending vectors, after a 64-bit address."""


class PCI_VENDSPEC(PCI_CAPLIST, offset=0x00, access=RO, section="7.9.4"):
    """A vendor's own capability; the length is in bytes."""

    LENGTH = Field(23, 16)


class PCI_SUBVENDOR_ID(Register, offset=0x04, access=RO, section="7.9.24"):
    """Subsystem identification of a bridge."""

    PRODUCT = Field(31, 16)
    VENDOR = Field(15, 0)


class PCI_MSIX_CTL(PCI_CAPLIST, offset=0x00, section="7.7.2.1, 7.7.2.2"):
    """MSI-X control; TBLSIZE is the number of table entries less one."""

    TBLSIZE = Field(26, 16, access=RO)
    FUNCMASK = Field(30)
    ENABLE = Field(31)


class PCI_MSIX_TBL(Register, offset=0x04, access=RO, section="7.7.2.3"):
    """Where the table is: an offset, in units of 8 bytes, in the BAR of that number."""

    BIR = Field(2, 0)
    OFFSET = Field(31, 3)


class PCI_MSIX_PBA(Register, offset=0x08, access=RO, section="7.7.2.4"):
    """Where the pending bits are: an offset, in units of 8 bytes, in the BAR of that number."""

    BIR = Field(2, 0)
    OFFSET = Field(31, 3)


class PCI_SATA_REV(PCI_CAPLIST, offset=0x00, access=RO, section="AHCI 1.3.1, 2.4.1"):
    """Revision of the SATA capability."""

    MINOR = Field(19, 16)
    MAJOR = Field(23, 20)


_SATA_INCONF = 0xF


class PCI_SATA_BAR(Register, offset=0x04, access=RO, section="AHCI 1.3.1, 2.4.2"):
    """Where the index and data registers are: an offset in dwords, in BAR SPEC - 4."""

    SPEC = Field(3, 0, values={_SATA_INCONF: "configuration space"})
    OFFSET = Field(23, 4)


class PCI_SATA_INDEX(Register, offset=0x08, section="AHCI 1.3.1, 2.4.2"):
    """The index of the pair, where it is in configuration space."""


class PCI_SATA_DATA(Register, offset=0x0C, section="AHCI 1.3.1, 2.4.2"):
    """The data of the pair, where it is in configuration space."""


class PCI_AFCAPR(PCI_CAPLIST, offset=0x00, access=RO, section="7.9.22"):
    """Advanced features of a conventional device; the length is in bytes."""

    LENGTH = Field(23, 16)
    TP_CAP = Field(24)
    FLR_CAP = Field(25)


class PCI_AFCSR(Register, offset=0x04, section="7.9.22"):
    """Function level reset, and whether transactions are pending."""

    INITIATE_FLR = Field(0)
    TP = Field(8, access=RO)


class PCI_EA_CAP1(PCI_CAPLIST, offset=0x00, access=RO, section="7.8.5.1"):
    """Enhanced allocation: how many entries follow."""

    NUMENTRIES = Field(21, 16)


class PCI_EA_CAP2(Register, offset=0x04, access=RO, section="7.8.5.2"):
    """Bus numbers that a bridge has fixed."""

    SECONDARY = Field(7, 0)
    SUBORDINATE = Field(15, 8)


_EA_BEI = {n: f"BAR{n}" for n in range(6)} | {9 + n: f"VF BAR{n}" for n in range(6)}
_EA_BEI |= {6: "behind the function", 7: "not indicated", 8: "expansion ROM", 15: "reserved"}
_EA_PROP = {
    0x00: "memory", 0x01: "prefetchable", 0x02: "I/O", 0x03: "VF memory", 0x04: "VF prefetchable",
    0x05: "bridge memory", 0x06: "bridge prefetchable", 0x07: "bridge I/O",
    0xFD: "memory unavailable", 0xFE: "I/O unavailable", 0xFF: "unavailable",
}  # fmt: skip


class PCI_EA_ENTRY(Register, offset=0x04, section="7.8.5.3"):
    """What an entry is for; ES is the number of dwords that follow in it."""

    ES = Field(2, 0, access=RO)
    BEI = Field(7, 4, access=RO, values=_EA_BEI)
    PP = Field(15, 8, access=RO, values=_EA_PROP)
    SP = Field(23, 16, access=RO, values=_EA_PROP)
    W = Field(30, access=RO)
    E = Field(31)


class PCI_EA_BASE(Register, offset=0x08, section="7.8.5.3"):
    """Base address of an entry, or its low half; S says that there is a high one."""

    S = Field(1, access=RO)
    ADDR = Field(31, 2)


class PCI_EA_MAXOFFSET(Register, offset=0x0C, section="7.8.5.3"):
    """Last offset of an entry, or its low half; S says that there is a high one."""

    S = Field(1, access=RO)
    OFFSET = Field(31, 2)


class PCI_EA_BASE_HI(Register, offset=0x10, section="7.8.5.3"):
    """High half of the base address of an entry."""


class PCI_EA_MAXOFFSET_HI(Register, offset=0x14, section="7.8.5.3"):
    """High half of the last offset of an entry."""


PM_REGISTERS: Registers = (PCI_PM_CAP, PCI_PM_CSR)
VPD_REGISTERS: Registers = (PCI_VPD, PCI_VPD_DATA)
MSI_REGISTERS: Registers = (
    PCI_MSI_CTL, PCI_MSI_MADDR, PCI_MSI_MADDR64_HI, PCI_MSI_MDATA, PCI_MSI_MDATA64,
    PCI_MSI_MASK, PCI_MSI_PENDING, PCI_MSI_MASK64, PCI_MSI_PENDING64,
)  # fmt: skip
MSIX_REGISTERS: Registers = (PCI_MSIX_CTL, PCI_MSIX_TBL, PCI_MSIX_PBA)
SATA_REGISTERS: Registers = (PCI_SATA_REV, PCI_SATA_BAR, PCI_SATA_INDEX, PCI_SATA_DATA)
AF_REGISTERS: Registers = (PCI_AFCAPR, PCI_AFCSR)
EA_REGISTERS: Registers = (
    PCI_EA_CAP1, PCI_EA_CAP2, PCI_EA_ENTRY, PCI_EA_BASE, PCI_EA_MAXOFFSET, PCI_EA_BASE_HI,
    PCI_EA_MAXOFFSET_HI,
)  # fmt: skip

_CAP_LIMIT = 0x100 - 0x40
"""No capability is longer, in bytes: it is between the header and 0x100."""


def msi_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """The registers that go with the width of the address, and with masking (7.7.1)."""
    control = PCI_MSI_CTL(read(PCI_MSI_CTL.offset))
    present: Registers = (PCI_MSI_CTL, PCI_MSI_MADDR)
    if control.ADDR_64BIT:
        present += (PCI_MSI_MADDR64_HI, PCI_MSI_MDATA64)
        masks: Registers = (PCI_MSI_MASK64, PCI_MSI_PENDING64)
    else:
        present += (PCI_MSI_MDATA,)
        masks = (PCI_MSI_MASK, PCI_MSI_PENDING)
    return present + masks if control.PERVEC_MASK else present


def sata_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With the index and data registers only if they are in configuration space."""
    where = PCI_SATA_BAR(read(PCI_SATA_BAR.offset))
    return SATA_REGISTERS if where.SPEC == _SATA_INCONF else SATA_REGISTERS[:2]


def ea_layout(read: Read, bridge: bool) -> Registers:
    """The registers of every entry, named by its number; a bridge has one more (7.8.5)."""
    present = EA_REGISTERS[: 2 if bridge else 1]
    offset = 4 * len(present)
    for index in range(PCI_EA_CAP1(read(0)).NUMENTRIES):
        if offset >= _CAP_LIMIT:
            break
        size = 4 * (1 + PCI_EA_ENTRY(read(offset)).ES)
        if offset + size > _CAP_LIMIT:
            break
        present += _ea_entry(read, index, offset, size)
        offset += size
    return present


def _ea_entry(read: Read, index: int, offset: int, size: int) -> Registers:
    parts: list[type[Register]] = [PCI_EA_ENTRY, PCI_EA_BASE, PCI_EA_MAXOFFSET][: size // 4]
    if len(parts) == 3:
        for at, upper in (offset + 4, PCI_EA_BASE_HI), (offset + 8, PCI_EA_MAXOFFSET_HI):
            parts += [upper] if read(at) & PCI_EA_BASE.S.mask else []
    return tuple(
        placed(part, offset=at, name=f"{part.__name__}_{index}")
        for part, at in zip(parts, range(offset, offset + size, 4), strict=False)
    )
