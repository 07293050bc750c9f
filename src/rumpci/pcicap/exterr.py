"""Registers of the extended capabilities for errors: advanced reporting, and containment.

Offsets are in bytes from the start of the capability.  Sections are those of
the PCI Express Base Specification 5.0; bits from 6.0 are in as well.
"""

from __future__ import annotations

from rumpci.pcicap.declare import PCI_EXTCAPLIST, Read, Registers, placed
from rumpci.regs import RO, W1C, Field, Register


class PCI_AER(PCI_EXTCAPLIST, offset=0x00, access=RO, section="7.8.4.1"):
    """Advanced error reporting."""


class PCI_AER_UC_STATUS(Register, offset=0x04, access=W1C, section="7.8.4.2"):
    """Uncorrectable errors detected."""

    UNDEFINED = Field(0)
    DL_PROTOCOL_ERROR = Field(4)
    SURPRISE_DOWN_ERROR = Field(5)
    POISONED_TLP = Field(12)
    FC_PROTOCOL_ERROR = Field(13)
    COMPLETION_TIMEOUT = Field(14)
    COMPLETER_ABORT = Field(15)
    UNEXPECTED_COMPLETION = Field(16)
    RECEIVER_OVERFLOW = Field(17)
    MALFORMED_TLP = Field(18)
    ECRC_ERROR = Field(19)
    UNSUPPORTED_REQUEST_ERROR = Field(20)
    ACS_VIOLATION = Field(21)
    INTERNAL_ERROR = Field(22)
    MC_BLOCKED_TLP = Field(23)
    ATOMIC_OP_EGRESS_BLOCKED = Field(24)
    TLP_PREFIX_BLOCKED_ERROR = Field(25)
    POISONTLP_EGRESS_BLOCKED = Field(26)
    DMWR_EGRESS_BLOCKED = Field(27)
    IDE_CHECK_FAILED = Field(28)
    MISROUTED_IDE_TLP = Field(29)
    PCRC_CHECK_FAILED = Field(30)


class PCI_AER_UC_MASK(PCI_AER_UC_STATUS, offset=0x08, section="7.8.4.3"):
    """Uncorrectable errors that are not reported."""


class PCI_AER_UC_SEVERITY(PCI_AER_UC_STATUS, offset=0x0C, section="7.8.4.4"):
    """Uncorrectable errors that are fatal."""


class PCI_AER_COR_STATUS(Register, offset=0x10, access=W1C, section="7.8.4.5"):
    """Correctable errors detected."""

    RECEIVER_ERROR = Field(0)
    BAD_TLP = Field(6)
    BAD_DLLP = Field(7)
    REPLAY_NUM_ROLLOVER = Field(8)
    REPLAY_TIMER_TIMEOUT = Field(12)
    ADVISORY_NF_ERROR = Field(13)
    INTERNAL_ERROR = Field(14)
    HEADER_LOG_OVERFLOW = Field(15)


class PCI_AER_COR_MASK(PCI_AER_COR_STATUS, offset=0x14, section="7.8.4.6"):
    """Correctable errors that are not reported."""


class PCI_AER_CAP_CONTROL(Register, offset=0x18, section="7.8.4.7"):
    """What error reporting can do, and which error came first."""

    FIRST_ERROR_PTR = Field(4, 0, access=RO)
    ECRC_GEN_CAPABLE = Field(5, access=RO)
    ECRC_GEN_ENABLE = Field(6)
    ECRC_CHECK_CAPABLE = Field(7, access=RO)
    ECRC_CHECK_ENABLE = Field(8)
    MULT_HDR_CAPABLE = Field(9, access=RO)
    MULT_HDR_ENABLE = Field(10)
    TLP_PREFIX_LOG_PRESENT = Field(11, access=RO)
    COMPTOUTPRFXHDRLOG_CAP = Field(12, access=RO)


class PCI_AER_HEADER_LOG(Register, offset=0x1C, access=RO, count=4, section="7.8.4.8"):
    """Header of the packet with the first error."""


class PCI_AER_ROOTERR_CMD(Register, offset=0x2C, section="7.8.4.9"):
    """Which errors interrupt; of root ports and event collectors only."""

    COR_ENABLE = Field(0)
    NF_ENABLE = Field(1)
    F_ENABLE = Field(2)


class PCI_AER_ROOTERR_STATUS(Register, offset=0x30, access=W1C, section="7.8.4.10"):
    """Error messages received; of root ports and event collectors only."""

    COR_ERR = Field(0)
    MULTI_COR_ERR = Field(1)
    UC_ERR = Field(2)
    MULTI_UC_ERR = Field(3)
    FIRST_UC_FATAL = Field(4)
    NF_ERR = Field(5)
    F_ERR = Field(6)
    INT_MESSAGE = Field(31, 27, access=RO)


class PCI_AER_ERRSRC_ID(Register, offset=0x34, access=RO, section="7.8.4.11"):
    """Who sent the messages; of root ports and event collectors only."""

    ERR_COR = Field(15, 0)
    ERR_UC = Field(31, 16)


class PCI_AER_TLP_PREFIX_LOG(Register, offset=0x38, access=RO, count=4, section="7.8.4.12"):
    """Prefixes of the packet with the first error."""


