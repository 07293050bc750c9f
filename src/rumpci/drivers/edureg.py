"""QEMU's educational device: BAR0.  Source: QEMU, docs/specs/edu.rst, "MMIO area spec"."""

from __future__ import annotations

from rumpci.regs import RO, RW, WO, Field, Register

EDU_VENDOR, EDU_PRODUCT = 0x1234, 0x11E8
EDU_SIZE = 0x100
EDU_DMA_BUFFER, EDU_DMA_BUFFER_SIZE = 0x40000, 4096
"""The device's own buffer, as EDU_DMA_SRC and EDU_DMA_DST have it."""
EDU_DMA_MAX = EDU_DMA_BUFFER_SIZE - 1
"""The buffer's last byte is out of reach: QEMU 7.2 ends at a transfer that touches it."""
EDU_DMA_MASK = (1 << 28) - 1
"""The bus addresses that the device can put out."""
EDU_ID_VALUE = 0x0100_00ED


class EDU_ID(Register, offset=0x00, access=RO, section="edu.rst, 0x00"):
    """Identification."""

    MAJOR = Field(31, 24)
    MINOR = Field(23, 16)
    MAGIC = Field(7, 0)


class EDU_LIVENESS(Register, offset=0x04, access=RW, section="edu.rst, 0x04"):
    """Reads as the inverse of what was written."""


class EDU_FACTORIAL(Register, offset=0x08, access=RW, section="edu.rst, 0x08"):
    """Write n, wait until EDU_STATUS.COMPUTING is clear, read n! modulo 2**32."""


class EDU_STATUS(Register, offset=0x20, access=RW, section="edu.rst, 0x20"):
    """Status."""

    COMPUTING = Field(0, access=RO)
    IRQFACT = Field(7)


class EDU_INTR_STATUS(Register, offset=0x24, access=RO, section="edu.rst, 0x24"):
    """What raised the interrupt: the factorial, DMA, or bits of EDU_INTR_RAISE."""

    FACTORIAL = Field(0)
    DMA = Field(8)


class EDU_INTR_RAISE(Register, offset=0x60, access=WO, section="edu.rst, 0x60"):
    """Raise an interrupt; the value is put into EDU_INTR_STATUS."""


class EDU_INTR_ACK(Register, offset=0x64, access=WO, section="edu.rst, 0x64"):
    """Clear bits of EDU_INTR_STATUS."""


class EDU_DMA_SRC(Register, offset=0x80, width=8, access=RW, section="edu.rst, 0x80"):
    """Where DMA reads: a bus address, or one in the device's buffer."""


class EDU_DMA_DST(Register, offset=0x88, width=8, access=RW, section="edu.rst, 0x88"):
    """Where DMA writes: a bus address, or one in the device's buffer."""


class EDU_DMA_CNT(Register, offset=0x90, width=8, access=RW, section="edu.rst, 0x90"):
    """Bytes to transfer."""


class EDU_DMA_CMD(Register, offset=0x98, width=8, access=RW, section="edu.rst, 0x98"):
    """RUN starts a transfer, and is clear when it is done."""

    RUN = Field(0)
    TO_RAM = Field(1)  # 0: RAM to the device
    IRQ = Field(2)  # raise EDU_INTR_STATUS.DMA when done
