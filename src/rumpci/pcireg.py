"""Configuration space: the names of NetBSD's <dev/pci/pcireg.h>, and the header's registers.

Offsets are in bytes.  Configuration space is read and written 32 bits at a
time, so a register here is one dword; the header's 8- and 16-bit registers are
its fields.  Sections are those of the PCI Local Bus Specification 3.0; the
registers of capabilities are in `pcicap`.
"""

from __future__ import annotations

from rumpci.regs import RO, RW, W1C, Field, Register

PCI_CONF_SIZE = 0x100
PCI_EXTCONF_SIZE = 0x1000
PCI_EXTCAPLIST_BASE = 0x100

PCI_ID_REG = 0x00
PCI_COMMAND_STATUS_REG = 0x04
PCI_CLASS_REG = 0x08
PCI_BHLC_REG = 0x0C
PCI_BAR0, PCI_BAR1, PCI_BAR2 = 0x10, 0x14, 0x18
PCI_BAR3, PCI_BAR4, PCI_BAR5 = 0x1C, 0x20, 0x24
PCI_MAPREG_START, PCI_MAPREG_END = 0x10, 0x28
PCI_CARDBUS_CIS_REG = 0x28
PCI_SUBSYS_ID_REG = 0x2C
PCI_MAPREG_ROM = 0x30
PCI_CAPLISTPTR_REG = 0x34
PCI_INTERRUPT_REG = 0x3C

PCI_VENDOR_INVALID = 0xFFFF

PCI_COMMAND_IO_ENABLE = 0x0001
PCI_COMMAND_MEM_ENABLE = 0x0002
PCI_COMMAND_MASTER_ENABLE = 0x0004
PCI_COMMAND_INTERRUPT_DISABLE = 0x0400
PCI_STATUS_INT_STATUS = 0x0008_0000
PCI_STATUS_CAPLIST_SUPPORT = 0x0010_0000

PCI_MAPREG_TYPE_MEM = 0x0
PCI_MAPREG_TYPE_IO = 0x1
PCI_MAPREG_TYPE_ROM = 0x1  # as a register's type, only of PCI_MAPREG_ROM
PCI_MAPREG_MEM_TYPE_32BIT = 0x0
PCI_MAPREG_MEM_TYPE_64BIT = 0x4
PCI_MAPREG_MEM_TYPE_MASK = 0x6
PCI_MAPREG_MEM_PREFETCHABLE_MASK = 0x8

# bridges (header type 1)
PCI_BRIDGE_BUS_REG = 0x18
PCI_BRIDGE_STATIO_REG = 0x1C
PCI_BRIDGE_MEMORY_REG = 0x20
PCI_BRIDGE_PREFETCHMEM_REG = 0x24
PCI_BRIDGE_PREFETCHBASEUP32_REG = 0x28
PCI_BRIDGE_PREFETCHLIMITUP32_REG = 0x2C
PCI_BRIDGE_IOHIGH_REG = 0x30
PCI_BRIDGE_CONTROL_REG = 0x3C

PCI_CAP_RESERVED0 = 0x00
PCI_CAP_PWRMGMT = 0x01
PCI_CAP_AGP = 0x02
PCI_CAP_VPD = 0x03
PCI_CAP_SLOTID = 0x04
PCI_CAP_MSI = 0x05
PCI_CAP_CPCI_HOTSWAP = 0x06
PCI_CAP_PCIX = 0x07
PCI_CAP_LDT = 0x08
PCI_CAP_VENDSPEC = 0x09
PCI_CAP_DEBUGPORT = 0x0A
PCI_CAP_CPCI_RSRCCTL = 0x0B
PCI_CAP_HOTPLUG = 0x0C
PCI_CAP_SUBVENDOR = 0x0D
PCI_CAP_AGP8 = 0x0E
PCI_CAP_SECURE = 0x0F
PCI_CAP_PCIEXPRESS = 0x10
PCI_CAP_MSIX = 0x11
PCI_CAP_SATA = 0x12
PCI_CAP_PCIAF = 0x13
PCI_CAP_EA = 0x14
PCI_CAP_FPB = 0x15

