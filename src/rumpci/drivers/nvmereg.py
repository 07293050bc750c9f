"""NVM Express 1.4: registers, queue entries, commands.  Sections are the base specification's.

A command's dwords are declared as registers are: a value that knows its fields.
The data structures that commands transfer are in nvmedata.py.
"""

from __future__ import annotations

import enum
import struct

from rumpci.regs import RO, RW, WO, Field, Register

NVME_REGS_SIZE = 0x1000
"""The controller's registers; its doorbells follow them."""

# ---- controller registers: 3.1 -----------------------------------------------------------


class NVME_CAP(Register, offset=0x00, width=8, access=RO, section="3.1.1"):
    """Controller capabilities.  TO in units of 500 ms; MQES is 0's based."""

    MPSMAX = Field(55, 52)
    MPSMIN = Field(51, 48)
    CSS_NVM = Field(37)
    NSSRS = Field(36)
    DSTRD = Field(35, 32)
    TO = Field(31, 24)
    AMS = Field(18, 17)
    CQR = Field(16)
    MQES = Field(15, 0)


class NVME_VS(Register, offset=0x08, access=RO, section="3.1.2"):
    """Version."""

    MJR = Field(31, 16)
    MNR = Field(15, 8)
    TER = Field(7, 0)


class NVME_INTMS(Register, offset=0x0C, access=RW, section="3.1.3"):
    """Write ones to mask vectors of INTx and MSI; not to be used with MSI-X."""


class NVME_INTMC(Register, offset=0x10, access=RW, section="3.1.4"):
    """Write ones to unmask vectors of INTx and MSI; not to be used with MSI-X."""


class NVME_CC(Register, offset=0x14, access=RW, section="3.1.5"):
    """Controller configuration.  Entry sizes are powers of two, MPS is 2 ** (12 + MPS) bytes."""

    IOCQES = Field(23, 20)
    IOSQES = Field(19, 16)
    SHN = Field(15, 14, values={0: "none", 1: "normal", 2: "abrupt"})
    AMS = Field(13, 11)
    MPS = Field(10, 7)
    CSS = Field(6, 4)
    EN = Field(0)


class NVME_CSTS(Register, offset=0x1C, access=RO, section="3.1.6"):
    """Controller status."""

    PP = Field(5)
    NSSRO = Field(4)
    SHST = Field(3, 2, values={0: "normal", 1: "shutting down", 2: "shut down"})
    CFS = Field(1)
    RDY = Field(0)


class NVME_AQA(Register, offset=0x24, access=RW, section="3.1.8"):
    """Sizes of the admin queues in entries, 0's based."""

    ACQS = Field(27, 16)
    ASQS = Field(11, 0)


class NVME_ASQ(Register, offset=0x28, width=8, access=RW, section="3.1.9"):
    """Bus address of the admin submission queue."""


class NVME_ACQ(Register, offset=0x30, width=8, access=RW, section="3.1.10"):
    """Bus address of the admin completion queue."""


NVME_REGISTERS: tuple[type[Register], ...] = (
    NVME_CAP, NVME_VS, NVME_INTMS, NVME_INTMC, NVME_CC, NVME_CSTS, NVME_AQA, NVME_ASQ, NVME_ACQ,
)  # fmt: skip
NVME_CSTS_GONE = 0xFFFF_FFFF
"""What the status reads as when no controller answers."""


class NVME_TDBL(Register, offset=0x0, access=WO, section="3.1.24, 3.1.25"):
    """A doorbell, from 1000h on: a submission queue's tail or a completion queue's head."""

    VALUE = Field(15, 0)


def NVME_SQTDBL(qid: int, dstrd: int) -> int:  # noqa: N802
    """Offset of a submission queue's tail doorbell in the doorbells' window.  3.1.24."""
    return 2 * qid * (4 << dstrd)


def NVME_CQHDBL(qid: int, dstrd: int) -> int:  # noqa: N802
    """Offset of a completion queue's head doorbell in the doorbells' window.  3.1.25."""
    return (2 * qid + 1) * (4 << dstrd)


# ---- queue entries: 4.2, 4.6 ---------------------------------------------------------------

NVME_SQE = struct.Struct("<BBHIQQQQ6I")
"""Submission entry: opcode, flags, command id, namespace, dwords 2-3, metadata, PRP1, PRP2,
dwords 10 to 15.  4.2, figure 105."""
NVME_SQE_LBA = 40
"""Where dwords 10 and 11, a read's or write's first block, are in a submission entry."""
NVME_CQE = struct.Struct("<IIHHHH")
"""Completion entry: dword 0, reserved, submission queue head, its id, command id, status.  4.6."""
NVME_SQE_SHIFT, NVME_CQE_SHIFT = 6, 4
"""The entries' sizes as powers of two: what CC.IOSQES and CC.IOCQES are set to."""


class NVME_CQE_FLAGS(Register, offset=14, width=2, access=RO, section="4.6.1"):
    """Status field of a completion entry, with its phase tag."""

    DNR = Field(15)
    M = Field(14)
    SCT = Field(11, 9)
    SC = Field(8, 1)
    P = Field(0)


