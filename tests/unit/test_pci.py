"""pci(9): configuration space, capabilities, BARs, power, VPD, names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from rumpci import kern, pci as p, pcidevs, pcireg as pr
from rumpci.autoconf import Autoconf, Driver
from rumpci.bus_space import bus_space_read_4
from rumpci.errors import (
    BadRange,
    NoSuchBar,
    NoSuchCapability,
    NotClaimed,
    NotSupported,
    WaitTimeout,
    WrongBarType,
)
from rumpci.guard import Guard
from rumpci.host import Address, Host, Space
from rumpci.hosts import open_host
from rumpci.machines.model.config import BarSpec, CapSpec, ConfigSpec
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine

TAG, ABSENT = Address(0, 0, 1, 0), Address(0, 0, 9, 0)
MEM, IO, MEM64 = pr.PCI_MAPREG_TYPE_MEM, pr.PCI_MAPREG_TYPE_IO, pr.PCI_MAPREG_MEM_TYPE_64BIT


def model(**declared: Any) -> Model:
    """A device of this configuration."""
    config = ConfigSpec(0x1234, 1, 0xFF0000, **declared)
    cls: type[Model] = type("Made", (Model,), {"config": config})
    return cls()


class Any1(Driver):
    """Takes whatever there is."""

    pa: p.PciAttachArgs

    @staticmethod
    def match(_pa: p.PciAttachArgs) -> bool:
        return True

    def attach(self, pa: p.PciAttachArgs) -> None:
        self.pa = pa


@contextlib.contextmanager
def attached(host: Host) -> Iterator[p.PciAttachArgs]:
    """The last function of a host that is no bridge, attached."""
    with contextlib.closing(host), Autoconf(host) as autoconf:
        dev = autoconf.attach([Any1])[-1]
        assert isinstance(dev, Any1)
        yield dev.pa


def attached_model(**declared: Any) -> contextlib.AbstractContextManager[p.PciAttachArgs]:
    return attached(Guard(ModelMachine([model(**declared)])))


class Raw:
    """A host of configuration space alone: dwords by register."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    def conf_read(self, address: Address, reg: int) -> int:
        return self.words.get(reg, 0) if address == TAG else 0xFFFF_FFFF


def raw(words: dict[int, int]) -> p.PciChipset:
    return p.PciChipset(Raw(words))  # type: ignore[arg-type]


# ---- capabilities ---------------------------------------------------------------


def linked(*caps: tuple[int, int, int]) -> p.PciChipset:
    """(offset, id, next) of each; the first is where the list starts."""
    words = {offset: next_ << 8 | capid for offset, capid, next_ in caps}
    return raw(words | {4: pr.PCI_STATUS_CAPLIST_SUPPORT, 0x34: caps[0][0]})


def test_capabilities_in_order() -> None:
    pc = linked((0x40, 1, 0x60), (0x60, 5, 0x50), (0x50, 0x10, 0))
    assert [reg for reg, _ in p.pci_capabilities(pc, TAG)] == [0x40, 0x60, 0x50]
    assert p.pci_get_capability(pc, TAG, 5) == (0x60, 0x5005)
    assert p.pci_get_capability(pc, TAG, 9) is None


@pytest.mark.parametrize("back", [0x40, 0x60, 0x41, 0x3C])
def test_a_list_that_loops_or_leaves_ends(back: int) -> None:
    pc = linked((0x40, 1, 0x60), (0x60, 5, back))
    assert [reg for reg, _ in p.pci_capabilities(pc, TAG)] == [0x40, 0x60]


def test_no_list_without_the_status_bit() -> None:
    assert list(p.pci_capabilities(raw({0x34: 0x40, 0x40: 1}), TAG)) == []


def test_an_absent_function_has_no_capabilities() -> None:
    pc = linked((0x40, 1, 0))
    assert list(p.pci_capabilities(pc, ABSENT)) == list(p.pci_ext_capabilities(pc, ABSENT)) == []


