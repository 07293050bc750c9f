"""Interrupts of QEMU's devices through the guard and pci_intr(9)."""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from rumpci import kern, pcireg as pr
from rumpci.autoconf import Autoconf, Driver
from rumpci.bus_space import bus_space_write_4
from rumpci.cpu import curcpu
from rumpci.drivers.edu import Edu
from rumpci.errors import MachineDied, NotEnabled, ProtectedRange
from rumpci.guard import Guard
from rumpci.guard.claim import GuardClaim
from rumpci.host import Event, Interrupt, IntrType
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs, pci_conf_write, pci_mapreg_map
from rumpci.pci_intr import (
    pci_intr_disestablish,
    pci_intr_establish,
    pci_intr_release,
    pci_msix_alloc_exact,
    pci_msix_count,
)

from . import needs

pytestmark = needs.qemu

LIMIT_US = 20_000_000
COMMAND = pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE
EDU_RAISE, EDU_ACK, EDU_STATUS = 0x60, 0x64, 0x24
Guards = Callable[..., Guard]


@pytest.fixture
def machine() -> Iterator[Guards]:
    """Opens machines with these devices; closed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*devices: str) -> Guard:
            host = stack.enter_context(contextlib.closing(open_host("qemu:" + "+".join(devices))))
            assert isinstance(host, Guard)
            return host

        yield start


def until(done: Callable[[], object]) -> None:
    """Let handlers run until `done`."""
    limit = kern.deadline(LIMIT_US)
    while not done():
        assert not limit.passed()
        curcpu().poll(limit.remaining())


def fired(interrupt: Interrupt) -> int:
    """Wait for events; how often it fired."""
    limit, found = kern.deadline(LIMIT_US), 0
    while not found:
        assert not limit.passed()
        select.select([interrupt], [], [], limit.remaining())
        found = sum(event.count for event in interrupt.read())
    return found


def claim_of(host: Guard, id_: int) -> GuardClaim:
    at = next(function.address for function in host.functions() if function.id == id_)
    claim = host.claim(at, "test")
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE)
    return claim


# ---- edu ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["intx", "shim", "msi"])
def test_edu_computes_and_tells_its_causes(machine: Guards, how: str) -> None:
    with Autoconf(machine("edu"), properties={"edu": {"intr": how}}) as autoconf:
        (edu,) = autoconf.attach([Edu])
        assert isinstance(edu, Edu)
        assert edu.factorial(10) == 3628800
        for causes in (0x8000_0000, 0x1234_5678, 1, 2):
            edu.causes = 0
            edu.raise_intr(causes)
            until(lambda: edu.causes)
            assert edu.causes == causes


@pytest.mark.parametrize("how", ["intx", "shim"])
def test_two_devices_on_one_line_each_get_their_own(machine: Guards, how: str) -> None:
    host = machine("edu,addr=02", "edu,addr=06")
    with Autoconf(host, properties={"edu": {"intr": how}}) as autoconf:
        edus = [edu for edu in autoconf.attach([Edu]) if isinstance(edu, Edu)]
        one, other = edus
        assert len({edu.ih.interrupt.name for edu in edus if edu.ih}) == 1
        for number in range(1, 20):
            one.causes = other.causes = 0
            one.raise_intr(number)
            until(lambda: one.causes)
            assert (one.causes, other.causes) == (number, 0)
            one.causes = 0  # an odd number has the bit that is waited for
            one.raise_intr(1)
            other.raise_intr(number << 8)
            until(lambda: other.causes and one.causes & 1)
            assert other.causes == number << 8


@pytest.mark.parametrize("how", ["unclaimed", "polled"])
def test_a_neighbour_that_nobody_handles_is_quieted(
    machine: Guards, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    host = machine("edu,addr=02", "edu,addr=06")
    bad, good = (f.address for f in host.functions() if f.id == 0x11E8_1234)
    raw = host.machine
    raw.conf_write(bad, pr.PCI_COMMAND_STATUS_REG, pr.PCI_COMMAND_MEM_ENABLE)
    if how == "polled":
        host.claim(bad, "poll")
    claim = host.claim(good, "test")
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    raw.bar(bad, 0).write(EDU_RAISE, 4, 1)
    limit = kern.deadline(LIMIT_US)
    while not caplog.records:
        assert not limit.passed()
        select.select([interrupt], [], [], limit.remaining())
        assert not interrupt.read()
    for _ in range(10):
        raw.bar(good, 0).write(EDU_RAISE, 4, 1)
        assert fired(interrupt) == 1
        raw.bar(good, 0).write(EDU_ACK, 4, 1)
        interrupt.unmask()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert str(bad) in told[0]
    assert raw.conf_read(bad, pr.PCI_COMMAND_STATUS_REG) & pr.PCI_COMMAND_INTERRUPT_DISABLE


def test_intx_is_one_event_for_each_interrupt(machine: Guards) -> None:
    """The line and INTx disable are both opened at unmask: that is not twice."""
    claim = claim_of(machine("edu"), 0x11E8_1234)
    window = claim.window(0, 0, 0x80)
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    window.write(EDU_RAISE, 4, 1)
    assert fired(interrupt) == 1
    assert interrupt.pending()
    for number in range(200):
        interrupt.unmask()  # asserted still: it fires at once
        assert fired(interrupt) == 1, number
    window.write(EDU_ACK, 4, 1)
    assert not interrupt.pending()


def test_msi_needs_bus_mastering_which_ends_with_the_claim(machine: Guards) -> None:
    host = machine("edu")
    claim = claim_of(host, 0x11E8_1234)
    master = pr.PCI_COMMAND_MASTER_ENABLE

    def mastering() -> bool:
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
        return bool(claim.conf_read(pr.PCI_COMMAND_STATUS_REG) & master)

    (interrupt,) = claim.intr_alloc(IntrType.MSI, [0])
    with pytest.raises(NotEnabled):
        interrupt.establish()
    assert mastering()
    interrupt.establish()
    claim.intr_release()
    assert mastering()
    claim.release()
    assert not host.conf_read(claim.function.address, pr.PCI_COMMAND_STATUS_REG) & master


# ---- e1000e: MSI-X ------------------------------------------------------------------------

ICR, ICS, IMS, EIAC, IVAR = 0xC0, 0xC8, 0xD0, 0xDC, 0xE4
CAUSES = [1 << bit for bit in range(20, 25)]  # RXQ0, RXQ1, TXQ0, TXQ1, OTHER


class Five(Driver):
    """e1000e with a vector for each of its five causes; it counts them."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        return pa.pa_id == 0x10D3_8086

    def attach(self, pa: PciAttachArgs) -> None:
        assert pci_msix_count(pa) == 5
        self.pa, self.counts = pa, [0] * 5
        self.iot, self.ioh, *_ = pci_mapreg_map(pa, pr.PCI_BAR0, pr.PCI_MAPREG_TYPE_MEM)
        self.handles = pci_msix_alloc_exact(pa, 5)
        pci_conf_write(pa.pa_pc, pa.pa_tag, pr.PCI_COMMAND_STATUS_REG, COMMAND)
        self.established = [
            pci_intr_establish(pa.pa_pc, handle, kern.IPL_NET, self.intr, vector)
            for vector, handle in enumerate(self.handles)
        ]
        self.write(IVAR, sum((8 | vector) << 4 * vector for vector in range(5)))
        self.write(EIAC, sum(CAUSES))
        self.write(IMS, sum(CAUSES))

    def write(self, register: int, value: int) -> None:
        bus_space_write_4(self.iot, self.ioh, register, value)

    def counted(self, vector: int, wanted: int) -> bool:
        return self.counts[vector] >= wanted

    def intr(self, vector: int) -> bool:
        """A message switches its cause off (EIAC): clear it, and switch it on again."""
        self.counts[vector] += 1
        self.write(ICR, CAUSES[vector])
        self.write(IMS, CAUSES[vector])
        return True

    def detach(self) -> None:
        for handler in self.established:
            pci_intr_disestablish(self.pa.pa_pc, handler)
        pci_intr_release(self.pa, self.handles)


