"""The guard's view of configuration space: what a client may change, and nothing else."""

import errno
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings, strategies as st

from rumpci import pcireg as pr
from rumpci.errors import BadRange, DeadWindow, ValueTooWide
from rumpci.host import Address, Space
from rumpci.machines.model.config import BarSpec, CapSpec, ConfigSpec
from rumpci.machines.model.device import Model

from .cards import AT, Attached, attached, has_three_parts

PM, VPD, PCIE, MSI, MSIX = 0x40, 0x48, 0x50, 0x8C, 0xA4
W1C = {0x04: 0xF900_0000, PM + 4: 0x8000, PCIE + 8: 0x004F_0000}
"""The status bits that the card below clears when a one is written to them."""
ALLOWED = {
    0x04: 0xF900_0017,
    0x0C: 0x0000_FFFF,
    PM + 4: 0x0000_8003,
    VPD: 0xFFFF_0000,
    PCIE + 8: 0x000F_7810,
}
"""The bits that a client may change, one way or the other."""


class Full(Model):
    """Everything writable that a hostile client could wish for."""

    config = ConfigSpec(
        vendor=0x1234,
        product=0x0002,
        class_=0x020000,
        interrupt_pin=1,
        bars={
            0: BarSpec(0x4000, width64=True, prefetchable=True),
            2: BarSpec(32, Space.IO),
            3: BarSpec(0x1000),
            4: BarSpec(1 << 32, width64=True, prefetchable=True),
        },
        capabilities=[
            CapSpec(pr.PCI_CAP_PWRMGMT, bytes(6), b"\xff" * 6),
            CapSpec(pr.PCI_CAP_VPD, bytes(6), b"\xff" * 6),
            CapSpec(pr.PCI_CAP_PCIEXPRESS, bytes(58), b"\xff" * 58),
            CapSpec(pr.PCI_CAP_MSI, bytes(22), b"\xff" * 22),
            CapSpec(pr.PCI_CAP_MSIX, b"\x07\x00" + (0x2000).to_bytes(4, "little") + bytes(4),
                    b"\xff" * 10),
        ],
    )  # fmt: skip


def card() -> Attached:
    """A card whose status bits, all of them clear-by-one, are set."""
    made = Attached(Full())
    config = made.machine._slots[AT].config
    for reg, bits in W1C.items():
        config._clear[reg : reg + 4] = bits.to_bytes(4, "little")
        writable = int.from_bytes(config._writable[reg : reg + 4], "little") & ~bits
        config._writable[reg : reg + 4] = writable.to_bytes(4, "little")
        config._value[reg : reg + 4] = (config.read(reg) | bits).to_bytes(4, "little")
    made.claim.release()
    made.claim = made.host.claim(AT, "hostile")
    return made


@pytest.fixture
def full() -> Iterator[Attached]:
    made = card()
    yield made
    made.host.close()


def machine_view(made: Attached) -> dict[int, int]:
    return {reg: made.machine.conf_read(AT, reg) for reg in range(0, 0x1000, 4)}