@given(st.dictionaries(st.integers(0x10, 0x3FF).map(lambda n: 4 * n), st.integers(0, 2**32 - 1)))
def test_any_garbage_ends(words: dict[int, int]) -> None:
    pc = raw({0x34: 0x40, 4: pr.PCI_STATUS_CAPLIST_SUPPORT} | words)
    for found in (p.pci_capabilities(pc, TAG), p.pci_ext_capabilities(pc, TAG)):
        registers = [reg for reg, _ in found]
        assert len(registers) == len(set(registers))


def test_extended_capabilities() -> None:
    pc = raw({0x100: 0x2001_0001, 0x200: 0x1001_0003})
    assert [reg for reg, _ in p.pci_ext_capabilities(pc, TAG)] == [0x100, 0x200]
    assert p.pci_get_ext_capability(pc, TAG, 3) == (0x200, 0x1001_0003)
    assert p.pci_get_ext_capability(pc, TAG, 2) is None


# ---- configuration space, tags -----------------------------------------------------


def test_writes_need_an_attachment() -> None:
    with attached_model() as pa:
        p.pci_conf_write(pa.pa_pc, TAG, pr.PCI_BHLC_REG, 0x0810)
        assert p.pci_conf_read(pa.pa_pc, TAG, pr.PCI_BHLC_REG) & 0xFFFF == 0x0810
        for tag in (ABSENT, Address(0, 0, 0, 0)):
            with pytest.raises(NotClaimed):
                p.pci_conf_write(pa.pa_pc, tag, 4, 0)
    with pytest.raises(NotClaimed):
        p.pci_conf_write(pa.pa_pc, TAG, 4, 0)


@given(st.integers(-1, 256), st.integers(-1, 32), st.integers(-1, 8))
def test_tags_both_ways(bus: int, device: int, function: int) -> None:
    pc = p.PciChipset(Guard(ModelMachine([])))
    if bus in range(256) and device in range(32) and function in range(8):
        tag = p.pci_make_tag(pc, bus, device, function)
        assert p.pci_decompose_tag(pc, tag) == (bus, device, function)
    else:
        with pytest.raises(BadRange):
            p.pci_make_tag(pc, bus, device, function)


def test_attach_args() -> None:
    with attached_model(bars={0: BarSpec(64)}) as pa:
        assert (pa.vendor, pa.product) == (0x1234, 1)
        assert (pa.pa_bus, pa.pa_device, pa.pa_function) == (0, 1, 0)
        assert pa.pa_flags == p.PCI_FLAGS_MEM_OKAY
        assert p.pci_find_device(pa, lambda a: a.product == 1) is not None
        assert p.pci_find_device(pa, lambda _: False) is None
        assert p.pci_dma64_available(pa)


def test_capture_and_restore() -> None:
    with attached_model(bars={0: BarSpec(4096)}) as pa:
        state = p.pci_conf_capture(pa.pa_pc, TAG)
        p.pci_conf_write(pa.pa_pc, TAG, pr.PCI_COMMAND_STATUS_REG, 0)
        p.pci_conf_write(pa.pa_pc, TAG, pr.PCI_BHLC_REG, 0x1234)
        p.pci_conf_write(pa.pa_pc, TAG, pr.PCI_BAR0, 0xFFFF_FFFF)
        p.pci_conf_restore(pa.pa_pc, TAG, state)
        assert p.pci_conf_capture(pa.pa_pc, TAG) == state


# ---- BARs ------------------------------------------------------------------------------

BARS = {
    0: BarSpec(4096), 1: BarSpec(1 << 16, width64=True, prefetchable=True),
    3: BarSpec(32, Space.IO),
}  # fmt: skip


@pytest.mark.parametrize(
    ("index", "type_", "size"), [(0, MEM, 4096), (1, MEM64, 1 << 16), (3, IO, 32)]
)
def test_bars(index: int, type_: int, size: int) -> None:
    reg = pr.PCI_BAR0 + 4 * index
    with attached_model(bars=BARS) as pa:
        assert p.pci_mapreg_probe(pa.pa_pc, TAG, reg) == type_
        assert p.pci_mapreg_type(pa.pa_pc, TAG, reg) == type_
        base, found, flags = p.pci_mapreg_info(pa.pa_pc, TAG, reg, type_)
        assert (found, bool(flags)) == (size, index == 1)
        tag, handle, at, mapped = p.pci_mapreg_map(pa, reg, type_)
        assert (tag, handle.size, at, mapped) == (
            pa.pa_iot if type_ == IO else pa.pa_memt, size, base, size,
        )  # fmt: skip
        for wrong in {MEM, MEM64, IO} - {type_}:
            for use in (p.pci_mapreg_info, lambda _pc, _t, r, w: p.pci_mapreg_map(pa, r, w)):
                with pytest.raises(WrongBarType):
                    use(pa.pa_pc, TAG, reg, wrong)


