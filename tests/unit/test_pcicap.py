"""Capabilities: what is declared is consistent, and layouts follow the contents."""

import inspect
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import pcireg
from rumpci.pcicap import (
    CAPABILITIES,
    EXT_CAPABILITIES,
    Capability,
    capability as std_capability,
    declare,
    express,
    ext,
    ext_capability,
    exterr,
    extvirt,
    old,
    std,
)
from rumpci.regs import Field, Register

MODULES = (declare, express, ext, exterr, extvirt, old, std)
DECLARED = [
    cls
    for module in MODULES
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, Register) and cls.__module__ == module.__name__
]
BOTH = [*CAPABILITIES.values(), *EXT_CAPABILITIES.values()]
dwords = st.one_of(st.integers(0, 0xFFFF_FFFF), st.sampled_from([0, 0xFFFF_FFFF]))


def reader(*values: int) -> Callable[[int], int]:
    """Reads these dwords, then ones that are 0."""
    return dict(zip(range(0, 4 * len(values), 4), values, strict=True)).get  # type: ignore[return-value]


def names(registers: tuple[type[Register], ...]) -> list[str]:
    return [register.__name__ for register in registers]


def dword_offsets(registers: tuple[type[Register], ...]) -> Iterator[int]:
    for register in registers:
        yield from (register.at(index) for index in range(register.count))


@pytest.mark.parametrize("register", DECLARED, ids=lambda r: r.__name__)
def test_declaration(register: type[Register]) -> None:
    assert register.width == 4
    assert register.offset % 4 == register.stride % 4 == 0
    assert register.section
    assert (register.__doc__ or "").strip()
    fields = list(register.fields.values())
    taken = 0
    for field in fields:
        assert isinstance(field, Field)
        assert not taken & field.mask, f"{field.name} overlaps"
        taken |= field.mask
        assert all(0 <= n <= field.mask >> field.lo for n in field.values)


@settings(max_examples=40, deadline=None)
@given(dwords)
def test_decode_is_total_and_exact(raw: int) -> None:
    for register in DECLARED:
        value = register(raw)
        decoded = value.decode()
        covered = sum(field.mask for field in register.fields.values())
        assert sum(n << register.fields[k].lo for k, n in decoded.items()) == raw & covered
        assert str(value).startswith(f"{raw:#010x}")
        assert all(getattr(value, name) == number for name, number in decoded.items())


@pytest.mark.parametrize(
    ("table", "prefix"), [(CAPABILITIES, "PCI_CAP_"), (EXT_CAPABILITIES, "PCI_EXTCAP_")]
)
def test_every_id_has_one_name(table: dict[int, Capability], prefix: str) -> None:
    ids = [number for name, number in vars(pcireg).items() if name.startswith(prefix)]
    assert sorted(ids) == sorted(set(ids)) == list(range(len(ids)))
    assert sorted(table) == sorted(ids)
    assert all(cap.name and cap.id == capid for capid, cap in table.items())
    assert len({cap.name for cap in table.values()}) == len(table)


@pytest.mark.parametrize("cap", BOTH, ids=lambda cap: cap.name)
def test_first_dword_is_the_header(cap: Capability) -> None:
    extended = cap is EXT_CAPABILITIES.get(cap.id)
    base = declare.PCI_EXTCAPLIST if extended else declare.PCI_CAPLIST
    assert issubclass(cap.registers[0], base)
    assert cap.registers[0].offset == 0
    assert set(base.fields) <= set(cap.registers[0].fields)
    assert not any(register.offset == 0 for register in cap.registers[1:])


