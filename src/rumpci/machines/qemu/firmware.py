"""The firmware: 64 KiB at the end of the first 4 GiB, holding the relay of relay.S.

`CODE` is what an assembler makes of relay.S up to its tables; the tables are
made here.  A test assembles relay.S and compares the whole image.
"""

from __future__ import annotations

import struct

SIZE = 0x10000

# what relay.S and Python agree on (its .set lines)
AWAKE, READY, COUNTS, WANT, ENTRY = 0x500, 0x504, 0x1000, 0x1400, 0x1480
PORT, APPLY, LINES, PINS, MASKED = 0xE9, 0x20, 0x30, 24, 0x10000

# the rest of low RAM, which the relay does not touch
IRTES, INV_QUEUE, INV_DONE = 0x8000, 0x9000, 0xA000  # the IOMMU's: entries, descriptors, a word
FAULT = 0xF0  # the vector of the IOMMU's fault event: above every device's

_STUBS, _IDT, _BASE_HIGH = 0x2000, 0x4000, 0xFFFF
_COMMON = 0x50
_RESET = 0xFFF0

CODE = bytes.fromhex(
    "fa8cc88ed8660f01162801660f011e2e010f20c06683c8010f22c066ea2300ffff080066b810008ed88ec08e"
    "d0bc00700000c705f000e0feff010000c7058000e0fe00000000fbf4ebfd8db4000066905051528b44240c83"
    "f82074578d48d083f9187305e829000000ff048500100000b80100000087050005000085c07502e6e9c705b0"
    "00e0fe000000005a595883c404cf8d144d1000000089150000c0fe8b14cd8014000081ca0000010089151000"
    "c0fec3c705040500000100000031c931c087048d0014000085c074348d144d1100000089150000c0fe8b14cd"
    "8414000089151000c0fe8d144d1000000089150000c0fe8b14cd8014000089151000c0fe4183f91872b9e976"
    "ffffff8db40000900000000000000000ffff0000009bcf00ffff00000093cf0017001001ffffff070040ffff"
)


def image() -> bytes:
    """The whole image, as QEMU's -bios takes it."""
    rom = bytearray(SIZE)
    rom[: len(CODE)] = CODE
    for vector in range(256):
        at = _STUBS + 16 * vector
        struct.pack_into("<BIBi", rom, at, 0x68, vector, 0xE9, _COMMON - (at + 10))
        gate = _STUBS + 16 * vector, 8, 0, 0x8E, _BASE_HIGH
        struct.pack_into("<HHBBH", rom, _IDT + 8 * vector, *gate)
    struct.pack_into("<BH", rom, _RESET, 0xE9, -(_RESET + 3) & 0xFFFF)
    return bytes(rom)
