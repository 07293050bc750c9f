"""What a client may change in its function's configuration space (rule 2).

    identification, class, capability lists       read only
    command: I/O, memory, write-and-invalidate    the client's
    command: bus master                           the client's, once its DMA domain is attached
    command: INTx disable, SERR, the rest         the guard's
    status and device-status error bits           the client may clear them
    BARs, ROM                                     can be sized, not moved
    power state                                   the client's; BARs are put back after D3
    VPD address                                   the client's, for reads
    MSI, MSI-X, and whatever is not named here    the guard's: read only

The rules are data: for a dword, the bits that may be written and the bits
that may be cleared by writing ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rumpci import pcireg as pr
from rumpci.errors import BadRange, ValueTooWide
from rumpci.host import Address, Bar, Function, Space

log = logging.getLogger("rumpci.guard")


@dataclass(frozen=True)
class Rule:
    """Of one dword: bits a client may write, may clear, and those that a one would trigger.

    `fixed` are bits that the function itself ignores when they are written.
    """

    write: int = 0
    clear: int = 0
    w1c: int = 0
    fixed: int = 0

    def merge(self, current: int, value: int) -> int:
        """The dword to write so that only permitted bits change."""
        kept = current & ~self.write & ~self.w1c
        return kept | value & self.write | value & self.clear

    def refused(self, current: int, value: int) -> int:
        """The bits that `value` would change and that this rule keeps."""
        return (current ^ value) & ~self.write & ~self.w1c & ~self.fixed


_COMMAND_WRITE = pr.PCI_COMMAND_IO_ENABLE | pr.PCI_COMMAND_MEM_ENABLE | 0x10
_STATUS_ERRORS, _STATUS_FIXED = 0xF900_0000, 0x06FF_0000

HEADER_RULES = {
    pr.PCI_COMMAND_STATUS_REG: Rule(_COMMAND_WRITE, _STATUS_ERRORS, _STATUS_ERRORS, _STATUS_FIXED),
    pr.PCI_BHLC_REG: Rule(write=0xFFFF),  # cache line size, latency timer
}
CAPABILITY_RULES: dict[int, dict[int, Rule]] = {
    pr.PCI_CAP_PWRMGMT: {pr.PCI_PMCSR: Rule(pr.PCI_PMCSR_STATE_MASK, 0x8000, 0x8000)},
    # the flag stays set after a read; written back, it would make the next one a write
    pr.PCI_CAP_VPD: {
        0: Rule(pr.PCI_VPD_ADDRESS_MASK << pr.PCI_VPD_ADDRESS_SHIFT, w1c=pr.PCI_VPD_OPFLAG)
    },
    # relaxed ordering, no snoop, maximum read request; the four error bits of device status
    pr.PCI_CAP_PCIEXPRESS: {8: Rule(0x7810, 0x000F_0000, 0x004F_0000)},
}


def capabilities(read: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """(capability id, offset) of the list in configuration space; ends even if it loops."""
    if not read(pr.PCI_COMMAND_STATUS_REG) & pr.PCI_STATUS_CAPLIST_SUPPORT:
        return
    offset = read(pr.PCI_CAPLISTPTR_REG) & 0xFC
    for _ in range(48):
        if offset < 0x40:
            return
        word = read(offset)
        yield word & 0xFF, offset
        offset = word >> 8 & 0xFC


class ConfigSpace:
    """A client's view of its function's configuration space.

    `read` and `write` reach the function itself; `who` is for messages.
    """

    def __init__(
        self,
        function: Function,
        read: Callable[[int], int],
        write: Callable[[int, int], None],
        who: str,
    ) -> None:
        self._function, self._read, self._write = function, read, write
        self._who = who
        self._sizing: set[int] = set()
        self._bars = _bar_registers(function)
        self._rules = dict(HEADER_RULES)
        self.caps = dict(capabilities(read))
        for capid, offset in self.caps.items():
            for reg, rule in CAPABILITY_RULES.get(capid, {}).items():
                self._rules[offset + reg] = rule
        self._saved = {reg: read(reg) for reg in (pr.PCI_COMMAND_STATUS_REG, pr.PCI_BHLC_REG)}
        self._saved |= {reg: read(reg) for reg in self._bars}

    def read(self, reg: int) -> int:
        """The client's view of the dword at `reg`.  Raises BadRange (EINVAL)."""
        check_register(reg, f"pci_conf_read of {self._function.address}")
        if reg in self._sizing:
            return self._bars[reg]
        return self._read(reg)

    def write(self, reg: int, value: int) -> None:
        """Change what the client may change of the dword at `reg`; the rest stays.

        Raises BadRange (EINVAL), ValueTooWide (ERANGE).
        """
        tried = f"pci_conf_write of {self._function.address}"
        check_register(reg, tried)
        if not 0 <= value <= 0xFFFF_FFFF:
            raise ValueTooWide(f"{tried} at {reg:#x}", f"value {value:#x}", "pass 32 bits")
        if reg in self._bars:
            self._size(reg, value)
            return
        rule = self._rules.get(reg, Rule())
        current = self._read(reg)
        self._report(reg, rule.refused(current, value))
        if rule.write | rule.clear:
            waking = self._wakes(reg, current, value)
            command = self._read(pr.PCI_COMMAND_STATUS_REG) if waking else 0
            self._write(reg, rule.merge(current, value))
            if waking:  # it may have been reset
                self.restore(command)

    def allow_master(self) -> None:
        """Let the client switch bus mastering on: its DMA domain is attached."""
        write = _COMMAND_WRITE | pr.PCI_COMMAND_MASTER_ENABLE
        rule = Rule(write, _STATUS_ERRORS, _STATUS_ERRORS, _STATUS_FIXED)
        self._rules[pr.PCI_COMMAND_STATUS_REG] = rule

    def _size(self, reg: int, value: int) -> None:
        """All ones shows the size, as it would; anything else shows the address again."""
        if value in (0xFFFF_FFFF, 0xFFFF_FFFE):
            self._sizing.add(reg)
        else:
            self._sizing.discard(reg)

    def _report(self, reg: int, refused: int) -> None:
        if refused:
            log.warning(
                "%s (%s): bits %#x of configuration register %#x are not the driver's: kept",
                self._who, self._function.address, refused, reg,
            )  # fmt: skip

    def _wakes(self, reg: int, before: int, value: int) -> bool:
        """Whether a write wakes the function from D3hot."""
        power = self.caps.get(pr.PCI_CAP_PWRMGMT)
        if power is None or reg != power + pr.PCI_PMCSR:
            return False
        return before & pr.PCI_PMCSR_STATE_MASK == pr.PCI_PWR_D3 and not value & 3

    def restore(self, before: int | None = None) -> None:
        """Write back what the function had when it was claimed; bus mastering stays off.

        INTx disable is as in the command register `before`, else as it is now.
        """
        if before is None:
            before = self._read(pr.PCI_COMMAND_STATUS_REG)
        for reg in self._bars:
            self._write(reg, self._saved[reg])
        self._write(pr.PCI_BHLC_REG, self._saved[pr.PCI_BHLC_REG])
        command = self._saved[pr.PCI_COMMAND_STATUS_REG] & 0xFFFF
        command &= ~(pr.PCI_COMMAND_MASTER_ENABLE | pr.PCI_COMMAND_INTERRUPT_DISABLE)
        command |= before & pr.PCI_COMMAND_INTERRUPT_DISABLE
        self._write(pr.PCI_COMMAND_STATUS_REG, command)