@pytest.fixture
def five(machine: Guards) -> Iterator[Five]:
    with Autoconf(machine("e1000e")) as autoconf:
        (made,) = autoconf.attach([Five])
        assert isinstance(made, Five)
        yield made


def test_each_cause_reaches_its_own_vector(five: Five) -> None:
    for round_ in range(1, 4):
        for vector in (3, 0, 4, 1, 2):
            before = list(five.counts)
            five.write(ICS, CAUSES[vector])
            until(partial(five.counted, vector, round_))
            before[vector] = round_
            assert five.counts == before


def test_a_masked_vector_is_pending_and_comes_once(five: Five) -> None:
    for vector, handle in enumerate(five.handles):
        interrupt, others = handle.interrupt, (vector + 1) % 5
        interrupt.mask()
        five.write(ICS, CAUSES[vector])
        until(interrupt.pending)
        before = five.counts[others]
        five.write(ICS, CAUSES[others])
        until(partial(five.counted, others, before + 1))
        kern.delay(0)
        expected = list(five.counts)
        expected[vector] += 1
        interrupt.unmask()
        until(partial(five.counted, vector, expected[vector]))
        kern.delay(0)
        assert five.counts == expected
        assert not interrupt.pending()


def test_the_table_is_out_of_reach(five: Five) -> None:
    claim = five.handles[0].claim
    with pytest.raises(ProtectedRange):
        claim.window(3, 0, 0x1000)
    window = claim.window(3, 0, 0x4000)
    for offset in (0, 12, 0x4C, 0xFFC):
        with pytest.raises(ProtectedRange):
            window.write(offset, 4, 0)
        with pytest.raises(ProtectedRange):
            window.read(offset, 4)


