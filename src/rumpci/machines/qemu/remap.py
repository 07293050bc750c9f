"""VT-d interrupt remapping: a device can fire its own vectors and nobody else's.

    device --message with a handle--> IRTE[handle]: vector, and who may use it --> local APIC

The handle of a vector is its number.  An entry names the source that may use
it; the unit compares all sixteen bits of the requester's id.  What QEMU 7.2
does not model: messages in compatibility format still pass (docs/hosts.md).

Source: Intel VT-d specification 3.4, 5.1 (remapping), 6.5.2 (queued
invalidation), 9.10 (IRTE), 10.4 (registers).
"""

from __future__ import annotations

from collections.abc import Callable

from rumpci.host import Address
from rumpci.machines.qemu._wire import Bar, Wire
from rumpci.machines.qemu.patience import wait_until
from rumpci.regs import RO, Field, Register

BASE = 0xFED9_0000
TABLE, QUEUE, DONE = 0x8000, 0x9000, 0xA000  # in RAM: entries, descriptors, a word
IOAPIC_SOURCE = 0xFF00  # bus 0xff, function 0: what QEMU's I/O APIC says it is
ENTRIES = 256
_QUEUE_SLOTS = 256


class VTD_GCMD(Register, offset=0x18, section="10.4.4"):  # noqa: N801
    """Global command: each change is confirmed in VTD_GSTS."""

    QIE = Field(26)
    IRE = Field(25)
    SIRTP = Field(24)


class VTD_GSTS(Register, offset=0x1C, access=RO, section="10.4.5"):  # noqa: N801
    """Global status."""

    QIES = Field(26)
    IRES = Field(25)
    IRTPS = Field(24)


class VTD_IQT(Register, offset=0x88, width=8, section="10.4.22"):  # noqa: N801
    """Invalidation queue tail, in descriptors."""

    TAIL = Field(18, 4)


class VTD_IQA(Register, offset=0x90, width=8, section="10.4.23"):  # noqa: N801
    """Invalidation queue: its page and size (0: 256 descriptors)."""

    PAGE = Field(63, 12)
    SIZE = Field(2, 0)


class VTD_IRTA(Register, offset=0xB8, width=8, section="10.4.29"):  # noqa: N801
    """Interrupt remapping table: its page, and its size as 2 to the (SIZE + 1) entries."""

    PAGE = Field(63, 12)
    SIZE = Field(3, 0)


class IRTE(Register, offset=0, width=8, section="9.10"):
    """The low half of an entry: what is delivered."""

    P = Field(0)
    TM = Field(4)  # 1: level-triggered
    VECTOR = Field(23, 16)
    DEST = Field(47, 40)


class IRTE_SOURCE(Register, offset=8, width=8, section="9.10"):  # noqa: N801
    """The high half of an entry: who may use it."""

    SVT = Field(19, 18)  # 1: all bits of SID as SQ says
    SQ = Field(17, 16)
    SID = Field(15, 0)


class IEC_INV(Register, offset=0, width=8, section="6.5.2.7"):  # noqa: N801
    """Invalidate cached entries: all of them, or 2 to the IM from IIDX on."""

    TYPE = Field(3, 0)
    G = Field(4)
    IIDX = Field(47, 32)


class INV_WAIT(Register, offset=0, width=8, section="6.5.2.8"):  # noqa: N801
    """Write DATA to the address in the next word when all before it is done."""

    TYPE = Field(3, 0)
    SW = Field(5)
    DATA = Field(63, 32)


def source(address: Address) -> int:
    """The requester id of a function."""
    return address.bus << 8 | address.device << 3 | address.function


class Remapping:
    """The unit at BASE, with its tables in `words` (RAM from 0 on, as 64-bit words)."""

    def __init__(self, wire: Wire, words: memoryview) -> None:
        self._wire, self._unit = wire, Bar(wire, BASE, 0x1000)
        self._words = words
        self._tail = self._waits = 0
        self._command = 0
        self._write(VTD_IQA(PAGE=QUEUE >> 12))
        self._enable("QIE", "QIES")
        self._write(VTD_IRTA(PAGE=TABLE >> 12, SIZE=7))
        self._enable("SIRTP", "IRTPS")
        self._enable("IRE", "IRES")

    def set(self, vector: int, sid: int, *, level: bool = False) -> None:
        """Let the source `sid` fire a vector, and nobody else."""
        self._store(vector, IRTE(P=1, TM=int(level), VECTOR=vector), IRTE_SOURCE(SVT=1, SID=sid))

    def clear(self, vector: int) -> None:
        """Let nobody fire a vector."""
        self._store(vector, IRTE(), IRTE_SOURCE())

    @staticmethod
    def message(vector: int) -> tuple[int, int]:
        """(address, data) in remappable format: the handle, plus the data's low bits (5.1.5.2)."""
        return 0xFEE0_0000 | vector << 5 | 1 << 4 | 1 << 3, 0

    @staticmethod
    def line(vector: int) -> int:
        """The bits of an I/O APIC entry that make it remappable (5.1.5.1)."""
        return vector << 49 | 1 << 48

    def _store(self, vector: int, low: int, high: int) -> None:
        at = TABLE // 8 + 2 * vector
        self._words[at] = 0  # not present while the halves differ
        self._words[at + 1] = int(high)
        self._words[at] = int(low)
        self._invalidate(vector)

    def _invalidate(self, vector: int) -> None:
        """Have the unit forget its copy of an entry, and wait until it has."""
        self._waits += 1
        self._push(IEC_INV(TYPE=4, G=1, IIDX=vector), 0)
        self._push(INV_WAIT(TYPE=5, SW=1, DATA=self._waits), DONE)
        self._write(VTD_IQT(TAIL=self._tail))
        self._unit.barrier()
        self._await(
            lambda: self._words[DONE // 8] & 0xFFFF_FFFF == self._waits,
            "invalidating an interrupt remapping entry",
        )

    def _push(self, low: int, high: int) -> None:
        at = QUEUE // 8 + 2 * self._tail
        self._words[at], self._words[at + 1] = int(low), high
        self._tail = (self._tail + 1) % _QUEUE_SLOTS

    def _enable(self, command: str, status: str) -> None:
        self._write(VTD_GCMD(self._command, **{command: 1}))
        if command != "SIRTP":  # one-shot
            self._command = int(VTD_GCMD(self._command, **{command: 1}))
        self._await(lambda: bool(self._status()[status]), f"setting {command} of the IOMMU")

    def _status(self) -> dict[str, int]:
        return VTD_GSTS(self._unit.read(VTD_GSTS.offset, 4)).decode()

    def _await(self, done: Callable[[], bool], tried: str) -> None:
        wait_until(done, self._wire, tried, lambda: f"status {self._status()}")

    def _write(self, register: Register) -> None:
        self._unit.write(register.offset, register.width, int(register))
