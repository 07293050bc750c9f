"""What requests by chance are made of: values at which something begins or ends.

Where a step takes mostly the first three of these, they are sensible ones.
"""

from __future__ import annotations

from rumpci.shim import Shim
from tests.netbsd.devices import ACK, CAUSES, MSI, MSIX, PCIE, PM, VPD

ANY = (1 << 64) - 1
EDGES = [
    0,
    1,
    2,
    3,
    4,
    8,
    16,
    31,
    32,
    100,
    128,
    160,
    4095,
    4096,
    8192,
    65536,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 63,
    ANY - 4095,
    ANY,
]
ADDRESSES = [8, 8, 16, 16, 24, 32, 40, 40, 48, 0, 56, 9]
REGISTERS = [
    4,
    PM + 4,
    0x10,
    0,
    8,
    0xC,
    0x14,
    0x18,
    0x1C,
    0x20,
    0x24,
    0x28,
    0x30,
    0x34,
    0x3C,
    PM,
    VPD,
    VPD + 4,
    PCIE,
    PCIE + 8,
    MSI,
    MSI + 4,
    MSIX,
    MSIX + 4,
    0x4C,
    0x64,
    0xFC,
    0x100,
    0xFFC,
    0x1000,
    2,
]
DWORDS = [
    7,
    3,
    0xFFFF_FFFF,
    0,
    1,
    2,
    4,
    6,
    0x10,
    0x404,
    0xFFFF,
    0x8003,
    0xFFFF_FFFE,
    0x7FFF_0000,
    0xF900_0407,
]
NAMES = ["x", "nvme0", "a b", "", "ünï", "\n", "a\0b", "y" * 32, "\u200b"]
HOWS = [1, 2, 4, 8, 17, 18, 20, 20, 24, 0, 3, 16, 32]
POSITIONS = [0, 4, 8, 16, 64, 31, 2, 4096, 4092, 0x3FFC, 1 << 31, ANY, ANY - 3]
WINDOWS = [
    (0, 0, 256),
    (0, 0, 0x4000),
    (2, 0, 32),
    (2, 8, 8),
    (3, 0, 0x4000),
    (3, 0x1000, 0x1000),
    (3, 0, 0x1000),
    (3, 0x800, 0x1000),
    (4, 0, 1 << 32),
    (4, 4096, 4096),
    (1, 0, 8),
]
INDICES = [[0, 1], [0, 1, 2, 3], [3, 0], [1], [0, 0], [], [8], [0, 1, 2], list(range(129))]
SIZES = [40960, 8192, 65536, 4096, 1, 12288, 0, 4097, 1 << 20, 1 << 41, ANY]
ALIGNMENTS = [4096, 0, 8192, 65536, 1, 3, 1 << 63]
BOUNDARIES = [0, 0, 65536, 4096, 512, 5]
LOWS = [0, 0, 0, 1 << 33, 1 << 34, ANY]
HIGHS = [ANY, ANY, ANY, 4095, 1 << 32, 1 << 34]
MAXSEGSZ = [ANY, 4096, 1000, 512, 0]
WAYS = [1, 2, 3, 3, 3, 0, 4]
OFFSETS = [0, 4096, 100, 4000, 8192, ANY]
LENGTHS = [4096, 100, 8192, 1, 0, 10000, ANY]
SHIMS = [
    b"",
    Shim().read(4, 0, CAUSES).notz().store(0).write_a(4, 0, ACK).deliver().encode(),
    Shim().read(4, 0, CAUSES).store(3).deliver().encode(),
    Shim().read(4, 0, CAUSES).notours().encode(),
    Shim().read(1, 2, 4).skipz(1).write_a(2, 2, 6).load(1).deliver().encode(),
    Shim().read(4, 3, 0).deliver().encode(),
    Shim().read(4, 3, 4096).write_k(8, 3, 4104, k=ANY).deliver().encode(),
    b"SHIM\1\1\0\0" + bytes(16),
]