# extended capabilities; the names after SFI are not NetBSD's
PCI_EXTCAP_NULL = 0x0000
PCI_EXTCAP_AER = 0x0001
PCI_EXTCAP_VC = 0x0002
PCI_EXTCAP_SERNUM = 0x0003
PCI_EXTCAP_PWRBDGT = 0x0004
PCI_EXTCAP_RCLINK_DCL = 0x0005
PCI_EXTCAP_RCLINK_CTL = 0x0006
PCI_EXTCAP_RCEC_ASSOC = 0x0007
PCI_EXTCAP_MFVC = 0x0008
PCI_EXTCAP_VC2 = 0x0009
PCI_EXTCAP_RCRB = 0x000A
PCI_EXTCAP_VENDOR = 0x000B
PCI_EXTCAP_CAC = 0x000C
PCI_EXTCAP_ACS = 0x000D
PCI_EXTCAP_ARI = 0x000E
PCI_EXTCAP_ATS = 0x000F
PCI_EXTCAP_SRIOV = 0x0010
PCI_EXTCAP_MRIOV = 0x0011
PCI_EXTCAP_MCAST = 0x0012
PCI_EXTCAP_PAGE_REQ = 0x0013
PCI_EXTCAP_AMD = 0x0014
PCI_EXTCAP_RESIZBAR = 0x0015
PCI_EXTCAP_DPA = 0x0016
PCI_EXTCAP_TPH_REQ = 0x0017
PCI_EXTCAP_LTR = 0x0018
PCI_EXTCAP_SEC_PCIE = 0x0019
PCI_EXTCAP_PMUX = 0x001A
PCI_EXTCAP_PASID = 0x001B
PCI_EXTCAP_LNR = 0x001C
PCI_EXTCAP_DPC = 0x001D
PCI_EXTCAP_L1PM = 0x001E
PCI_EXTCAP_PTM = 0x001F
PCI_EXTCAP_MPCIE = 0x0020
PCI_EXTCAP_FRSQ = 0x0021
PCI_EXTCAP_RTR = 0x0022
PCI_EXTCAP_DESIGVNDSP = 0x0023
PCI_EXTCAP_VF_RESIZBAR = 0x0024
PCI_EXTCAP_DLF = 0x0025
PCI_EXTCAP_PL16G = 0x0026
PCI_EXTCAP_LMR = 0x0027
PCI_EXTCAP_HIERARCHYID = 0x0028
PCI_EXTCAP_NPEM = 0x0029
PCI_EXTCAP_PL32G = 0x002A
PCI_EXTCAP_AP = 0x002B
PCI_EXTCAP_SFI = 0x002C
PCI_EXTCAP_SHADOW = 0x002D
PCI_EXTCAP_DOE = 0x002E
PCI_EXTCAP_DEV3 = 0x002F
PCI_EXTCAP_IDE = 0x0030
PCI_EXTCAP_PL64G = 0x0031
PCI_EXTCAP_FLIT_LOG = 0x0032
PCI_EXTCAP_FLIT_PERF = 0x0033
PCI_EXTCAP_FLIT_ERRINJ = 0x0034
PCI_EXTCAP_SVC = 0x0035
PCI_EXTCAP_MMIO_RBL = 0x0036

PCI_PWR_D0, PCI_PWR_D1, PCI_PWR_D2, PCI_PWR_D3 = 0, 1, 2, 3
PCI_PMCSR = 0x04
PCI_PMCSR_STATE_MASK = 0x03

PCI_VPD_OPFLAG = 0x8000_0000
PCI_VPD_ADDRESS_SHIFT = 16
PCI_VPD_ADDRESS_MASK = 0x7FFF
PCI_VPD_DATAREG = 0x04

PCI_MSIX_TBLOFFSET = 0x04
PCI_MSIX_TBLBIR_MASK = 0x7


def PCI_VENDOR(id_reg: int) -> int:  # noqa: N802
    """The vendor in PCI_ID_REG."""
    return id_reg & 0xFFFF


def PCI_PRODUCT(id_reg: int) -> int:  # noqa: N802
    """The product in PCI_ID_REG."""
    return id_reg >> 16


def PCI_CLASS(class_reg: int) -> int:  # noqa: N802
    """The base class in PCI_CLASS_REG."""
    return class_reg >> 24


def PCI_SUBCLASS(class_reg: int) -> int:  # noqa: N802
    """The subclass in PCI_CLASS_REG."""
    return class_reg >> 16 & 0xFF


def PCI_INTERFACE(class_reg: int) -> int:  # noqa: N802
    """The programming interface in PCI_CLASS_REG."""
    return class_reg >> 8 & 0xFF


def PCI_REVISION(class_reg: int) -> int:  # noqa: N802
    """The revision in PCI_CLASS_REG."""
    return class_reg & 0xFF


def PCI_HDRTYPE_TYPE(bhlc_reg: int) -> int:  # noqa: N802
    """The header type (0 device, 1 PCI-PCI bridge, 2 CardBus bridge) in PCI_BHLC_REG."""
    return bhlc_reg >> 16 & 0x7F


def PCI_HDRTYPE_MULTIFN(bhlc_reg: int) -> bool:  # noqa: N802
    """Whether PCI_BHLC_REG says that the device has further functions."""
    return bool(bhlc_reg & 0x0080_0000)


class PCI_ID(Register, offset=0x00, access=RO, section="6.2.1"):
    """Device identification."""

    PRODUCT = Field(31, 16)
    VENDOR = Field(15, 0)