AER_REGISTERS: Registers = (
    PCI_AER, PCI_AER_UC_STATUS, PCI_AER_UC_MASK, PCI_AER_UC_SEVERITY, PCI_AER_COR_STATUS,
    PCI_AER_COR_MASK, PCI_AER_CAP_CONTROL, PCI_AER_HEADER_LOG, PCI_AER_ROOTERR_CMD,
    PCI_AER_ROOTERR_STATUS, PCI_AER_ERRSRC_ID, PCI_AER_TLP_PREFIX_LOG,
)  # fmt: skip


def aer_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """All registers but the log of prefixes, which needs version 2 (7.8.4.1).

    The root registers are always there: the capability does not tell the type of port.
    """
    return AER_REGISTERS if PCI_AER(read(0)).VERSION >= 2 else AER_REGISTERS[:-1]


class PCI_DPC(PCI_EXTCAPLIST, offset=0x00, access=RO, section="7.9.15.1"):
    """Downstream port containment."""


class PCI_DPC_CCR(Register, offset=0x04, section="7.9.15.2, 7.9.15.3"):
    """What containment can do (low half) and control (high half); logs are in dwords."""

    IMSGN = Field(4, 0, access=RO)
    RPEXT = Field(5, access=RO)
    POISONTLPEB_CAP = Field(6, access=RO)
    SWTRIG_CAP = Field(7, access=RO)
    RPPIOLOGSZ = Field(11, 8, access=RO)
    DLACTECORS = Field(12, access=RO)
    TRIGEN = Field(17, 16, values={0: "off", 1: "fatal", 2: "non-fatal or fatal"})
    COMPCTL = Field(18)
    IE = Field(19)
    ERRCOREN = Field(20)
    POISONTLPEB = Field(21)
    SWTRIG = Field(22)
    DLACTECOR = Field(23)


class PCI_DPC_STATESID(Register, offset=0x08, section="7.9.15.4, 7.9.15.5"):
    """Why containment set in, and (high half) whose message was the cause."""

    TSTAT = Field(0, access=W1C)
    TREASON = Field(
        2, 1, access=RO,
        values={0: "uncorrectable error", 1: "non-fatal", 2: "fatal", 3: "see extension"},
    )  # fmt: skip
    ISTAT = Field(3, access=W1C)
    RPBUSY = Field(4, access=RO)
    TRIGREXT = Field(6, 5, access=RO, values={0: "RP PIO error", 1: "software"})
    RPPIOFEP = Field(12, 8, access=RO)
    ESID = Field(31, 16, access=RO)


class PCI_DPC_RPPIO_STAT(Register, offset=0x0C, access=W1C, section="7.9.15.6"):
    """Errors of the root port's own requests."""

    CFGUR_CPL = Field(0)
    CFGCA_CPL = Field(1)
    CFG_CTO = Field(2)
    IOUR_CPL = Field(8)
    IOCA_CPL = Field(9)
    IO_CTO = Field(10)
    MEMUR_CPL = Field(16)
    MEMCA_CPL = Field(17)
    MEM_CTO = Field(18)


class PCI_DPC_RPPIO_MASK(PCI_DPC_RPPIO_STAT, offset=0x10, section="7.9.15.7"):
    """Errors of its requests that do not trigger."""


class PCI_DPC_RPPIO_SEVE(PCI_DPC_RPPIO_STAT, offset=0x14, section="7.9.15.8"):
    """Errors of its requests that are uncorrectable."""


class PCI_DPC_RPPIO_SYSERR(PCI_DPC_RPPIO_STAT, offset=0x18, section="7.9.15.9"):
    """Errors of its requests that are system errors."""


class PCI_DPC_RPPIO_EXCPT(PCI_DPC_RPPIO_STAT, offset=0x1C, section="7.9.15.10"):
    """Errors of its requests that are exceptions for the processor."""


class PCI_DPC_RPPIO_HLOG(Register, offset=0x20, access=RO, count=4, section="7.9.15.11"):
    """Header of the request that failed."""


class PCI_DPC_RPPIO_IMPSLOG(Register, offset=0x30, access=RO, section="7.9.15.12"):
    """Whatever else the root port logs."""


class PCI_DPC_RPPIO_TLPPLOG(Register, offset=0x34, access=RO, count=4, section="7.9.15.13"):
    """Prefixes of the request that failed."""


DPC_REGISTERS: Registers = (
    PCI_DPC, PCI_DPC_CCR, PCI_DPC_STATESID, PCI_DPC_RPPIO_STAT, PCI_DPC_RPPIO_MASK,
    PCI_DPC_RPPIO_SEVE, PCI_DPC_RPPIO_SYSERR, PCI_DPC_RPPIO_EXCPT, PCI_DPC_RPPIO_HLOG,
    PCI_DPC_RPPIO_IMPSLOG, PCI_DPC_RPPIO_TLPPLOG,
)  # fmt: skip


def dpc_layout(read: Read, bridge: bool) -> Registers:  # noqa: ARG001
    """With a root port's registers if it has them, and its logs as far as they go (7.9.15)."""
    can = PCI_DPC_CCR(read(PCI_DPC_CCR.offset))
    if not can.RPEXT:
        return DPC_REGISTERS[:3]
    present = DPC_REGISTERS[:8]
    if can.RPPIOLOGSZ >= 4:
        present += (PCI_DPC_RPPIO_HLOG,)
    if can.RPPIOLOGSZ >= 5:
        present += (PCI_DPC_RPPIO_IMPSLOG,)
    prefixes = min(can.RPPIOLOGSZ - 5, PCI_DPC_RPPIO_TLPPLOG.count)
    return present + ((placed(PCI_DPC_RPPIO_TLPPLOG, count=prefixes),) if prefixes > 0 else ())