NVME_STATUS: dict[tuple[int, int], str] = {
    (0, 0x00): "successful completion",
    (0, 0x01): "invalid command opcode",
    (0, 0x02): "invalid field in command",
    (0, 0x03): "command id conflict",
    (0, 0x04): "data transfer error",
    (0, 0x05): "commands aborted due to power loss",
    (0, 0x06): "internal error",
    (0, 0x07): "command abort requested",
    (0, 0x08): "command aborted due to SQ deletion",
    (0, 0x0B): "invalid namespace or format",
    (0, 0x13): "PRP offset invalid",
    (0, 0x20): "namespace is write protected",
    (0, 0x80): "LBA out of range",
    (0, 0x81): "capacity exceeded",
    (0, 0x82): "namespace not ready",
    (1, 0x00): "completion queue invalid",
    (1, 0x01): "invalid queue identifier",
    (1, 0x02): "invalid queue size",
    (1, 0x03): "abort command limit exceeded",
    (1, 0x08): "invalid interrupt vector",
    (1, 0x09): "invalid log page",
    (1, 0x0C): "invalid queue deletion",
    (1, 0x80): "conflicting attributes",
    (1, 0x82): "attempted write to read only range",
    (2, 0x80): "write fault",
    (2, 0x81): "unrecovered read error",
    (2, 0x85): "compare failure",
    (2, 0x86): "access denied",
    (2, 0x87): "deallocated or unwritten logical block",
}
"""Status codes by type and code.  4.6.1.2."""
NVME_SC_ABORT_REQUESTED = 0x07

# ---- commands: 5, 6 --------------------------------------------------------------------------


class AdminOp(enum.IntEnum):
    """Opcodes of admin commands.  5, figure 139."""

    DELETE_IOSQ = 0x00
    CREATE_IOSQ = 0x01
    GET_LOG_PAGE = 0x02
    DELETE_IOCQ = 0x04
    CREATE_IOCQ = 0x05
    IDENTIFY = 0x06
    ABORT = 0x08
    SET_FEATURES = 0x09


class NvmOp(enum.IntEnum):
    """Opcodes of NVM commands.  6, figure 346."""

    FLUSH = 0x00
    WRITE = 0x01
    READ = 0x02
    WRITE_ZEROES = 0x08
    DSM = 0x09


NVME_NSID_ALL = 0xFFFF_FFFF
NVME_FEAT_NUM_QUEUES = 0x07
NVME_LOG_HEALTH = 0x02
NVME_CNS_NAMESPACE, NVME_CNS_CONTROLLER, NVME_CNS_ACTIVE = 0x00, 0x01, 0x02


class NVME_IDENTIFY_10(Register, offset=40, section="5.15"):
    """Identify: what of."""

    CNTID = Field(31, 16)
    CNS = Field(7, 0)


class NVME_LOG_10(Register, offset=40, section="5.14"):
    """Get Log Page: which, and its dwords, 0's based."""

    NUMDL = Field(31, 16)
    RAE = Field(15)
    LID = Field(7, 0)


class NVME_ABORT_10(Register, offset=40, section="5.1"):
    """Abort: which command of which submission queue."""

    CID = Field(31, 16)
    SQID = Field(15, 0)


class NVME_ABORT_RESULT(Register, offset=0, section="5.1.1"):
    """Dword 0 of Abort's completion."""

    NOT_ABORTED = Field(0)


class NVME_IOQ_10(Register, offset=40, section="5.3, 5.4, 5.5, 5.6"):
    """Create and Delete queue: id, and entries, 0's based."""

    QSIZE = Field(31, 16)
    QID = Field(15, 0)


class NVME_IOCQ_11(Register, offset=44, section="5.3"):
    """Create completion queue: its vector, interrupts enabled, physically contiguous."""

    IV = Field(31, 16)
    IEN = Field(1)
    PC = Field(0)


class NVME_IOSQ_11(Register, offset=44, section="5.4"):
    """Create submission queue: its completion queue, physically contiguous."""

    CQID = Field(31, 16)
    QPRIO = Field(2, 1)
    PC = Field(0)


class NVME_NUM_QUEUES(Register, offset=44, section="5.21.1.7"):
    """Number of I/O queues, 0's based: asked for in dword 11, given in the completion's dword 0."""

    NCQ = Field(31, 16)
    NSQ = Field(15, 0)


class NVME_RW_12(Register, offset=48, section="6.9, 6.15, 6.16"):
    """Read, Write, Write Zeroes: how many blocks, 0's based."""

    LR = Field(31)
    FUA = Field(30)
    DEAC = Field(25)
    NLB = Field(15, 0)


class NVME_DSM_10(Register, offset=40, section="6.7"):
    """Dataset Management: how many ranges, 0's based."""

    NR = Field(7, 0)


class NVME_DSM_11(Register, offset=44, section="6.7"):
    """Dataset Management: what of them."""

    AD = Field(2)
    IDW = Field(1)
    IDR = Field(0)


NVME_COMMAND_DWORDS: tuple[type[Register], ...] = (
    NVME_IDENTIFY_10, NVME_LOG_10, NVME_ABORT_10, NVME_ABORT_RESULT, NVME_IOQ_10, NVME_IOCQ_11,
    NVME_IOSQ_11, NVME_NUM_QUEUES, NVME_RW_12, NVME_DSM_10, NVME_DSM_11,
)  # fmt: skip


def status_text(status: int) -> str:
    """A status field without its phase tag (15 bits) in words, as errors show it.  4.6.1."""
    flags = NVME_CQE_FLAGS((status & 0x7FFF) << 1)
    name = NVME_STATUS.get((flags.SCT, flags.SC), "unknown status")
    return f"{name} (type {flags.SCT:#x}, code {flags.SC:#04x})"
