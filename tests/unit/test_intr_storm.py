"""Interrupts that nobody stops, handlers that fail, and a random client: nothing hangs or leaks."""

import logging

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rumpci import kern, pcireg as pr
from rumpci.autoconf import Autoconf, Driver
from rumpci.bus_space import bus_space_read_4, bus_space_write_4
from rumpci.cpu import Cpu
from rumpci.guard import intx, router
from rumpci.guard.intr import GuardInterrupt
from rumpci.host import Address, IntrType
from rumpci.pci import PciAttachArgs, pci_conf_write, pci_mapreg_map
from rumpci.pci_intr import (
    PCI_INTR_TYPE_INTX,
    PCI_INTR_TYPE_MSI,
    PCI_INTR_TYPE_MSIX,
    pci_intr_alloc,
    pci_intr_disestablish,
    pci_intr_establish,
    pci_intr_evcnt,
    pci_intr_release,
    pci_intr_type,
)
from rumpci.shim import Shim
from tests.descriptors import descriptors

from .signallers import (
    ACK,
    CAUSES,
    COMMAND,
    SHARES,
    Bench,
    Raging,
    Signaller,
    bench,
    count,
    events,
    ready,
)

READ_ONLY = Shim().read(4, 0, CAUSES).notz().store(0).deliver().encode()
NEVER_OURS = Shim().read(4, 0, CAUSES).notours().encode()
LIMIT = 20


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intx, "STORM_LIMIT", LIMIT)
    monkeypatch.setattr(router, "STRAY_LIMIT", LIMIT)


def shared(first: Signaller) -> list[Signaller]:
    """`first` in slot 1, and one that shares its line in slot 1 + SHARES."""
    return [first, *(Signaller() for _ in range(SHARES))]


def serve(interrupt: GuardInterrupt, rounds: int = 10 * LIMIT) -> int:
    """Read and unmask while it is readable; how often it fired."""
    fired = 0
    for _ in range(rounds):
        if not ready(interrupt):
            return fired
        if found := interrupt.read():
            fired += sum(event.count for event in found)
            interrupt.unmask()
    raise AssertionError(f"it fired {fired} times and goes on")


# ---- storms -------------------------------------------------------------------------------


@pytest.mark.parametrize("shim", [None, READ_ONLY], ids=["plain", "shim"])
def test_a_storm_is_masked_and_reported_and_the_line_goes_on(
    caplog: pytest.LogCaptureFixture, shim: bytes | None
) -> None:
    with bench(*shared(Raging())) as b:
        raging, other = b.intx(1, shim), b.intx(1 + SHARES)
        b.card(1).fire()
        assert serve(raging) == LIMIT
        assert raging.masked
        (told,) = (r.getMessage() for r in caplog.records if "in a row" in r.getMessage())
        assert str(raging) in told
        for _ in range(3 * LIMIT):
            b.card(1 + SHARES).fire()
            b.host.router.service()
            b.card(1 + SHARES).quiet()
            assert serve(other) == 1