@given(st.integers(0, 0xFFFF))
def test_lookup_is_total(capid: int) -> None:
    for table, lookup, unknown in (
        (CAPABILITIES, std_capability, f"unknown capability {capid:#04x}"),
        (EXT_CAPABILITIES, ext_capability, f"unknown extended capability {capid:#06x}"),
    ):
        cap = lookup(capid)
        assert cap.id == capid
        assert cap is table[capid] if capid in table else cap.name == unknown
        assert capid in table or len(cap.registers) == 1


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 63).map(lambda n: 4 * n), dwords), dwords, st.booleans())
def test_layout_is_total_and_ordered(space: dict[int, int], otherwise: int, bridge: bool) -> None:
    for cap in BOTH:
        limit = 0x1000 - 0x100 if cap is EXT_CAPABILITIES.get(cap.id) else 0x100 - 0x40
        asked: list[int] = []

        def read(offset: int, asked: list[int] = asked) -> int:
            asked.append(offset)
            return space.get(offset, otherwise)

        layout = cap.layout(read, bridge)
        offsets = list(dword_offsets(layout))
        assert len(set(offsets)) == len(offsets)
        assert [r.offset for r in layout] == sorted(r.offset for r in layout)
        assert layout[0].offset == 0
        assert all(at % 4 == 0 and 0 <= at < limit for at in offsets + asked)


@settings(max_examples=40, deadline=None)
@given(dwords)
def test_msi_layout_has_the_size_of_its_flags(raw: int) -> None:
    wide, masked = raw >> 23 & 1, raw >> 24 & 1
    layout = CAPABILITIES[pcireg.PCI_CAP_MSI].layout(reader(raw))
    assert sorted(dword_offsets(layout)) == list(range(0, 0x0C + 4 * wide + 8 * masked, 4))
    assert {names(layout)[-1].endswith("64")} == {bool(wide)}
    assert ("PCI_MSI_MADDR64_HI" in names(layout)) == bool(wide)


@pytest.mark.parametrize(
    ("version", "kind", "slot", "link", "root"),
    [
        (1, 0x0, 0, True, False),
        (2, 0x0, 0, True, False),
        (2, 0x0, 1, True, False),
        (2, 0x4, 0, True, True),
        (2, 0x4, 1, True, True),
        (1, 0x6, 1, True, False),
        (2, 0x9, 0, False, False),
        (2, 0xA, 0, False, True),
    ],
)
def test_pcie_layout(version: int, kind: int, slot: int, link: bool, root: bool) -> None:
    cap = CAPABILITIES[pcireg.PCI_CAP_PCIEXPRESS]
    has = names(cap.layout(reader(0x10 | version << 16 | kind << 20 | slot << 24)))
    assert has[:3] == ["PCIE_XCAP", "PCIE_DCAP", "PCIE_DCSR"]
    assert ("PCIE_LCSR" in has) == link
    assert ("PCIE_SLCSR" in has) == (bool(slot) and kind in {0x4, 0x6})
    assert ("PCIE_RCR" in has) == ("PCIE_RSR" in has) == root
    assert ("PCIE_DCSR2" in has) == (version == 2)
    assert ("PCIE_LCSR2" in has) == (link and version == 2)


@pytest.mark.parametrize(
    ("size", "flags", "expected"),
    [
        (2, (0, 0), ["ENTRY_0", "BASE_0", "MAXOFFSET_0"]),
        (3, (2, 0), ["ENTRY_0", "BASE_0", "MAXOFFSET_0", "BASE_HI_0"]),
        (3, (0, 2), ["ENTRY_0", "BASE_0", "MAXOFFSET_0", "MAXOFFSET_HI_0"]),
        (4, (2, 2), ["ENTRY_0", "BASE_0", "MAXOFFSET_0", "BASE_HI_0", "MAXOFFSET_HI_0"]),
        (0, (2, 2), ["ENTRY_0"]),
    ],
)
@pytest.mark.parametrize("bridge", [False, True])
def test_ea_layout(size: int, flags: tuple[int, int], expected: list[str], bridge: bool) -> None:
    head = (0x0001_0014, 0) if bridge else (0x0001_0014,)
    layout = CAPABILITIES[pcireg.PCI_CAP_EA].layout(reader(*head, size, *flags), bridge)
    assert names(layout)[len(head) :] == [f"PCI_EA_{name}" for name in expected]
    assert list(dword_offsets(layout)) == list(range(0, 4 * len(layout), 4))


