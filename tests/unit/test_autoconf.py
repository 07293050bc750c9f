"""autoconf(9): who gets a function, what is released when, and what is said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import pytest

from rumpci.autoconf import (
    Autoconf,
    Console,
    Driver,
    Level,
    aprint_debug_dev,
    aprint_error_dev,
    aprint_normal_dev,
    aprint_verbose_dev,
    device_unit,
    device_xname,
    pci_aprint_devinfo,
)
from rumpci.bus_space import BusSpaceHandle, bus_space_read_4
from rumpci.errors import DeadWindow, DriverAttachError, NotClaimed, NotSupported
from rumpci.host import Host
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs, pci_mapreg_map
from rumpci.pcireg import PCI_BAR0, PCI_MAPREG_TYPE_MEM


@pytest.fixture
def host() -> Iterator[Host]:
    with contextlib.closing(open_host("model:edu+edu+edu")) as opened:
        yield opened


class Log:
    """A console whose text can be looked at."""

    def __init__(self, level: Level = Level.NORMAL) -> None:
        self.text = ""
        self.console = Console(self.write, level)

    def write(self, text: str) -> None:
        self.text += text

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class Recorder(Driver):
    """Maps BAR0, and notes what happens to it."""

    events: ClassVar[list[str]] = []
    fail_attach: ClassVar[dict[int, BaseException]] = {}
    fail_detach: ClassVar[dict[int, BaseException]] = {}

    @staticmethod
    def match(pa: PciAttachArgs) -> bool | int:
        return pa.vendor == 0x1234

    def attach(self, pa: PciAttachArgs) -> None:
        self.pa = pa
        self.iot, self.ioh, *_ = pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)
        self.events.append(f"attach {self.xname}")
        if self.unit in self.fail_attach:
            self.mapped.append((self, self.ioh))
            raise self.fail_attach[self.unit]

    def detach(self) -> None:
        self.events.append(f"detach {self.xname}")
        if self.unit in self.fail_detach:
            raise self.fail_detach[self.unit]

    mapped: ClassVar[list[tuple[Driver, BusSpaceHandle]]] = []


@pytest.fixture
def recorder() -> type[Recorder]:
    class Rec(Recorder):
        events, mapped = [], []
        fail_attach, fail_detach = {}, {}

    return Rec


def claimed(host: Host) -> list[str | None]:
    return [f.claimed_by for f in host.functions() if not f.is_bridge]


# ---- who gets it -------------------------------------------------------------------


def matcher(name: str, rank: object) -> type[Driver]:
    return type(name, (Driver,), {"match": staticmethod(lambda _pa: rank)})


@pytest.mark.parametrize(
    ("ranks", "winner"),
    [
        ((1, 2, 3), "d2"), ((3, 2, 1), "d0"), ((2, 2, 1), "d0"), ((0, 1, 1), "d1"),
        ((True, 1, False), "d0"), ((False, 0, -1), None), ((), None), ((None, 1), "d1"),
        ((None,), None),
    ],
)  # fmt: skip
def test_priority(host: Host, ranks: tuple[object, ...], winner: str | None) -> None:
    drivers = [matcher(f"D{i}", rank) for i, rank in enumerate(ranks)]
    with Autoconf(host) as autoconf:
        found = {dev.name for dev in autoconf.attach(drivers)}
    assert found == ({winner} if winner else set())


def test_units_count_for_each_driver(host: Host) -> None:
    class Odd(Driver):
        name = "od"

        @staticmethod
        def match(pa: PciAttachArgs) -> bool | int:
            return 2 * (pa.pa_device % 2)

    class Any(Driver):
        @staticmethod
        def match(_pa: PciAttachArgs) -> bool | int:
            return 1

    with Autoconf(host) as autoconf:
        devices = autoconf.attach([Any, Odd])
        assert [device_xname(dev) for dev in devices] == ["od0", "any0", "od1"]
        assert [device_unit(dev) for dev in devices] == [0, 0, 1]
        assert claimed(host) == ["od0", "any0", "od1"]


def test_claimed_functions_and_bridges_are_not_offered(
    host: Host, recorder: type[Recorder]
) -> None:
    host.claim(host.functions()[1].address, "somebody")
    with Autoconf(host) as autoconf:
        devices = autoconf.attach([recorder])
        assert [dev.pa.pa_device for dev in devices if isinstance(dev, Recorder)] == [2, 3]


def test_attaching_again_offers_what_is_left(host: Host, recorder: type[Recorder]) -> None:
    with Autoconf(host) as autoconf:
        assert len(autoconf.attach([recorder])) == 3
        assert autoconf.attach([recorder]) == []
        assert len(autoconf.devices) == 3


# ---- what is released ----------------------------------------------------------------


def test_detach_in_reverse_order(host: Host, recorder: type[Recorder]) -> None:
    with Autoconf(host) as autoconf:
        devices = autoconf.attach([recorder])
    assert recorder.events == [
        "attach rec0", "attach rec1", "attach rec2", "detach rec2", "detach rec1", "detach rec0",
    ]  # fmt: skip
    assert claimed(host) == [None] * 3
    assert autoconf.devices == []
    for dev in devices:
        assert isinstance(dev, Recorder)
        check_released(dev, dev.ioh, dev.pa)


def check_released(dev: Driver, handle: BusSpaceHandle, pa: PciAttachArgs) -> None:
    with pytest.raises(DeadWindow):
        bus_space_read_4(pa.pa_memt, handle, 0)
    with pytest.raises(NotClaimed):
        pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)
    assert pa.pa_pc.claims == {}


@pytest.mark.parametrize("error", [ValueError("odd"), NotSupported("a", "b", "c")])
def test_attach_that_raises_releases_its_device_only(
    host: Host, recorder: type[Recorder], error: Exception
) -> None:
    recorder.fail_attach[1] = error
    autoconf = Autoconf(host)
    with pytest.raises(DriverAttachError, match=r"rec1 to 0000:00:02\.0") as caught:
        autoconf.attach([recorder])
    assert caught.value.__cause__ is error
    assert claimed(host) == ["rec0", None, None]
    [(dev, handle)] = recorder.mapped
    with pytest.raises(DeadWindow):
        bus_space_read_4(handle.tag, handle, 0)
    assert dev not in autoconf.devices
    autoconf.close()
    assert recorder.events[-1] == "detach rec0"
    assert claimed(host) == [None] * 3


def test_interrupted_attach_releases(host: Host, recorder: type[Recorder]) -> None:
    recorder.fail_attach[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), Autoconf(host) as autoconf:
        autoconf.attach([recorder])
    assert claimed(host) == [None] * 3
    assert recorder.events == ["attach rec0", "attach rec1", "detach rec0"]


def test_detach_that_raises_releases_all(host: Host, recorder: type[Recorder]) -> None:
    recorder.fail_detach |= {1: ValueError("one"), 2: OSError("two")}
    autoconf = Autoconf(host)
    autoconf.attach([recorder])
    with pytest.raises(ValueError, match="one"):
        autoconf.close()
    assert recorder.events[-3:] == ["detach rec2", "detach rec1", "detach rec0"]
    assert claimed(host) == [None] * 3
    autoconf.close()


def test_windows_that_the_driver_unmapped_itself_are_no_trouble() -> None:
    from rumpci.drivers.edu import Edu

    with contextlib.closing(open_host("model:edu")) as host:
        for _ in range(3):
            with Autoconf(host) as autoconf:
                assert len(autoconf.attach([Edu])) == 1


# ---- what is said ----------------------------------------------------------------------


def test_messages_of_a_session() -> None:
    from rumpci.drivers.edu import Edu

    log = Log()
    with contextlib.closing(open_host("model:edu+ram")) as host:
        with Autoconf(host, log.console) as autoconf:
            autoconf.attach([Edu])
        lines = log.lines
    assert lines[0] == "pci0 at mainbus0 bus 0"
    assert lines[1].startswith("edu0 at pci0 dev 1 function 0: ")
    assert lines[1].endswith(" (rev. 0x10)")
    assert lines[2].startswith("edu0: id 0x010000ed")
    assert lines[3:5] == ["edu0: interrupting at msi0 vec 0", "edu0: 10! = 3628800"]
    assert lines[5].endswith("revision 0x00) at pci0 dev 2 function 0 not configured")
    assert lines[6] == "edu0: detached"
    assert log.text.endswith("\n")


def test_silent_and_failing_drivers_leave_whole_lines(host: Host, recorder: type[Recorder]) -> None:
    log = Log()
    recorder.fail_attach[1] = ValueError()
    with pytest.raises(DriverAttachError), Autoconf(host, log.console) as autoconf:
        autoconf.attach([recorder])
    assert log.lines[1:] == [
        "rec0 at pci0 dev 1 function 0", "rec1 at pci0 dev 2 function 0", "rec0: detached",
    ]  # fmt: skip


def test_bridges_are_told_with_their_buses() -> None:
    log = Log()
    ports = "pcie-root-port,id=a,chassis=1+pcie-root-port,id=b,chassis=2+edu,bus=b"
    with (
        contextlib.closing(open_host(f"qemu:{ports}")) as host,
        Autoconf(host, log.console) as autoconf,
    ):
        autoconf.attach([])
    told = [line.split(": ")[0] for line in log.lines]
    assert told[1:5] == [
        "ppb0 at pci0 dev 1 function 0", "pci1 at ppb0 bus 1",
        "ppb1 at pci0 dev 2 function 0", "pci2 at ppb1 bus 2",
    ]  # fmt: skip
    assert any(line.endswith("at pci2 dev 0 function 0 not configured") for line in log.lines)


@pytest.mark.parametrize(
    ("level", "count"), [(Level.QUIET, 1), (Level.NORMAL, 2), (Level.VERBOSE, 3), (Level.DEBUG, 4)]
)
def test_levels(level: Level, count: int) -> None:
    log = Log(level)
    dev = Driver(7, log.console)
    for say in (aprint_error_dev, aprint_normal_dev, aprint_verbose_dev, aprint_debug_dev):
        say(dev, "text")
    assert log.lines == [f"{dev.xname}: text"] * count


def test_devinfo_may_be_named(host: Host) -> None:
    log = Log()

    class Named(Driver):
        match = Recorder.match

        def attach(self, pa: PciAttachArgs) -> None:
            pci_aprint_devinfo(self, pa, "a lamp")

    with Autoconf(host, log.console) as autoconf:
        autoconf.attach([Named])
    assert log.lines[1] == "named0 at pci0 dev 1 function 0: a lamp (rev. 0x10)"


def test_a_console_ends_open_lines() -> None:
    log = Log()
    log.console.put("half")
    log.console.line("whole")
    log.console.line("ended\n")
    log.console.put("")
    log.console.end()
    assert log.text == "half\nwhole\nended\n"
