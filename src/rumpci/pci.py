"""pci(9): configuration space, base address registers, capabilities, names.

A `pcitag_t` is a `host.Address`.  C's out-parameters are return values, and
an error is an exception with the errno:

    NoSuchBar         ENXIO       the register is not implemented
    WrongBarType      EINVAL      the type is not what the register has
    NotClaimed        EPERM       a write to a function that is not attached
    NoSuchCapability  ENOENT      power states or VPD of a function without them
    BadRange          EINVAL      a register number that is none

Source: NetBSD pci(9), <dev/pci/pcivar.h>.  Differences: docs/netbsd-map.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rumpci import kern, pcidevs, pcireg as pr
from rumpci.bus_dma import BusDmaTag, DmaRoot
from rumpci.bus_space import BUS_SPACE_MAP_PREFETCHABLE, BusSpaceHandle, BusSpaceTag, map_bar
from rumpci.errors import (
    BadRange,
    NoSuchBar,
    NoSuchCapability,
    NotClaimed,
    NotSupported,
    WaitTimeout,
    WrongBarType,
)
from rumpci.host import Address, Bar, Claim, Feature, Function, Host, Space
from rumpci.pcireg import PCI_PRODUCT, PCI_VENDOR

PCI_FLAGS_IO_OKAY = 0x01
PCI_FLAGS_MEM_OKAY = 0x02
_SUPPORT = {pr.PCI_PWR_D1: 1 << 25, pr.PCI_PWR_D2: 1 << 26}  # PCI PM 1.2, 3.2.3


class PciChipset:
    """A pci_chipset_tag_t: the host's buses, and which functions this process holds."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.claims: dict[Address, Claim] = {}

    def function(self, tag: Address) -> Function | None:
        """What the host lists at `tag`, or None."""
        if claim := self.claims.get(tag):
            return claim.function
        return next((f for f in self.host.functions() if f.address == tag), None)


@dataclass
class PciAttachArgs:
    """struct pci_attach_args: what match and attach are told about a function.

    `pa_memt`, `pa_iot` and the DMA tags (`pa_dmat` for 32-bit bus addresses, `pa_dmat64`)
    work from attach to detach; `pa_id` and `pa_class` are PCI_ID_REG and PCI_CLASS_REG.
    """

    pa_pc: PciChipset
    pa_tag: Address
    pa_id: int
    pa_class: int
    pa_memt: BusSpaceTag
    pa_iot: BusSpaceTag
    pa_dmat: BusDmaTag
    pa_dmat64: BusDmaTag
    pa_flags: int

    @classmethod
    def of(cls, pc: PciChipset, function: Function, name: str = "") -> PciAttachArgs:
        """The arguments for one function of a chipset."""
        tag, name = function.address, name or str(function.address)
        command = pc.host.conf_read(tag, pr.PCI_COMMAND_STATUS_REG)
        flags = PCI_FLAGS_IO_OKAY if command & pr.PCI_COMMAND_IO_ENABLE else 0
        flags |= PCI_FLAGS_MEM_OKAY if command & pr.PCI_COMMAND_MEM_ENABLE else 0
        memt, iot = BusSpaceTag(Space.MEM, name), BusSpaceTag(Space.IO, name)
        root = DmaRoot(name)
        dmat, dmat64 = BusDmaTag(root, high=0xFFFF_FFFF), BusDmaTag(root)
        return cls(pc, tag, function.id, function.class_, memt, iot, dmat, dmat64, flags)

    @property
    def vendor(self) -> int:
        """PCI_VENDOR(pa_id)."""
        return PCI_VENDOR(self.pa_id)

    @property
    def product(self) -> int:
        """PCI_PRODUCT(pa_id)."""
        return PCI_PRODUCT(self.pa_id)

    @property
    def pa_bus(self) -> int:
        """The bus number."""
        return self.pa_tag.bus

    @property
    def pa_device(self) -> int:
        """The device number."""
        return self.pa_tag.device

    @property
    def pa_function(self) -> int:
        """The function number."""
        return self.pa_tag.function


# ---- configuration space ----------------------------------------------------


def pci_conf_read(pc: PciChipset, tag: Address, reg: int) -> int:
    """Read the 32 bits at `reg` of any function; ones where there is none."""
    return pc.host.conf_read(tag, reg)


def pci_conf_write(pc: PciChipset, tag: Address, reg: int, value: int) -> None:
    """Write the 32 bits at `reg` of an attached function; bits not the driver's stay."""
    claim = pc.claims.get(tag)
    if claim is None:
        raise NotClaimed(
            f"pci_conf_write of {tag} at {reg:#x}",
            "no driver of this process is attached to it",
            "write only in attach and later, and only to your own function",
        )
    claim.conf_write(reg, value)