@pytest.mark.parametrize(
    ("capid", "contents", "last", "count"),
    [
        (pcireg.PCI_EXTCAP_VC, (0, 2), "PCI_VC_RESOURCE_STA", 3),
        (pcireg.PCI_EXTCAP_RESIZBAR, (0, 0, 3 << 5), "PCI_RESIZBAR_CTL", 3),
        (pcireg.PCI_EXTCAP_RESIZBAR, (0, 0, 7 << 5), "PCI_RESIZBAR_CTL", 6),
        (pcireg.PCI_EXTCAP_TPH_REQ, (0, 1 << 9 | 4 << 16), "PCI_TPH_REQ_STTBL", 3),
        (pcireg.PCI_EXTCAP_TPH_REQ, (0, 2 << 9 | 4 << 16), "PCI_TPH_REQ_CTL", 1),
        (pcireg.PCI_EXTCAP_ACS, (0, 1 << 5 | 33 << 8), "PCI_ACS_ECV", 2),
        (pcireg.PCI_EXTCAP_ACS, (0, 1 << 5), "PCI_ACS_ECV", 8),
        (pcireg.PCI_EXTCAP_ACS, (0, 0), "PCI_ACS", 1),
        (pcireg.PCI_EXTCAP_DPC, (0, 0), "PCI_DPC_STATESID", 1),
        (pcireg.PCI_EXTCAP_DPC, (0, 1 << 5 | 7 << 8), "PCI_DPC_RPPIO_TLPPLOG", 2),
        (pcireg.PCI_EXTCAP_DPC, (0, 1 << 5 | 4 << 8), "PCI_DPC_RPPIO_HLOG", 4),
        (pcireg.PCI_EXTCAP_L1PM, (0, 1 << 5), "PCI_L1PM_STAT", 1),
        (pcireg.PCI_EXTCAP_AER, (1 << 16,), "PCI_AER_ERRSRC_ID", 1),
        (pcireg.PCI_EXTCAP_AER, (2 << 16,), "PCI_AER_TLP_PREFIX_LOG", 4),
    ],
)
def test_extended_layout_follows_contents(
    capid: int, contents: tuple[int, ...], last: str, count: int
) -> None:
    layout = EXT_CAPABILITIES[capid].layout(reader(*contents))
    assert (layout[-1].__name__, layout[-1].count) == (last, count)


def test_old_layouts() -> None:
    pcix, ht = CAPABILITIES[pcireg.PCI_CAP_PCIX], CAPABILITIES[pcireg.PCI_CAP_LDT]
    assert names(pcix.layout(reader(0))) == ["PCIX_CMD", "PCIX_STATUS"]
    assert names(pcix.layout(reader(1 << 28)))[-1] == "PCIX_ECC"
    assert names(pcix.layout(reader(0), bridge=True))[-1] == "PCIX_BRIDGE_STCR"
    assert names(ht.layout(reader(0x10 << 27))) == ["PCI_HT_CMD"]
    assert len(ht.layout(reader(0x15 << 27))) == 3
    assert len(ht.layout(reader(0x15 << 27 | 1 << 17))) == 1


def test_placed_keeps_the_fields_and_moves() -> None:
    bar = declare.placed(ext.PCI_RESIZBAR_CTL, offset=0x20, count=2, name="OTHER")
    assert (bar.__name__, bar.offset, bar.count, bar.at(1)) == ("OTHER", 0x20, 2, 0x28)
    assert bar(0x0500).decode() == ext.PCI_RESIZBAR_CTL(0x0500).decode()
    assert sys.modules[bar.__module__] is ext


def test_shared_fields_keep_their_order() -> None:
    assert list(std.PCI_MSI_CTL.fields)[:3] == ["CAPID", "NEXT", "MSI_ENABLE"]
    severity = exterr.PCI_AER_UC_SEVERITY(1 << 18)
    assert severity.MALFORMED_TLP == severity.decode()["MALFORMED_TLP"] == 1
    assert exterr.PCI_AER_UC_STATUS.access is not severity.access