def test_a_storm_of_an_old_device_is_masked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no bits to quiet it or to tell whose the line is: the line stays masked."""
    monkeypatch.setattr(intx, "_PAUSE_NS", 1 << 62)
    with bench(Raging()) as b:
        b.without_disable_bit(1)
        raging = b.intx(1)
        b.card().fire()
        assert serve(raging) == LIMIT
        assert "in a row" in caplog.text


@pytest.mark.parametrize("shim", [None, READ_ONLY], ids=["plain", "shim"])
def test_many_interrupts_one_after_the_other_are_no_storm(
    caplog: pytest.LogCaptureFixture, shim: bytes | None
) -> None:
    with bench() as b:
        interrupt = b.intx(1, shim)
        for _ in range(5 * LIMIT):
            b.card().fire()
            found = interrupt.read()
            assert [event.count for event in found] == [1]
            b.card().quiet()
            interrupt.unmask()
        assert not caplog.records


def test_many_interrupts_of_an_old_device_are_no_storm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intx, "_PAUSE_NS", 0)
    with bench() as b:
        b.without_disable_bit(1)
        interrupt = b.intx(1)
        for _ in range(5 * LIMIT):
            b.card().fire()
            assert len(interrupt.read()) == 1
            b.card().quiet()
            interrupt.unmask()
        assert not caplog.records


def test_a_storm_that_ended_can_be_unmasked() -> None:
    with bench(Raging()) as b:
        raging = b.intx(1)
        b.card().fire()
        serve(raging)
        b.card().signals.line(False)
        raging.unmask()
        for _ in range(5):
            b.card().signals.line(True)
            assert len(raging.read()) == 1
            b.card().signals.line(False)
            raging.unmask()


def test_a_line_that_nobody_claims_is_masked_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    with bench() as b:
        b.without_disable_bit(1)  # with it, the device is quieted by itself: see below
        interrupt = b.intx(1, NEVER_OURS)
        b.card().fire()
        for _ in range(10 * LIMIT):
            if not ready(interrupt):
                break
            assert not interrupt.read()
        assert not ready(interrupt)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert interrupt.name in record.getMessage()
        assert "nobody's" in record.getMessage()
        b.card().quiet()
        interrupt.disestablish()
        interrupt.establish(READ_ONLY)
        b.card().fire()
        assert interrupt.read()[0].status[0] == 1


def test_a_shim_that_takes_nothing_costs_its_own_device_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blind = Shim().read(4, 0, CAUSES).and_(0).notz().deliver().encode()
    with bench(*[Signaller() for _ in range(1 + SHARES)]) as made:
        wrong, right = made.intx(1, blind), made.intx(1 + SHARES)
        made.card(1).fire()
        for _ in range(2 * LIMIT):
            wrong.read()
        assert "its shim takes nothing: it is masked" in caplog.text
        assert wrong.masked
        made.card(1 + SHARES).fire()
        assert count(right) == 1


def test_an_unclaimed_device_is_named_and_quieted(caplog: pytest.LogCaptureFixture) -> None:
    with bench(*shared(Raging())) as b:
        interrupt = b.intx(1 + SHARES)
        b.card(1).fire()
        assert not events(interrupt)
        (record,) = caplog.records
        assert "0000:00:01.0" in record.getMessage()
        b.card(1 + SHARES).fire()
        assert count(interrupt) == 1
        assert next(iter(b.host.router.lines.values())).unclaimed == {Address(0, 0, 1, 0): 1}


# ---- handlers -----------------------------------------------------------------------------


class Fail(Driver):
    """A driver whose handler raises at the second interrupt."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        return pa.product == 2

    def attach(self, pa: PciAttachArgs) -> None:
        self.pc, self.calls = pa.pa_pc, 0
        self.iot, self.ioh, *_ = pci_mapreg_map(pa, pr.PCI_BAR0, pr.PCI_MAPREG_TYPE_MEM)
        types = {type_.value: type_ for type_ in IntrType}
        self.handles = pci_intr_alloc(pa, max_type=types[self.properties["intr"]])
        pci_conf_write(pa.pa_pc, pa.pa_tag, pr.PCI_COMMAND_STATUS_REG, COMMAND)
        self.ih = pci_intr_establish(pa.pa_pc, self.handles[0], kern.IPL_NET, self.intr, self)

    def intr(self, arg: object) -> bool:
        assert arg is self
        self.calls += 1
        bus_space_write_4(self.iot, self.ioh, ACK, bus_space_read_4(self.iot, self.ioh, CAUSES))
        if self.calls == 2:
            raise ZeroDivisionError("the handler's own")
        return True

    def detach(self) -> None:
        pci_intr_disestablish(self.pc, self.ih)


every_type = pytest.mark.parametrize("type_", [type_.value for type_ in IntrType])


@every_type
def test_a_handler_that_raises_is_reported_and_masked(
    type_: str, cpu: Cpu, caplog: pytest.LogCaptureFixture
) -> None:
    with bench() as b, Autoconf(b.host, properties={"fail": {"intr": type_}}) as autoconf:
        (fail,) = autoconf.attach([Fail])
        assert isinstance(fail, Fail)
        assert pci_intr_type(fail.pc, fail.handles[0]).value == type_
        b.card().fire()
        kern.delay(0)
        assert (fail.calls, pci_intr_evcnt(fail.pc, fail.handles[0]).ev_count) == (1, 1)
        for _ in range(3):
            b.card().fire()
            kern.delay(0)
        assert fail.calls == 2
        (failure,) = cpu.failures
        assert isinstance(failure, ZeroDivisionError)
        assert "in intr" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert fail.xname in caplog.text or fail.handles[0].interrupt.name in caplog.text
        kern.delay(0)
        fail.detach()


def test_two_drivers_on_one_line_each_get_their_own(cpu: Cpu) -> None:
    properties = {"fail": {"intr": "intx"}}
    with (
        bench(*shared(Signaller())) as b,
        Autoconf(b.host, properties=properties) as autoconf,
    ):
        autoconf.attach([Fail])
        one, other = (autoconf.devices[slot] for slot in (0, SHARES))
        assert isinstance(one, Fail)
        assert isinstance(other, Fail)
        b.card(1 + SHARES).fire()
        kern.delay(0)
        assert (one.calls, other.calls) == (0, 1)
        b.card(1).fire()
        kern.delay(0)
        assert (one.calls, other.calls) == (1, 1)


