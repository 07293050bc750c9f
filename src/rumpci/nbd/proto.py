"""The NBD protocol: its numbers and structs, by the names of its document (doc/proto.md).

Everything is big-endian.
"""

from __future__ import annotations

import enum
import struct

NBDMAGIC = 0x4E42_444D_4147_4943
IHAVEOPT = 0x4948_4156_454F_5054
OPTION_REPLY_MAGIC = 0x0003_E889_0455_65A9
REQUEST_MAGIC = 0x2560_9513
SIMPLE_REPLY_MAGIC = 0x6744_6698

GREETING = struct.Struct(">QQH")
"""NBDMAGIC, IHAVEOPT, handshake flags."""
CLIENT_FLAGS = struct.Struct(">I")
OPTION = struct.Struct(">QII")
"""IHAVEOPT, option, bytes of data that follow."""
OPTION_REPLY = struct.Struct(">QIII")
"""OPTION_REPLY_MAGIC, option, kind of reply, bytes of data that follow."""
EXPORT_REPLY = struct.Struct(">QH")
"""What answers EXPORT_NAME: size, transmission flags; then EXPORT_ZEROES zeros if not agreed."""
EXPORT_ZEROES = 124
INFO_EXPORT = struct.Struct(">HQH")
"""Info.EXPORT, size, transmission flags."""
INFO_BLOCK_SIZE = struct.Struct(">HIII")
"""Info.BLOCK_SIZE, smallest, preferred and largest request, in bytes."""
REQUEST = struct.Struct(">IHHQQI")
"""REQUEST_MAGIC, command flags, command, cookie, offset, length."""
REPLY = struct.Struct(">IIQ")
"""SIMPLE_REPLY_MAGIC, error, cookie; then a read's data if there is no error."""

MAX_REQUEST = 32 << 20
"""The most bytes that a read or write may carry: what clients may assume without being told."""
MAX_OPTION = 64 << 10
"""The most bytes of data that an option may carry; names are at most 4096."""


class Handshake(enum.IntFlag):
    """Handshake flags; the client's have the same bits."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Flag(enum.IntFlag):
    """Transmission flags: what the export can do."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    CAN_MULTI_CONN = 1 << 8


class Option(enum.IntEnum):
    """The options that are understood."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7


class Rep(enum.IntEnum):
    """Kinds of replies to options; from ERR_UNSUP on errors, whose data is a text."""

    ACK = 1
    SERVER = 2
    INFO = 3
    ERR_UNSUP = (1 << 31) + 1
    ERR_INVALID = (1 << 31) + 3
    ERR_UNKNOWN = (1 << 31) + 6
    ERR_TOO_BIG = (1 << 31) + 9


class Info(enum.IntEnum):
    """Kinds of Rep.INFO."""

    EXPORT = 0
    BLOCK_SIZE = 3


class Cmd(enum.IntEnum):
    """The commands that are understood."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class CmdFlag(enum.IntFlag):
    """Command flags that are understood."""

    FUA = 1
    NO_HOLE = 2


class Error(enum.IntEnum):
    """Error numbers of replies; they are the protocol's, whatever the system's are."""

    NONE = 0
    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    ENOTSUP = 95
