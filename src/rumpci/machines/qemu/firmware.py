"""The firmware: 64 KiB whose reset vector parks the processor for good."""

from __future__ import annotations

SIZE = 0x10000
RESET_VECTOR = 0xFFF0
PARK = bytes((0xFA, 0xF4, 0xEB, 0xFD))  # 1: cli; hlt; jmp 1b+1


def image() -> bytes:
    """The whole image; it is mapped so that it ends at 4 GiB."""
    rom = bytearray(b"\x90" * SIZE)
    rom[RESET_VECTOR : RESET_VECTOR + len(PARK)] = PARK
    return bytes(rom)
