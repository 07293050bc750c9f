"""VT-d interrupt remapping: a device can fire its own vectors and nobody else's.

    device --message with a handle--> IRTE[handle]: vector, and who may use it --> local APIC

The handle of a vector is its number.  An entry names the source that may use
it; the unit compares all sixteen bits of the requester's id.

Source: Intel VT-d specification 3.4, 5.1 (remapping), 9.10 (IRTE).
"""

from __future__ import annotations

from rumpci.machines.vtd.unit import Unit
from rumpci.machines.vtd.vtdreg import IEC_INV, IRTE, IRTE_HI, VTD_IRTA

ENTRIES = 256


class Remapping:
    """The unit's interrupt part, with a table of 256 entries in the page at `table`."""

    def __init__(self, unit: Unit, table: int) -> None:
        self._unit, self._table = unit, table >> 3
        unit.write(VTD_IRTA(PAGE=table >> 12, SIZE=ENTRIES.bit_length() - 2))
        unit.command(SIRTP=1)
        unit.invalidate((IEC_INV(TYPE=4), 0))  # as 10.4.4 demands of a new table
        unit.command(IRE=1)

    def set(self, vector: int, sid: int, *, level: bool = False) -> None:
        """Let the source `sid` fire a vector, and nobody else."""
        self._store(vector, IRTE(P=1, TM=int(level), VECTOR=vector), IRTE_HI(SVT=1, SID=sid))

    def clear(self, vector: int) -> None:
        """Let nobody fire a vector."""
        self._store(vector, IRTE(), IRTE_HI())

    @staticmethod
    def message(vector: int) -> tuple[int, int]:
        """(address, data) in remappable format: the handle, plus the data's low bits (5.1.5.2)."""
        return 0xFEE0_0000 | vector << 5 | 1 << 4 | 1 << 3, 0

    @staticmethod
    def line(vector: int) -> int:
        """The bits of an I/O APIC entry that make it remappable (5.1.5.1)."""
        return vector << 49 | 1 << 48

    def _store(self, vector: int, low: int, high: int) -> None:
        at, words = self._table + 2 * vector, self._unit.words
        words[at] = 0  # not present while the halves differ
        words[at + 1] = int(high)
        words[at] = int(low)
        self._unit.invalidate((IEC_INV(TYPE=4, G=1, IIDX=vector), 0))