registers = st.sampled_from(
    [*range(0, 0x40, 4), PM, PM + 4, VPD, VPD + 4, PCIE, PCIE + 8, PCIE + 16, MSI, MSI + 4,
     MSIX, MSIX + 4, MSIX + 8, 0x100]
) | st.integers(0, 0x3FF).map(lambda n: 4 * n)  # fmt: skip
dwords = st.integers(0, 0xFFFF_FFFF) | st.sampled_from(
    [0, 0xFFFF_FFFF, 0x0404, 0x0004, 3, 0xFFFF_FFFE]
)
writes = st.lists(st.tuples(registers, dwords), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(writes)
@example([(PM + 4, 3), (PM + 4, 0)])
@example([(4, 0xFFFF_FFFF), (PM + 4, 3), (4, 0), (PM + 4, 0)])
def test_only_permitted_bits_change(todo: list[tuple[int, int]]) -> None:
    made = card()
    before = machine_view(made)
    for reg, value in todo:
        made.claim.conf_write(reg, value)
        now = machine_view(made)
        changed = {r: before[r] ^ now[r] for r in before if before[r] != now[r]}
        assert not {r for r, bits in changed.items() if bits & ~ALLOWED.get(r, 0)}
        assert not now[4] & 0x0400, "INTx disable"
    made.claim.release()
    assert not machine_view(made)[4] & pr.PCI_COMMAND_MASTER_ENABLE
    made.host.close()


@settings(max_examples=100, deadline=None)
@given(writes)
def test_status_is_cleared_only_by_ones(todo: list[tuple[int, int]]) -> None:
    made = card()
    for reg, value in todo:
        before = made.machine.conf_read(AT, reg)
        made.claim.conf_write(reg, value)
        cleared = (before & ~made.machine.conf_read(AT, reg)) & W1C.get(reg, 0)
        assert not cleared & ~value
    made.host.close()


def test_the_client_can_clear_its_errors(full: Attached) -> None:
    full.claim.conf_write(4, full.claim.conf_read(4) & 0xFFFF | 1 << 29)
    assert full.claim.conf_read(4) >> 16 == 0xD910
    full.claim.conf_write(PCIE + 8, 0x000F_0000)
    assert full.claim.conf_read(PCIE + 8) == 0x0040_0000  # emergency power reduction is not its own


@pytest.mark.parametrize("value", [0x8000_0000, 0xFFFF_0000])
def test_vpd_can_only_be_read(full: Attached, value: int) -> None:
    """The flag in a write of the address asks for a write of the data (PCI 3.0, appendix I)."""
    config = full.machine._slots[AT].config
    config._value[VPD + 2 : VPD + 4] = b"\x00\x80"  # a read has completed
    full.claim.conf_write(VPD, 0x0010_0000)
    assert full.machine.conf_read(AT, VPD) >> 16 == 0x0010
    config._value[VPD + 2 : VPD + 4] = b"\x00\x80"
    full.claim.conf_write(VPD, value)
    assert not full.machine.conf_read(AT, VPD) & pr.PCI_VPD_OPFLAG
    full.claim.conf_write(VPD + 4, 0xFFFF_FFFF)
    assert full.machine.conf_read(AT, VPD + 4) == 0


def test_sizing_shows_what_hardware_shows(full: Attached) -> None:
    """Every register, sized through the guard and then on the machine itself."""
    ones = range(pr.PCI_BAR0, pr.PCI_BAR0 + 24, 4)
    before = machine_view(full)
    shown = []
    for reg in ones:
        full.claim.conf_write(reg, 0xFFFF_FFFF)
        shown.append(full.claim.conf_read(reg))
        assert full.host.conf_read(AT, reg) == shown[-1]
        assert machine_view(full) == before
        full.claim.conf_write(reg, before[reg])
        assert full.claim.conf_read(reg) == before[reg]
    for reg, mask in zip(ones, shown, strict=True):
        full.machine.conf_write(AT, reg, 0xFFFF_FFFF)
        assert full.machine.conf_read(AT, reg) == mask


def test_waking_up_puts_the_bars_back(full: Attached) -> None:
    bars = {reg: full.machine.conf_read(AT, reg) for reg in range(0x10, 0x28, 4)}
    full.claim.conf_write(PM + 4, pr.PCI_PWR_D3)
    for reg in bars:
        full.machine.conf_write(AT, reg, 0)  # as a function does that loses its state
    full.claim.conf_write(PM + 4, 0)
    assert {reg: full.machine.conf_read(AT, reg) for reg in bars} == bars


@pytest.mark.parametrize("reg", [-4, 1, 2, 3, 0x1000, 0x1004, 1 << 40, -(1 << 40)])
def test_registers_that_are_none(full: Attached, reg: int) -> None:
    before = machine_view(full)
    for do in (
        lambda: full.claim.conf_read(reg),
        lambda: full.claim.conf_write(reg, 0),
        lambda: full.host.conf_read(AT, reg),
        lambda: full.host.conf_read(Address(0, 0, 9, 0), reg),
    ):
        with pytest.raises(BadRange) as caught:
            do()
        assert caught.value.errno == errno.EINVAL
        assert has_three_parts(caught.value)
    assert machine_view(full) == before


@pytest.mark.parametrize("value", [-1, 1 << 32, 1 << 70])
def test_values_too_wide(full: Attached, value: int) -> None:
    before = machine_view(full)
    for reg in (0, 4, 0x10, VPD):
        with pytest.raises(ValueTooWide) as caught:
            full.claim.conf_write(reg, value)
        assert caught.value.errno == errno.ERANGE
        assert has_three_parts(caught.value)
    assert machine_view(full) == before


def test_absent_functions_read_ones(full: Attached) -> None:
    for address in (Address(0, 0, 9, 0), Address(0, 0, 1, 1), Address(0, 7, 0, 0)):
        assert {full.host.conf_read(address, reg) for reg in (0, 4, 0x10, 0xFFC)} == {0xFFFF_FFFF}


@pytest.mark.parametrize(
    "address",
    [(0, 256, 0, 0), (0, -1, 0, 0), (0, 0, 32, 0), (0, 0, -1, 0), (0, 0, 0, 8), (0, 0, 0, -1),
     (-1, 0, 0, 0), (0x10000, 0, 0, 0)],
)  # fmt: skip
def test_addresses_that_cannot_be(full: Attached, address: tuple[int, int, int, int]) -> None:
    with pytest.raises(BadRange) as caught:
        full.host.conf_read(Address(*address), 0)
    assert caught.value.errno == errno.EINVAL
    assert has_three_parts(caught.value)


def test_release_restores_the_command_register(full: Attached) -> None:
    before = machine_view(full)
    full.claim.conf_write(4, 0)
    full.claim.conf_write(0x0C, 0x4010)
    full.claim.release()
    now = machine_view(full)
    assert (now[4] & 0xFFFF, now[0x0C]) == (before[4] & 0xFFFF, before[0x0C])
    assert now[4] >> 16 == before[4] >> 16, "release clears no status"
    for do in (lambda: full.claim.conf_read(0), lambda: full.claim.conf_write(4, 0)):
        with pytest.raises(DeadWindow):
            do()
    assert full.host.conf_read(AT, 4) == now[4]


def test_bus_master_does_not_survive_a_release() -> None:
    with attached(Full()) as made:
        made.machine.conf_write(AT, 4, 0x0007)  # as if something had set it behind the guard
        made.claim.release()
        assert not made.machine.conf_read(AT, 4) & pr.PCI_COMMAND_MASTER_ENABLE