@every_type
def test_nothing_stays_open_after_50_attachments(type_: str, cpu: Cpu) -> None:
    with bench() as b:
        before = descriptors()
        for _ in range(50):
            with Autoconf(b.host, properties={"fail": {"intr": type_}}) as autoconf:
                autoconf.attach([Fail])
                b.card().fire()
                kern.delay(0)
        assert descriptors() == before
        assert not cpu.failures
        assert cpu.idle_forever()


def test_a_released_handler_can_be_disestablished(cpu: Cpu) -> None:
    class Release(Fail):
        name = "fail"

        def attach(self, pa: PciAttachArgs) -> None:
            super().attach(pa)
            pci_intr_release(pa, self.handles)

    with bench() as b, Autoconf(b.host, properties={"fail": {"intr": "msi"}}) as autoconf:
        autoconf.attach([Release])
        b.card().fire()
        kern.delay(0)
    assert cpu.idle_forever()


@pytest.mark.parametrize("type_", [PCI_INTR_TYPE_INTX, PCI_INTR_TYPE_MSI, PCI_INTR_TYPE_MSIX])
def test_the_host_may_be_closed_before_its_drivers(type_: IntrType, cpu: Cpu) -> None:
    with bench() as b:
        autoconf = Autoconf(b.host, properties={"fail": {"intr": type_.value}})
        autoconf.attach([Fail])
        b.host.close()
        kern.delay(0)
        autoconf.close()
    assert cpu.idle_forever()


# ---- a random client ------------------------------------------------------------------------


class Contract(RuleBasedStateMachine):
    """Two functions share a line, a third sends MSI; their driver does anything, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.b = Bench([Signaller() for _ in range(SHARES + 1)])
        self.slots = {"a": 1, "b": 1 + SHARES, "m": 2}
        self.interrupts: dict[str, GuardInterrupt] = {}
        for name, slot in self.slots.items():
            type_ = IntrType.MSI if name == "m" else IntrType.INTX
            (self.interrupts[name],) = self.b.messages(type_, 1, slot)
        self.masked = dict.fromkeys(self.slots, True)
        self.raised = dict.fromkeys(self.slots, 0)
        self.handled = dict.fromkeys(self.slots, 0)

    names = st.sampled_from(["a", "b", "m"])

    def asserted(self, name: str) -> bool:
        return self.b.card(self.slots[name]).causes != 0

    @rule(name=names)
    def fire(self, name: str) -> None:
        """A device that is quiet interrupts; one that is not has nothing to add to its line."""
        if name == "m" or not self.asserted(name):
            self.b.card(self.slots[name]).fire()
            self.raised[name] += 1

    @rule(name=names)
    def handle(self, name: str) -> None:
        """As a driver does: read, acknowledge at the device, unmask."""
        found = self.interrupts[name].read()
        if found:
            self.handled[name] += sum(event.count for event in found)
            self.b.card(self.slots[name]).quiet()
            self.interrupts[name].unmask()
            self.masked[name] = False

    @rule(name=names)
    def mask(self, name: str) -> None:
        if self.interrupts[name].established:
            self.interrupts[name].mask()
            self.masked[name] = True

    @rule(name=names)
    def unmask(self, name: str) -> None:
        if self.interrupts[name].established and not ready(self.interrupts[name]):
            self.interrupts[name].unmask()
            self.masked[name] = False

    @rule(name=names)
    def establish(self, name: str) -> None:
        if not self.interrupts[name].established:
            self.interrupts[name].establish()
            self.masked[name] = False

    @rule(name=names)
    def disestablish(self, name: str) -> None:
        """The driver puts the device to rest, too."""
        self.interrupts[name].disestablish()
        self.b.card(self.slots[name]).quiet()
        self.masked[name] = True

    @rule()
    def service(self) -> None:
        """Another client reads."""
        self.b.host.router.service()

    @invariant()
    def no_more_than_was_raised(self) -> None:
        for name in self.slots:
            assert self.handled[name] <= self.raised[name]

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """What is asserted and may fire has a reader that polls readable."""
        for name in "ab":
            if self.asserted(name) and not self.masked[name]:
                assert ready(self.interrupts[name])

    @precondition(lambda self: not self.masked["m"])
    @rule()
    def messages_arrive(self) -> None:
        self.handle("m")
        assert not self.interrupts["m"].pending()

    def teardown(self) -> None:
        self.b.host.close()


Contract.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestContract = Contract.TestCase
