"""NVM Express 1.4: the data structures that commands transfer, each field declared once.

    identify = IdentifyController(data)
    identify.SN, identify.MDTS

Sections are those of the base specification.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Self, overload

from rumpci.errors import BadRange

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Structure:
    """Bytes that know their members; subclass with `size` in bytes."""

    size: ClassVar[int] = 0

    def __init_subclass__(cls, *, size: int) -> None:
        super().__init_subclass__()
        cls.size = size
        for name, member in cls.members().items():
            if member.offset + member.size > size:
                raise ValueError(f"member {cls.__name__}.{name} ends outside {size} bytes")

    def __init__(self, data: Buffer) -> None:
        """A copy of the data's first `size` bytes.  Raises BadRange (EINVAL) if it has fewer."""
        self.data = bytes(data)[: self.size]
        if len(self.data) < self.size:
            raise BadRange(
                f"{type(self).__name__} of {len(self.data)} bytes",
                f"it has {self.size}",
                "transfer all of it",
            )

    @classmethod
    def members(cls) -> dict[str, Member]:
        """Every declared member by its name, in the order of declaration."""
        return {name: m for name, m in vars(cls).items() if isinstance(m, Member)}


class Member:
    """A little-endian unsigned number of `size` bytes at `offset` (bytes) of a structure."""

    def __init__(self, offset: int, size: int) -> None:
        self.offset, self.size = offset, size

    @overload
    def __get__(self, value: None, owner: type) -> Self: ...
    @overload
    def __get__(self, value: Structure, owner: type) -> int: ...
    def __get__(self, value: Structure | None, owner: type) -> Self | int:
        if value is None:
            return self
        return int.from_bytes(value.data[self.offset : self.offset + self.size], "little")


class Text(Member):
    """ASCII text of `size` bytes at `offset`, padded with spaces.  1.5."""

    @overload  # type: ignore[override]
    def __get__(self, value: None, owner: type) -> Self: ...
    @overload
    def __get__(self, value: Structure, owner: type) -> str: ...
    def __get__(self, value: Structure | None, owner: type) -> Self | str:
        if value is None:
            return self
        raw = value.data[self.offset : self.offset + self.size]
        text = raw.decode("ascii", "replace").strip(" \0")
        return "".join(c if c.isprintable() else "?" for c in text)


class IdentifyController(Structure, size=4096):
    """Identify Controller data.  5.15.2.2, figure 247.

    MDTS is the largest transfer, as a power of two in units of the smallest page
    (CAP.MPSMIN); 0: no limit.  NN is the highest namespace id.
    """

    VID = Member(0, 2)
    SSVID = Member(2, 2)
    SN = Text(4, 20)
    MN = Text(24, 40)
    FR = Text(64, 8)
    MDTS = Member(77, 1)
    CNTLID = Member(78, 2)
    VER = Member(80, 4)
    ACL = Member(258, 1)
    SQES = Member(512, 1)
    CQES = Member(513, 1)
    NN = Member(516, 4)
    ONCS = Member(520, 2)
    VWC = Member(525, 1)

    ONCS_DSM = 1 << 2
    ONCS_WRITE_ZEROES = 1 << 3


class IdentifyNamespace(Structure, size=4096):
    """Identify Namespace data.  5.15.2.1, figure 245.  NSZE, NCAP, NUSE in blocks."""

    NSZE = Member(0, 8)
    NCAP = Member(8, 8)
    NUSE = Member(16, 8)
    NSFEAT = Member(24, 1)
    NLBAF = Member(25, 1)
    FLBAS = Member(26, 1)
    DPS = Member(29, 1)
    NSATTR = Member(99, 1)

    LBAF = 128  # the first LBA format; each is LbaFormat.size bytes

    def lbaf(self) -> LbaFormat:
        """The LBA format that the namespace is formatted with."""
        at = self.LBAF + (self.FLBAS & 0xF) * LbaFormat.size
        return LbaFormat(self.data[at : at + LbaFormat.size])

    @property
    def write_protected(self) -> bool:
        """Whether writes are refused now.  NSATTR bit 0."""
        return bool(self.NSATTR & 1)


class LbaFormat(Structure, size=4):
    """An LBA format: metadata bytes, and the block's size as a power of two.  Figure 246."""

    MS = Member(0, 2)
    LBADS = Member(2, 1)


class HealthLog(Structure, size=512):
    """SMART / Health Information log page.  5.14.1.2, figure 196.

    TEMPERATURE in kelvin; DATA_UNITS_* in thousands of 512 bytes; times in hours.
    """

    CRITICAL_WARNING = Member(0, 1)
    TEMPERATURE = Member(1, 2)
    AVAILABLE_SPARE = Member(3, 1)
    PERCENTAGE_USED = Member(5, 1)
    DATA_UNITS_READ = Member(32, 16)
    DATA_UNITS_WRITTEN = Member(48, 16)
    HOST_READS = Member(64, 16)
    HOST_WRITES = Member(80, 16)
    POWER_CYCLES = Member(112, 16)
    POWER_ON_HOURS = Member(128, 16)
    UNSAFE_SHUTDOWNS = Member(144, 16)
    MEDIA_ERRORS = Member(160, 16)


DSM_RANGE = struct.Struct("<IIQ")
"""A range of Dataset Management: attributes, blocks, first block.  6.7, figure 365."""
DSM_RANGE_BLOCKS = 0xFFFF_FFFF
"""The most blocks that one range can name."""


def active_namespaces(data: Buffer) -> list[int]:
    """The namespace ids of an active namespace list: up to the first 0.  5.15.2.3."""
    ids = [nsid for (nsid,) in struct.iter_unpack("<I", bytes(data))]
    return ids[: ids.index(0)] if 0 in ids else ids