def test_vectors_go_with_their_driver(machine: Guards) -> None:
    host = machine("e1000e")
    for _ in range(3):
        with Autoconf(host) as autoconf:
            (made,) = autoconf.attach([Five])
            assert isinstance(made, Five)
            made.write(ICS, CAUSES[2])
            until(partial(made.counted, 2, 1))
        at = next(f.address for f in host.functions() if f.id == 0x10D3_8086)
        assert not host.conf_read(at, pr.PCI_COMMAND_STATUS_REG) & pr.PCI_COMMAND_MASTER_ENABLE


def test_several_msi_vectors_are_programmed_as_one_group(machine: Guards) -> None:
    """nec-usb-xhci has 16; what raises more than the first needs rings in memory."""
    host = machine("nec-usb-xhci,msi=on,msix=off")
    claim = claim_of(host, 0x0194_1033)
    count = claim.intr_count(IntrType.MSI)
    assert count == 16
    vectors = claim.intr_alloc(IntrType.MSI, range(4))
    claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
    for vector in reversed(vectors):
        vector.establish()
    control = next(
        word for reg in range(0x40, 0x100, 4) if (word := claim.conf_read(reg)) & 0xFF == 5
    )
    assert control >> 16 & 0x71 == 0x21  # enabled, 4 vectors


# ---- event loops -----------------------------------------------------------------------------


@pytest.fixture(params=[IntrType.INTX, IntrType.MSI], ids=["intx", "msi"])
def raised(machine: Guards, request: pytest.FixtureRequest) -> tuple[Interrupt, Callable[[], None]]:
    """An interrupt of edu, and what raises it."""
    claim = claim_of(machine("edu"), 0x11E8_1234)
    window = claim.window(0, 0, 0x80)
    (interrupt,) = claim.intr_alloc(request.param, [0])
    if request.param is IntrType.MSI:
        claim.conf_write(pr.PCI_COMMAND_STATUS_REG, COMMAND)
    interrupt.establish()

    def again() -> None:
        window.write(EDU_ACK, 4, window.read(EDU_STATUS, 4))
        interrupt.unmask()
        window.write(EDU_RAISE, 4, 1)

    return interrupt, again


def test_asyncio_waits_for_events(raised: tuple[Interrupt, Callable[[], None]]) -> None:
    interrupt, again = raised

    async def events(wanted: int) -> int:
        queue: asyncio.Queue[int] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def readable() -> None:
            for event in interrupt.read():
                queue.put_nowait(event.sequence)

        loop.add_reader(interrupt.fileno(), readable)
        sequence = 0
        while sequence < wanted:
            again()
            sequence = await asyncio.wait_for(queue.get(), LIMIT_US / 1e6)
        loop.remove_reader(interrupt.fileno())
        return sequence

    assert asyncio.run(events(20)) == 20


def test_selectors_wait_for_events(raised: tuple[Interrupt, Callable[[], None]]) -> None:
    interrupt, again = raised
    limit = kern.deadline(LIMIT_US)
    with selectors.DefaultSelector() as selector:
        selector.register(interrupt, selectors.EVENT_READ)
        for sequence in range(1, 21):
            again()
            found: list[Event] = []
            while not found:
                assert not limit.passed()
                assert selector.select(limit.remaining())
                found = interrupt.read()
            assert [event.sequence for event in found] == [sequence]


def test_reading_an_interrupt_of_a_dead_machine(machine: Guards) -> None:
    host = machine("edu")
    claim = claim_of(host, 0x11E8_1234)
    (interrupt,) = claim.intr_alloc(IntrType.INTX, [0])
    interrupt.establish()
    host.machine.process.qmp.close()  # type: ignore[attr-defined]
    host.machine.process._process.kill()  # type: ignore[attr-defined]
    with pytest.raises(MachineDied):
        fired(interrupt)