@pytest.mark.parametrize("reg", [pr.PCI_BAR2, pr.PCI_BAR4, pr.PCI_BAR5])
def test_bars_that_are_not_implemented(reg: int) -> None:
    with attached_model(bars=BARS) as pa:
        assert p.pci_mapreg_probe(pa.pa_pc, TAG, reg) is None
        with pytest.raises(NoSuchBar):
            p.pci_mapreg_type(pa.pa_pc, TAG, reg)
        with pytest.raises(NoSuchBar):
            p.pci_mapreg_map(pa, reg, MEM)


def test_registers_that_are_no_bars() -> None:
    with attached_model(bars=BARS) as pa:
        for reg in (0, 0x0C, 0x11, 0x28, -4):
            with pytest.raises(BadRange):
                p.pci_mapreg_probe(pa.pa_pc, TAG, reg)
        with pytest.raises(NotSupported):
            p.pci_mapreg_map(pa, pr.PCI_MAPREG_ROM, MEM)


@pytest.mark.parametrize(
    ("maxsize", "offset", "size"), [(0, 0, 4096), (16, 0, 16), (0, 0xFF0, 16), (64, 0xFF0, 16)]
)
def test_submap(maxsize: int, offset: int, size: int) -> None:
    with attached_model(bars=BARS) as pa:
        base = p.pci_mapreg_info(pa.pa_pc, TAG, pr.PCI_BAR0, MEM)[0]
        _, handle, at, mapped = p.pci_mapreg_submap(
            pa, pr.PCI_BAR0, MEM, maxsize=maxsize, offset=offset
        )
        assert (handle.size, at, mapped) == (size, base + offset, size)


@pytest.mark.parametrize(("maxsize", "offset"), [(0, -4), (0, 4096), (-1, 0)])
def test_submap_outside(maxsize: int, offset: int) -> None:
    with attached_model(bars=BARS) as pa, pytest.raises(BadRange):
        p.pci_mapreg_submap(pa, pr.PCI_BAR0, MEM, maxsize=maxsize, offset=offset)


# ---- power -----------------------------------------------------------------------------


def pm(support: int) -> CapSpec:
    return CapSpec(1, support.to_bytes(2, "little") + bytes(4), b"\0\0\x03\0\0\0")