def pci_make_tag(pc: PciChipset, bus: int, device: int, function: int) -> Address:
    """The tag of a function in the chipset's segment.  Raises BadRange (EINVAL)."""
    if not (0 <= bus <= 255 and 0 <= device <= 31 and 0 <= function <= 7):
        raise BadRange(
            f"pci_make_tag({bus}, {device}, {function})",
            "there are 256 buses, 32 devices, 8 functions",
            "check the numbers",
        )
    segment = next((f.address.segment for f in pc.host.functions()), 0)
    return Address(segment, bus, device, function)


def pci_decompose_tag(pc: PciChipset, tag: Address) -> tuple[int, int, int]:
    """(bus, device, function) of a tag."""
    del pc
    return tag.bus, tag.device, tag.function


def pci_get_capability(pc: PciChipset, tag: Address, capid: int) -> tuple[int, int] | None:
    """(offset, first dword) of a capability, or None."""
    for offset, value in pci_capabilities(pc, tag):
        if value & 0xFF == capid:
            return offset, value
    return None


def pci_get_ext_capability(pc: PciChipset, tag: Address, capid: int) -> tuple[int, int] | None:
    """(offset, first dword) of a PCI Express extended capability, or None."""
    for offset, value in pci_ext_capabilities(pc, tag):
        if value & 0xFFFF == capid:
            return offset, value
    return None


def pci_capabilities(pc: PciChipset, tag: Address) -> Iterator[tuple[int, int]]:
    """(offset, first dword) of every capability, in the list's order; a loop ends it."""
    if not pci_conf_read(pc, tag, pr.PCI_COMMAND_STATUS_REG) & pr.PCI_STATUS_CAPLIST_SUPPORT:
        return
    reg, seen = pci_conf_read(pc, tag, pr.PCI_CAPLISTPTR_REG) & 0xFC, set[int]()
    while reg >= 0x40 and reg not in seen:
        seen.add(reg)
        value = pci_conf_read(pc, tag, reg)
        if value == 0xFFFF_FFFF:  # nobody answers
            return
        yield reg, value
        reg = value >> 8 & 0xFC


def pci_ext_capabilities(pc: PciChipset, tag: Address) -> Iterator[tuple[int, int]]:
    """(offset, first dword) of every extended capability; a loop ends the list."""
    reg, seen = pr.PCI_EXTCAPLIST_BASE, set[int]()
    while reg >= pr.PCI_EXTCAPLIST_BASE and reg not in seen:
        seen.add(reg)
        value = pci_conf_read(pc, tag, reg)
        if value in (0, 0xFFFF_FFFF):
            return
        yield reg, value
        reg = value >> 20 & 0xFFC


@dataclass(frozen=True)
class PciConfState:
    """struct pci_conf_state: the header's 16 dwords, as pci_conf_capture found them."""

    reg: tuple[int, ...]


def pci_conf_capture(pc: PciChipset, tag: Address) -> PciConfState:
    """Remember the first 64 bytes of configuration space."""
    return PciConfState(tuple(pci_conf_read(pc, tag, 4 * i) for i in range(16)))