class PCI_COMMAND_STATUS(Register, offset=0x04, section="6.2.2, 6.2.3"):
    """Command (low half) and status (high half)."""

    IO_ENABLE = Field(0)
    MEM_ENABLE = Field(1)
    MASTER_ENABLE = Field(2)
    SPECIAL_ENABLE = Field(3)
    INVALIDATE_ENABLE = Field(4)
    PALETTE_ENABLE = Field(5)
    PARITY_ENABLE = Field(6)
    STEPPING_ENABLE = Field(7)
    SERR_ENABLE = Field(8)
    BACKTOBACK_ENABLE = Field(9)
    INTERRUPT_DISABLE = Field(10)
    INTERRUPT_STATUS = Field(19, access=RO)
    CAPLIST_SUPPORT = Field(20, access=RO)
    SUPPORT_66MHZ = Field(21, access=RO)
    BACKTOBACK_SUPPORT = Field(23, access=RO)
    MASTER_PARITY = Field(24, access=W1C)
    DEVSEL = Field(26, 25, access=RO, values={0: "fast", 1: "medium", 2: "slow"})
    TARGET_TARGET_ABORT = Field(27, access=W1C)
    MASTER_TARGET_ABORT = Field(28, access=W1C)
    MASTER_ABORT = Field(29, access=W1C)
    SPECIAL_ERROR = Field(30, access=W1C)
    PARITY_ERROR = Field(31, access=W1C)


class PCI_CLASSREV(Register, offset=0x08, access=RO, section="6.2.1"):
    """Class code and revision."""

    CLASS = Field(31, 24)
    SUBCLASS = Field(23, 16)
    INTERFACE = Field(15, 8)
    REVISION = Field(7, 0)


class PCI_BHLC(Register, offset=0x0C, section="6.2.1, 6.2.4"):
    """Built-in self test, header type, latency timer, cache line size."""

    BIST = Field(31, 24)
    MULTIFN = Field(23, access=RO)
    HDRTYPE = Field(22, 16, access=RO, values={0: "device", 1: "PCI-PCI bridge", 2: "CardBus"})
    LATTIMER = Field(15, 8)
    CACHELINE = Field(7, 0)


class PCI_CARDBUS_CIS(Register, offset=0x28, access=RO, section="6.2.5"):
    """CardBus CIS pointer."""


class PCI_SUBSYS_ID(Register, offset=0x2C, access=RO, section="6.2.4"):
    """Subsystem identification."""

    PRODUCT = Field(31, 16)
    VENDOR = Field(15, 0)


class PCI_ROM(Register, offset=0x30, section="6.2.5.2"):
    """Expansion ROM base address."""

    ADDRESS = Field(31, 11)
    ENABLE = Field(0)


class PCI_CAPLISTPTR(Register, offset=0x34, access=RO, section="6.7"):
    """Where the list of capabilities starts."""

    POINTER = Field(7, 0)


class PCI_INTERRUPT(Register, offset=0x3C, access=RW, section="6.2.4"):
    """Interrupt line and pin."""

    MAX_LATENCY = Field(31, 24, access=RO)
    MIN_GRANT = Field(23, 16, access=RO)
    PIN = Field(15, 8, access=RO, values={0: "none", 1: "A", 2: "B", 3: "C", 4: "D"})
    LINE = Field(7, 0)


class PCI_BRIDGE_BUS(Register, offset=0x18, section="PCI-PCI bridge 1.2, 3.2.5"):
    """Bus numbers of a bridge."""

    LATTIMER = Field(31, 24)
    SUBORDINATE = Field(23, 16)
    SECONDARY = Field(15, 8)
    PRIMARY = Field(7, 0)


class PCI_BRIDGE_STATIO(Register, offset=0x1C, section="PCI-PCI bridge 1.2, 3.2.5.6"):
    """Secondary status, and the low part of the I/O window in units of 4 KiB."""

    LIMIT = Field(15, 12)
    LIMIT_TYPE = Field(11, 8, access=RO)
    BASE = Field(7, 4)
    BASE_TYPE = Field(3, 0, access=RO)


class PCI_BRIDGE_MEMORY(Register, offset=0x20, section="PCI-PCI bridge 1.2, 3.2.5.8"):
    """The memory window, in units of 1 MiB."""

    LIMIT = Field(31, 20)
    BASE = Field(15, 4)


class PCI_BRIDGE_PREFETCHMEM(Register, offset=0x24, section="PCI-PCI bridge 1.2, 3.2.5.9"):
    """The low part of the prefetchable window, in units of 1 MiB."""

    LIMIT = Field(31, 20)
    LIMIT_TYPE = Field(19, 16, access=RO, values={0: "32-bit", 1: "64-bit"})
    BASE = Field(15, 4)
    BASE_TYPE = Field(3, 0, access=RO, values={0: "32-bit", 1: "64-bit"})


HEADER: dict[int, tuple[type[Register], ...]] = {
    0: (
        PCI_ID, PCI_COMMAND_STATUS, PCI_CLASSREV, PCI_BHLC, PCI_CARDBUS_CIS, PCI_SUBSYS_ID,
        PCI_ROM, PCI_CAPLISTPTR, PCI_INTERRUPT,
    ),
    1: (
        PCI_ID, PCI_COMMAND_STATUS, PCI_CLASSREV, PCI_BHLC, PCI_BRIDGE_BUS, PCI_BRIDGE_STATIO,
        PCI_BRIDGE_MEMORY, PCI_BRIDGE_PREFETCHMEM, PCI_CAPLISTPTR, PCI_INTERRUPT,
    ),
}  # fmt: skip
"""The header's registers by header type, in the order of their offsets (BARs apart)."""