def test_power_states(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[int] = []
    monkeypatch.setattr(kern, "delay", delays.append)
    with attached_model(capabilities=[pm(0x0603)]) as pa:
        for state in (1, 2, 3, 3, 0, 0):
            p.pci_set_powerstate(pa.pa_pc, TAG, state)
            assert p.pci_get_powerstate(pa.pa_pc, TAG) == state
        assert delays == [200, 200, 10_000, 10_000]
        with pytest.raises(BadRange):
            p.pci_set_powerstate(pa.pa_pc, TAG, 4)


@pytest.mark.parametrize("state", [pr.PCI_PWR_D1, pr.PCI_PWR_D2])
def test_power_states_that_the_device_has_not(state: int) -> None:
    with attached_model(capabilities=[pm(0x0003)]) as pa, pytest.raises(NotSupported):
        p.pci_set_powerstate(pa.pa_pc, TAG, state)


def test_without_the_capability() -> None:
    with attached_model() as pa:
        calls: list[Callable[[], object]] = [
            lambda: p.pci_get_powerstate(pa.pa_pc, TAG),
            lambda: p.pci_set_powerstate(pa.pa_pc, TAG, 0),
            lambda: p.pci_vpd_read(pa.pa_pc, TAG, 0, 1),
        ]
        for call in calls:
            with pytest.raises(NoSuchCapability):
                call()


def test_waking_a_real_model_keeps_its_bars() -> None:
    with attached(open_host("qemu:nvme,serial=1,size=1M")) as pa:
        iot, ioh, *_ = p.pci_mapreg_submap(pa, pr.PCI_BAR0, MEM64, maxsize=0x40)
        before = p.pci_conf_capture(pa.pa_pc, pa.pa_tag), bus_space_read_4(iot, ioh, 8)
        p.pci_set_powerstate(pa.pa_pc, pa.pa_tag, pr.PCI_PWR_D3)
        p.pci_set_powerstate(pa.pa_pc, pa.pa_tag, pr.PCI_PWR_D0)
        assert before == (p.pci_conf_capture(pa.pa_pc, pa.pa_tag), bus_space_read_4(iot, ioh, 8))


# ---- VPD -------------------------------------------------------------------------------


class VpdMachine(ModelMachine):
    """A model whose VPD works: words of storage; a write with the flag set stores."""

    dead = False

    def __init__(self) -> None:
        self.stored = {4 * i: 0x0101_0101 * i for i in range(64)}
        caps = [CapSpec(pr.PCI_CAP_VPD, bytes(6), b"\xff" * 6)]
        super().__init__([model(capabilities=caps)])

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        super().conf_write(address, reg, value)
        if reg != 0x40 or self.dead:
            return
        where = value >> 16 & 0x7FFF
        if value & pr.PCI_VPD_OPFLAG:
            self.stored[where] = self.conf_read(address, 0x44)
        else:
            super().conf_write(address, 0x44, self.stored[where])
        super().conf_write(address, reg, value ^ pr.PCI_VPD_OPFLAG)


def test_vpd_reads_and_never_writes() -> None:
    machine = VpdMachine()
    before = dict(machine.stored)
    with attached(Guard(machine)) as pa:
        assert p.pci_vpd_read(pa.pa_pc, TAG, 8, 4) == [0x0101_0101 * i for i in range(2, 6)]
        assert p.pci_vpd_read(pa.pa_pc, TAG, 0, 0) == []
    assert machine.stored == before


def test_vpd_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = VpdMachine()
    machine.dead = True
    deadline = kern.deadline
    monkeypatch.setattr(kern, "deadline", lambda _us: deadline(0))
    with attached(Guard(machine)) as pa, pytest.raises(WaitTimeout):
        p.pci_vpd_read(pa.pa_pc, TAG, 0, 1)


@pytest.mark.parametrize(("offset", "count"), [(2, 1), (-4, 1), (0, -1), (0x7FFC, 2), (0x8000, 1)])
def test_vpd_outside(offset: int, count: int) -> None:
    with attached(Guard(VpdMachine())) as pa, pytest.raises(BadRange):
        p.pci_vpd_read(pa.pa_pc, TAG, offset, count)


# ---- names: facts of pci.ids that do not change -----------------------------------------

needs_ids = pytest.mark.skipif(
    not pcidevs.available(),
    reason="no pci.ids here: apt-get install --no-install-recommends pci.ids",
)


@needs_ids
def test_names() -> None:
    assert p.pci_findvendor(0x100E_8086) == "Intel Corporation"
    assert "82540EM" in (p.pci_findproduct(0x100E_8086) or "")
    assert "8139" in p.pci_devinfo(0x8139_10EC, 0x0200_0010)
    assert p.pci_devinfo(0x8139_10EC, 0x0200_0010, showclass=True).endswith(
        "(Ethernet controller, revision 0x10)"
    )
    assert p.pci_findproduct(0x8139_8086) != p.pci_findproduct(0x8139_10EC)


def test_names_that_nobody_has() -> None:
    assert p.pci_devinfo(0xFFFE_FFF0, 0xFE00_0001) == "vendor fff0 product fffe"
    assert p.pci_findvendor(0xFFFE_FFF0) is p.pci_findproduct(0xFFFE_FFF0) is None


@needs_ids
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_any_numbers_have_one_line(id_reg: int, class_reg: int) -> None:
    assert "\n" not in p.pci_devinfo(id_reg, class_reg, showclass=True)