def check_register(reg: int, tried: str) -> None:
    """Raise BadRange (EINVAL) unless `reg` is a dword of configuration space."""
    if reg % 4 or not 0 <= reg < pr.PCI_EXTCONF_SIZE:
        raise BadRange(
            f"{tried} at {reg:#x}", "not a multiple of 4 below 0x1000", "pass a dword's offset"
        )


def check_address(address: Address, tried: str) -> None:
    """Raise BadRange (EINVAL) for an address that no function can have."""
    limits = (0x10000, 256, 32, 8)
    if not all(0 <= part < limit for part, limit in zip(address, limits, strict=True)):
        raise BadRange(
            tried, "there are 65536 segments, 256 buses, 32 devices, 8 functions",
            "pass an address that the host lists",
        )  # fmt: skip


def _bar_registers(function: Function) -> dict[int, int]:
    """What every BAR register (and the ROM's) shows while it is being sized."""
    shown = {pr.PCI_BAR0 + 4 * index: 0 for index in range(6)} | {pr.PCI_MAPREG_ROM: 0}
    for bar in function.bars:
        mask = -bar.size & (1 << 64) - 1
        reg = pr.PCI_BAR0 + 4 * bar.index
        shown[reg] = mask & 0xFFFF_FFFF | _type_bits(bar)
        if bar.width64:
            shown[reg + 4] = mask >> 32
    return shown


def _type_bits(bar: Bar) -> int:
    if bar.space is Space.IO:
        return pr.PCI_MAPREG_TYPE_IO
    bits = pr.PCI_MAPREG_MEM_TYPE_64BIT if bar.width64 else 0
    return bits | (pr.PCI_MAPREG_MEM_PREFETCHABLE_MASK if bar.prefetchable else 0)