def pci_conf_restore(pc: PciChipset, tag: Address, pcs: PciConfState) -> None:
    """Write back what pci_conf_capture remembered, as far as it is the driver's; command last."""
    order = [i for i in range(16) if 4 * i != pr.PCI_COMMAND_STATUS_REG]
    for i in (*order, pr.PCI_COMMAND_STATUS_REG // 4):
        value = pcs.reg[i] & 0xFFFF if 4 * i == pr.PCI_COMMAND_STATUS_REG else pcs.reg[i]
        if pci_conf_read(pc, tag, 4 * i) != pcs.reg[i]:
            pci_conf_write(pc, tag, 4 * i, value)


def pci_get_powerstate(pc: PciChipset, tag: Address) -> int:
    """PCI_PWR_D0 to PCI_PWR_D3.  Raises NoSuchCapability (ENOENT)."""
    reg = _require(pc, tag, pr.PCI_CAP_PWRMGMT, "pci_get_powerstate") + pr.PCI_PMCSR
    return pci_conf_read(pc, tag, reg) & pr.PCI_PMCSR_STATE_MASK


def pci_set_powerstate(pc: PciChipset, tag: Address, state: int) -> None:
    """Enter PCI_PWR_D0 to PCI_PWR_D3, and wait as the specification says (PCI PM 1.2, 5.6.1).

    Raises NoSuchCapability (ENOENT), BadRange (EINVAL), NotSupported (EOPNOTSUPP) for
    D1 or D2 of a function without it.
    """
    if state not in (pr.PCI_PWR_D0, pr.PCI_PWR_D1, pr.PCI_PWR_D2, pr.PCI_PWR_D3):
        raise BadRange(f"pci_set_powerstate of {tag}", f"state {state}", "pass PCI_PWR_D0 to D3")
    reg = _require(pc, tag, pr.PCI_CAP_PWRMGMT, "pci_set_powerstate") + pr.PCI_PMCSR
    before = pci_conf_read(pc, tag, reg)
    old = before & pr.PCI_PMCSR_STATE_MASK
    if old == state:
        return
    if not pci_conf_read(pc, tag, reg - pr.PCI_PMCSR) & _SUPPORT.get(state, -1):
        raise NotSupported(
            f"pci_set_powerstate of {tag}", f"it has no D{state}", "use PCI_PWR_D0 or D3"
        )
    pci_conf_write(pc, tag, reg, before & ~pr.PCI_PMCSR_STATE_MASK & ~0x8000 | state)
    kern.delay(10_000 if pr.PCI_PWR_D3 in (old, state) else 200)


def pci_vpd_read(pc: PciChipset, tag: Address, offset: int, count: int) -> list[int]:
    """Read `count` 32-bit words of Vital Product Data from `offset` (bytes) on.

    Raises NoSuchCapability (ENOENT), BadRange (EINVAL), WaitTimeout (ETIMEDOUT).
    """
    cap = _require(pc, tag, pr.PCI_CAP_VPD, "pci_vpd_read")
    if offset % 4 or count < 0 or not 0 <= offset <= pr.PCI_VPD_ADDRESS_MASK + 1 - 4 * count:
        raise BadRange(
            f"pci_vpd_read of {tag}", f"{count} words at {offset:#x}", "stay within 32 KiB, aligned"
        )
    return [_vpd_word(pc, tag, cap, offset + 4 * i) for i in range(count)]


def _vpd_word(pc: PciChipset, tag: Address, cap: int, offset: int) -> int:
    pci_conf_write(pc, tag, cap, offset << pr.PCI_VPD_ADDRESS_SHIFT)
    deadline = kern.deadline(100_000)
    while not pci_conf_read(pc, tag, cap) & pr.PCI_VPD_OPFLAG:
        if deadline.passed():
            raise WaitTimeout(
                f"pci_vpd_read of {tag} at {offset:#x}",
                f"mask {pr.PCI_VPD_OPFLAG:#x} of the VPD address register stayed 0 for 100000 us",
                "the device does not answer VPD reads",
            )
        kern.delay(10)
    return pci_conf_read(pc, tag, cap + pr.PCI_VPD_DATAREG)


def _require(pc: PciChipset, tag: Address, capid: int, tried: str) -> int:
    found = pci_get_capability(pc, tag, capid)
    if found is None:
        raise NoSuchCapability(
            f"{tried} of {tag}", f"no capability {capid:#04x}", "see `rumpci show`"
        )
    return found[0]


# ---- base address registers ---------------------------------------------------


def pci_mapreg_probe(pc: PciChipset, tag: Address, reg: int) -> int | None:
    """The mapping type of base address register `reg`, or None if it is not implemented."""
    bar = _find_bar(pc, tag, reg)
    if bar is None:
        return None
    if bar.space is Space.IO:
        return pr.PCI_MAPREG_TYPE_IO
    return pr.PCI_MAPREG_TYPE_MEM | (pr.PCI_MAPREG_MEM_TYPE_64BIT if bar.width64 else 0)


def pci_mapreg_type(pc: PciChipset, tag: Address, reg: int) -> int:
    """The mapping type of base address register `reg`: I/O, or memory of 32 or 64 bits."""
    _demand_bar(pc, tag, reg, "pci_mapreg_type")
    return pci_mapreg_probe(pc, tag, reg) or 0


def pci_mapreg_info(pc: PciChipset, tag: Address, reg: int, type_: int) -> tuple[int, int, int]:
    """(base, size, flags) of a base address register; flags are for bus_space_map."""
    bar = _typed_bar(pc, tag, reg, type_, "pci_mapreg_info")
    return bar.base, bar.size, BUS_SPACE_MAP_PREFETCHABLE if bar.prefetchable else 0


def pci_mapreg_map(
    pa: PciAttachArgs, reg: int, type_: int, busflags: int = 0
) -> tuple[BusSpaceTag, BusSpaceHandle, int, int]:
    """Map a whole base address register: (tag, handle, base, size)."""
    return pci_mapreg_submap(pa, reg, type_, busflags)


def pci_mapreg_submap(
    pa: PciAttachArgs, reg: int, type_: int, busflags: int = 0, maxsize: int = 0, offset: int = 0
) -> tuple[BusSpaceTag, BusSpaceHandle, int, int]:
    """Map a register from `offset` on, at most `maxsize` bytes (0: all): (tag, handle, base, size).

    Raises NoSuchBar, WrongBarType, BadRange for an offset outside it, NotClaimed.
    """
    bar = _typed_bar(pa.pa_pc, pa.pa_tag, reg, type_, "pci_mapreg_map")
    size = bar.size - offset
    if offset < 0 or size <= 0 or maxsize < 0:
        raise BadRange(
            f"pci_mapreg_submap of {pa.pa_tag} BAR{bar.index}",
            f"offset {offset:#x} is outside its {bar.size:#x} bytes",
            "map inside it",
        )
    size = min(size, maxsize or size)
    tag = pa.pa_iot if bar.space is Space.IO else pa.pa_memt
    return tag, map_bar(tag, bar, offset, size, busflags), bar.base + offset, size


def _find_bar(pc: PciChipset, tag: Address, reg: int) -> Bar | None:
    if reg % 4 or not pr.PCI_MAPREG_START <= reg < pr.PCI_MAPREG_END:
        why = "the expansion ROM is not offered" if reg == pr.PCI_MAPREG_ROM else "not a BAR"
        error = NotSupported if reg == pr.PCI_MAPREG_ROM else BadRange
        raise error(f"register {reg:#x} of {tag}", why, "pass PCI_BAR0 to PCI_BAR5")
    function = pc.function(tag)
    return function.bar((reg - pr.PCI_MAPREG_START) // 4) if function else None


def _demand_bar(pc: PciChipset, tag: Address, reg: int, tried: str) -> Bar:
    bar = _find_bar(pc, tag, reg)
    if bar is None:
        raise NoSuchBar(
            f"{tried} of {tag} register {reg:#x}",
            "not implemented",
            "see `rumpci show` for the BARs it has",
        )
    return bar


def _typed_bar(pc: PciChipset, tag: Address, reg: int, type_: int, tried: str) -> Bar:
    bar = _demand_bar(pc, tag, reg, tried)
    has = pci_mapreg_probe(pc, tag, reg) or 0
    known = pr.PCI_MAPREG_TYPE_IO | pr.PCI_MAPREG_MEM_TYPE_MASK
    if type_ & known != has:
        raise WrongBarType(
            f"{tried} of {tag} BAR{bar.index} as type {type_:#x}",
            f"it is of type {has:#x} ({bar.space.value}{', 64-bit' if bar.width64 else ''})",
            "pass what pci_mapreg_type returns",
        )
    return bar


# ---- finding and naming ---------------------------------------------------------


def pci_attach_args(pc: PciChipset, functions: Sequence[Function]) -> Iterator[PciAttachArgs]:
    """What match would be told, for each function that is no bridge."""
    return (PciAttachArgs.of(pc, function) for function in functions if not function.is_bridge)


def pci_find_device(
    pa: PciAttachArgs, match: Callable[[PciAttachArgs], bool | int]
) -> PciAttachArgs | None:
    """The first function on any bus of `pa`'s chipset that `match` accepts, or None."""
    pc = pa.pa_pc
    return next((a for a in pci_attach_args(pc, pc.host.functions()) if match(a)), None)


def pci_dma64_available(pa: PciAttachArgs) -> bool:
    """Whether there is a 64-bit DMA tag, `pa_dmat64`."""
    return Feature.DMA in pa.pa_pc.host.features


def pci_findvendor(id_reg: int) -> str | None:
    """The vendor's name for PCI_ID_REG, or None if it is not known."""
    return pcidevs.vendor_name(PCI_VENDOR(id_reg))


def pci_findproduct(id_reg: int) -> str | None:
    """The product's name for PCI_ID_REG, or None if it is not known."""
    return pcidevs.product_name(PCI_VENDOR(id_reg), PCI_PRODUCT(id_reg))


def pci_devinfo(id_reg: int, class_reg: int, showclass: bool = False) -> str:
    """One line for a device: vendor and product, and on request class and revision."""
    vendor = pci_findvendor(id_reg) or f"vendor {PCI_VENDOR(id_reg):04x}"
    product = pci_findproduct(id_reg) or f"product {PCI_PRODUCT(id_reg):04x}"
    if not showclass:
        return f"{vendor} {product}"
    class_, subclass = pr.PCI_CLASS(class_reg), pr.PCI_SUBCLASS(class_reg)
    name = pcidevs.class_name(class_, subclass) or f"class {class_:#04x} subclass {subclass:#04x}"
    return f"{vendor} {product} ({name}, revision {pr.PCI_REVISION(class_reg):#04x})"
