"""machines/uio on a made-up /sys: what is refused, interrupts, BARs, who has a function."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumpci import pcireg as pr
from rumpci.errors import (
    BadURL,
    DeviceBusy,
    HostUnavailable,
    NoDmaMemory,
    NoSuchDevice,
    NoVectors,
    RumpciError,
)
from rumpci.guard import Guard
from rumpci.host import Address, Claim, Feature, IntrType
from rumpci.host_dma import MemorySpec
from rumpci.hosts import open_host
from rumpci.machines.uio.machine import Options, UioMachine
from tests import needs
from tests.unit.sysfs_tree import Tree

AT = Address(0, 1, 0, 0)
NAME = str(AT)
PAGE = 4096
SMALL = 0x80  # where a BAR that is smaller than a page begins
BARS = f"""\
0x00000000fea00000 0x00000000fea01fff 0x0000000000040200
0x000000000000c000 0x000000000000c007 0x0000000000040101
0x00000000feb00000 0x00000000feb00000 0x0000000000000000
0x00000000feb00080 0x00000000feb000ff 0x0000000000040200
{"0x0 0x0 0x0" + chr(10)}"""
DISABLE, INTERRUPTS = pr.PCI_COMMAND_INTERRUPT_DISABLE, pr.PCI_STATUS_INT_STATUS


class Uio(Tree):
    """A function that uio_pci_generic has; its node is a FIFO, into which `fire` writes counts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.directory = self.function(NAME, "uio_pci_generic", None, resource=BARS)
        (self.directory / "uio/uio7").mkdir(parents=True)
        (self.directory / "irq").write_text("11\n")
        for bar, size in ((0, 2 * PAGE), (1, 8), (3, PAGE)):
            (self.directory / f"resource{bar}").write_bytes(bytes(size))
        self.poke(pr.PCI_INTERRUPT_REG, 0x0100)
        (root / "dev").mkdir()
        self.path = root / "dev/uio7"
        os.mkfifo(self.path)
        self.count = 0

    def machine(self) -> UioMachine:
        return UioMachine([AT], Options(2 << 20, root=self.root), f"uio:{NAME}")

    def blocked(self) -> None:
        """Put it into an IOMMU group that translates: then nothing is wired for DMA."""
        group = self.join(NAME, 5)
        (group / "type").write_text("DMA-FQ\n")

    def peek(self, reg: int) -> int:
        data = (self.directory / "config").read_bytes()
        return int.from_bytes(data[reg : reg + 4], "little")

    def poke(self, reg: int, value: int) -> None:
        with (self.directory / "config").open("r+b") as file:
            file.seek(reg)
            file.write(value.to_bytes(4, "little"))

    def fire(self) -> None:
        """What the kernel does: the status bit is the device's, the disable bit the kernel's."""
        self.poke(4, self.peek(4) | DISABLE | INTERRUPTS)
        self.count += 1
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, self.count.to_bytes(4, "little"))
        os.close(fd)

    @property
    def disabled(self) -> bool:
        return bool(self.peek(4) & DISABLE)


@pytest.fixture
def tree(tmp_path: Path) -> Uio:
    made = Uio(tmp_path)
    made.blocked()
    return made


@pytest.fixture
def guard(tree: Uio) -> Iterator[Guard]:
    with contextlib.closing(Guard(tree.machine())) as made:
        yield made


@pytest.fixture
def claim(guard: Guard) -> Claim:
    return guard.claim(AT, "one")


# ---- what is refused -------------------------------------------------------------------


def gone(tree: Uio) -> None:
    (tree.devices / NAME).unlink()


def bound_elsewhere(tree: Uio) -> None:
    (tree.directory / "driver").unlink()
    tree.attach(NAME, "nvme")


def bound_nowhere(tree: Uio) -> None:
    (tree.directory / "driver").unlink()


def a_bridge(tree: Uio) -> None:
    tree.poke(0x0C, 1 << 16)


def no_uio(tree: Uio) -> None:
    (tree.directory / "uio/uio7").rmdir()


def no_node(tree: Uio) -> None:
    tree.path.unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "why"),
    [
        (gone, NoSuchDevice, "no function at"),
        (bound_elsewhere, DeviceBusy, f"nvme has it.*rumpci bind {NAME} uio_pci_generic"),
        (bound_nowhere, DeviceBusy, "no driver has it"),
        (a_bridge, DeviceBusy, "it is a bridge"),
        (no_uio, HostUnavailable, "made no uio device.*module uio"),
        (no_node, HostUnavailable, "there is no .*uio7"),
    ],
)
def test_what_cannot_be_opened(
    tree: Uio, spoil: Callable[[Uio], None], error: type[RumpciError], why: str
) -> None:
    spoil(tree)
    with pytest.raises(error, match=why):
        tree.machine()


@needs.user
@pytest.mark.parametrize("name", ["config", "resource1"])
def test_files_that_this_user_may_not_use(tree: Uio, name: str) -> None:
    (tree.directory / name).chmod(0o400)
    with pytest.raises(HostUnavailable, match=f"may not use .*{name}.*chown"):
        tree.machine()


def test_an_iommu_that_blocks(claim: Claim, guard: Guard) -> None:
    assert Feature.DMA not in guard.features
    remedy = f"rumpci bind {AT} uio_pci_generic --identity"
    with pytest.raises(NoDmaMemory, match=f"its group 5 is DMA-FQ.*{remedy}"):
        claim.dma_alloc(MemorySpec(PAGE))


@pytest.mark.parametrize(
    "text", ["uio:", "uio:1.0,1.0", f"uio:{NAME},{NAME}", f"uio:{NAME}?check=maybe",
             f"uio:{NAME}?banks=no", "uio:/etc/passwd", "uio:/dev/uio0,/dev/uio0",
             "uio:/dev/uio0?memory=4M"],
)  # fmt: skip
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(BadURL):
        open_host(text)


def test_messages_are_refused_by_name(claim: Claim) -> None:
    assert claim.intr_count(IntrType.MSI) == claim.intr_count(IntrType.MSIX) == 0
    for type_ in (IntrType.MSI, IntrType.MSIX):
        with pytest.raises(NoVectors, match=r"uio_pci_generic has INTx only.*vfio"):
            claim.intr_alloc(type_, [0])


def test_a_pin_without_an_interrupt(tree: Uio) -> None:
    (tree.directory / "irq").write_text("0\n")
    with contextlib.closing(Guard(tree.machine())) as guard:
        (interrupt,) = guard.claim(AT, "one").intr_alloc(IntrType.INTX, [0])
        with pytest.raises(NoVectors, match="routed no interrupt"):
            interrupt.establish()


# ---- who has it ------------------------------------------------------------------------


def test_one_at_a_time(tree: Uio, guard: Guard, claim: Claim) -> None:
    with contextlib.closing(Guard(tree.machine())) as other:
        assert other.functions()[0].id == 0x11E8_1234
        with pytest.raises(DeviceBusy, match="open in another rumpci"):
            other.claim(AT, "two")
        claim.release()
        other.claim(AT, "two").release()
    guard.claim(AT, "one").release()


def test_nothing_is_changed_before_it_is_claimed(tree: Uio) -> None:
    before = (tree.directory / "config").read_bytes()
    with contextlib.closing(Guard(tree.machine())) as guard:
        assert guard.conf_read(AT, 0) == 0x11E8_1234
        guard.machine.conf_write(AT, 4, 7)
    assert (tree.directory / "config").read_bytes() == before


def test_the_mask_is_left_as_it_was_found(tree: Uio, guard: Guard) -> None:
    claim = guard.claim(AT, "one")
    assert tree.disabled
    claim.release()
    assert not tree.disabled


# ---- interrupts ------------------------------------------------------------------------


def test_an_interrupt_is_masked_until_it_is_unmasked(tree: Uio, claim: Claim) -> None:
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    assert tree.disabled
    interrupt.establish()
    assert not tree.disabled
    assert interrupt.read() == []
    for n in (1, 2, 3):
        tree.fire()
        (event,) = interrupt.read()
        assert (event.sequence, event.count) == (n, 1)
        assert tree.disabled
        tree.poke(4, tree.peek(4) & ~INTERRUPTS)
        interrupt.unmask()
        assert not tree.disabled
    interrupt.disestablish()
    assert tree.disabled


def test_what_fired_before_is_not_told(tree: Uio, claim: Claim) -> None:
    tree.fire()
    tree.poke(4, tree.peek(4) & ~INTERRUPTS)
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    assert interrupt.read() == []


def test_the_client_writes_its_command_register_and_not_the_mask(tree: Uio, claim: Claim) -> None:
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    tree.fire()
    assert interrupt.read()
    claim.conf_write(4, pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE)
    assert tree.disabled, "it waits for its handler"
    assert tree.peek(4) & pr.PCI_COMMAND_MASTER_ENABLE


# ---- BARs ------------------------------------------------------------------------------


def test_memory_is_mapped_and_ports_are_not(tree: Uio, claim: Claim) -> None:
    memory, ports = claim.window(0, PAGE, 16), claim.window(1, 0, 8)
    assert memory.mapping is not None
    assert ports.mapping is None
    memory.write(8, 4, 0x1234_5678)
    ports.write(2, 2, 0xABCD)
    assert memory.read(8, 2) == 0x5678
    assert ports.read(0, 4) == 0xABCD_0000
    data = (tree.directory / "resource0").read_bytes()
    assert data[PAGE + 8 : PAGE + 12] == bytes.fromhex("78563412")
    assert (tree.directory / "resource1").read_bytes()[2:4] == bytes.fromhex("cdab")


def test_a_bar_that_is_smaller_than_a_page(tree: Uio, claim: Claim) -> None:
    claim.window(3, 0, 0x80).write(4, 4, 0xFFFF_FFFF)
    data = (tree.directory / "resource3").read_bytes()
    assert data.index(b"\xff") == SMALL + 4


def test_features_and_functions(guard: Guard) -> None:
    assert guard.features == Feature.MEMSPACE | Feature.IOSPACE | Feature.MAPPED | Feature.TRAPPED
    (function,) = guard.functions()
    assert [(bar.index, bar.size) for bar in function.bars] == [(0, 2 * PAGE), (1, 8), (3, 0x80)]
