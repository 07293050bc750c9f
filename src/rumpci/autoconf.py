"""autoconf(9): drivers match, attach and detach, and say so as NetBSD does.

    class Edu(Driver):
        '''The educational device.'''

        @staticmethod
        def match(pa):
            return pa.vendor == 0x1234 and pa.product == 0x11e8

        def attach(self, pa):
            pci_aprint_devinfo(self, pa)
            self.iot, self.ioh, *_ = pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)

However attach or detach ends, the claim is released and every window dies.
"""

from __future__ import annotations

import contextlib
import enum
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from rumpci import pcireg as pr
from rumpci.cpu import curcpu
from rumpci.errors import DriverAttachError, RumpciError
from rumpci.host import Function, Host
from rumpci.host_platform import PlatformDevice, PlatformHost
from rumpci.mainbus import MainbusAttachArgs, mainbus_claimed
from rumpci.pci import PciAttachArgs, PciChipset, pci_devinfo


class Level(enum.IntEnum):
    """How much the console shows; NetBSD's AB_QUIET, AB_NORMAL, AB_VERBOSE, AB_DEBUG."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2
    DEBUG = 3


class Console:
    """Where messages go; it knows whether a line is open."""

    def __init__(self, write: Callable[[str], object], level: Level = Level.NORMAL) -> None:
        self._write = write
        self.level = level
        self._open = False

    def put(self, text: str) -> None:
        """Write a piece of a line, or lines."""
        if text:
            self._write(text)
            self._open = not text.endswith("\n")

    def line(self, text: str) -> None:
        """Write a whole line, on a line of its own."""
        self.end()
        self.put(text.removesuffix("\n") + "\n")

    def end(self) -> None:
        """End the line if one is open."""
        if self._open:
            self.put("\n")


class Units:
    """The next unit number of each name, from 0 on."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        """A number for one more of this name."""
        unit = self._next.get(name, 0)
        self._next[name] = unit + 1
        return unit


class Driver:
    """A device driver (cfdriver and softc in one): subclass it.

    `name` is the driver's name, by default the class's in lower case; `attaches_at` is the
    bus whose devices it is offered: "pci", or "mainbus" (mainbus.py); `xname`
    is the device's, with its unit number; `properties` are what the user set for
    it (`rumpci run --set edu.intr=msi`), as device_properties(9) has them;
    `next_unit(name)` numbers what it attaches itself, such as ld0; `kept` is what `detach`
    returned before a reload (`rumpci run --reload --keep-state`), None the first time.
    """

    name: ClassVar[str] = ""
    attaches_at: ClassVar[str] = "pci"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = vars(cls).get("name") or cls.__name__.lower()

    def __init__(
        self, unit: int, console: Console, properties: Mapping[str, str] | None = None
    ) -> None:
        self.properties = dict(properties or {})
        self.unit = unit
        self.xname = f"{self.name}{unit}"
        self.console = console
        self.next_unit: Callable[[str], int] = Units()
        self.kept: Any = None

    @staticmethod
    def match(pa: Any) -> bool | int:
        """Whether the driver wants this function; of several, the highest number gets it."""
        del pa
        return 0

    def attach(self, pa: Any) -> None:
        """Take the device into use.  Whatever it raises, the device is given back."""

    def run(self) -> None:
        """What the process does once everything is attached; returns when it is done."""

    def detach(self) -> object:
        """Put the device to rest.  Windows are unmapped afterwards in any case.

        What it returns can be the next attach's `kept`: None, or what JSON can say.
        """


def device_xname(dev: Driver) -> str:
    """The device's name with its unit number, such as edu0."""
    return dev.xname


def device_unit(dev: Driver) -> int:
    """The device's unit number."""
    return dev.unit


def aprint_normal_dev(dev: Driver, text: str) -> None:
    """Say `text` for a device.  aprint_normal(9)."""
    _aprint(dev, Level.NORMAL, text)


def aprint_verbose_dev(dev: Driver, text: str) -> None:
    """Say `text` for a device if the console is verbose."""
    _aprint(dev, Level.VERBOSE, text)


def aprint_debug_dev(dev: Driver, text: str) -> None:
    """Say `text` for a device if the console shows debugging."""
    _aprint(dev, Level.DEBUG, text)


def aprint_error_dev(dev: Driver, text: str) -> None:
    """Say that something is wrong with a device; always shown."""
    _aprint(dev, Level.QUIET, text)


def _aprint(dev: Driver, level: Level, text: str) -> None:
    if dev.console.level >= level:
        dev.console.line(f"{dev.xname}: {text}")


def pci_aprint_devinfo(dev: Driver, pa: PciAttachArgs, addname: str | None = None) -> None:
    """End the attach line with the device's name (or `addname`) and revision."""
    name = addname or pci_devinfo(pa.pa_id, pa.pa_class)
    if dev.console.level >= Level.NORMAL:
        dev.console.put(f": {name} (rev. {pr.PCI_REVISION(pa.pa_class):#04x})\n")


@contextlib.contextmanager
def claimed(pc: PciChipset, function: Function, who: str) -> Iterator[PciAttachArgs]:
    """A function, held for `who` and usable through what is yielded; released at the end.

    Raises as Host.claim.
    """
    with contextlib.ExitStack() as acquired:
        claim = pc.host.claim(function.address, who)
        acquired.callback(claim.release)
        acquired.callback(curcpu().disestablish_owner, claim)
        pc.claims[function.address] = claim
        acquired.callback(pc.claims.pop, function.address)
        pa = PciAttachArgs.of(pc, function, who)
        for tag in (pa.pa_memt, pa.pa_iot):
            tag.claim = claim
            acquired.callback(setattr, tag, "claim", None)
        pa.pa_dmat.root.claim = claim
        acquired.callback(setattr, pa.pa_dmat.root, "claim", None)
        yield pa


class Autoconf:
    """Attaches drivers to a host's functions; a context manager that detaches them.

    `properties` are per driver name, for its devices; `devices` are the attached drivers, in order.
    `failing(doing, device, error)` is told what a driver raises, before anything is released.
    `kept` is by device, and changes: an attach takes a value out, a detach puts one in.
    `units` numbers the devices, if others number theirs with it.
    """

    def __init__(
        self,
        host: Host,
        console: Console | None = None,
        properties: Mapping[str, Mapping[str, str]] | None = None,
        failing: Callable[[str, Driver, BaseException], None] | None = None,
        kept: dict[str, Any] | None = None,
        units: Callable[[str], int] | None = None,
    ) -> None:
        self.failing = failing or (lambda _doing, _device, _error: None)
        self.pc = PciChipset(host)
        self._properties = properties or {}
        self.console = console or Console(lambda _text: None)
        self.devices: list[Driver] = []
        self._kept = {} if kept is None else kept
        self._next = units or Units()
        self._attached = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def attach(self, drivers: Sequence[type[Driver]]) -> list[Driver]:
        """Offer every unclaimed function to `drivers`; attach the best match of each.

        Returns the new devices.  Raises DriverAttachError (EIO) for the first
        attach that fails; what was attached before stays attached.
        """
        before = len(self.devices)
        self._offer_platform([d for d in drivers if d.attaches_at == "mainbus"])
        drivers = [d for d in drivers if d.attaches_at == "pci"]
        for function, bus in offered(self.pc.host.functions(), self.console, self._next):
            best, driver = self.best(function, drivers)
            if best > 0:
                self.attach_to(driver, function, bus)
            else:
                not_configured(function, bus, self.console)
        return self.devices[before:]

    def best(self, function: Function, drivers: Sequence[type[Driver]]) -> tuple[int, type[Driver]]:
        """Which of `drivers` matches best, and how well: the first of those; 0 is not at all."""
        pa = PciAttachArgs.of(self.pc, function)
        ranked = [(int(driver.match(pa) or 0), driver) for driver in drivers]
        return max(ranked, key=lambda pair: pair[0], default=(0, Driver))

    def _offer_platform(self, drivers: Sequence[type[Driver]]) -> None:
        """Offer what is not PCI to the drivers for that; what none wants is not mentioned."""
        host: object = self.pc.host
        if not drivers or not isinstance(host, PlatformHost):
            return
        for device in host.platform():
            ma = MainbusAttachArgs.of(device)
            ranked = [(int(driver.match(ma) or 0), driver) for driver in drivers]
            best, driver = max(ranked, key=lambda pair: pair[0])
            if best > 0 and device.claimed_by is None:
                self.attach_to(driver, device, "mainbus0")

    def attach_to(
        self, driver: type[Driver], function: Function | PlatformDevice, bus: str
    ) -> None:
        """Attach a device of `driver` to a function.  Raises DriverAttachError (EIO), as claim."""
        dev = driver(self._next(driver.name), self.console, self._properties.get(driver.name))
        dev.next_unit = self._next
        dev.kept = self._kept.pop(dev.xname, None)
        with contextlib.ExitStack() as acquired:
            pa = self._claim(dev, function, acquired)
            self.console.end()
            self.console.put(f"{dev.xname} at {_place(function, bus)}")
            try:
                dev.attach(pa)
            except Exception as error:
                self.failing("attaching", dev, error)
                raise _attach_error(dev, function, error) from error
            finally:
                self.console.end()
            acquired.callback(self._detach, dev)
            self._attached.push(acquired.pop_all())
        self.devices.append(dev)

    def _claim(
        self, dev: Driver, function: Function | PlatformDevice, acquired: contextlib.ExitStack
    ) -> Any:
        """Claim the function for `dev` until `acquired` is closed."""
        host: object = self.pc.host
        if isinstance(function, PlatformDevice):
            assert isinstance(host, PlatformHost)  # noqa: S101  # who else listed it
            return acquired.enter_context(mainbus_claimed(host, function, dev.xname))
        return acquired.enter_context(claimed(self.pc, function, dev.xname))

    def _detach(self, dev: Driver) -> None:
        self.devices.remove(dev)
        try:
            kept = dev.detach()
            if kept is not None:
                self._kept[dev.xname] = kept
        except Exception as error:
            self.failing("detaching", dev, error)
            raise
        finally:
            self.console.line(f"{dev.xname}: detached")

    def close(self) -> None:
        """Detach every device, the last first; each is released even if its detach raises."""
        self._attached.close()


def offered(
    functions: Sequence[Function], console: Console, units: Callable[[str], int]
) -> Iterator[tuple[Function, str]]:
    """The functions that a driver may have, with their buses' names; says what the buses are."""
    buses: dict[int, str] = {0: "pci0"}
    console.line("pci0 at mainbus0 bus 0")
    for function in functions:
        bus = buses.get(function.address.bus, f"pci{function.address.bus}")
        if function.secondary is not None:
            ppb = f"ppb{units('ppb')}"
            name = pci_devinfo(function.id, function.class_)
            console.line(f"{ppb} at {_place(function, bus)}: {name}")
            buses[function.secondary] = f"pci{len(buses)}"
            console.line(f"{buses[function.secondary]} at {ppb} bus {function.secondary}")
        elif not function.is_bridge and function.claimed_by is None:
            yield function, bus


def not_configured(function: Function, bus: str, console: Console) -> None:
    """Say that no driver matches a function."""
    name = pci_devinfo(function.id, function.class_, showclass=True)
    console.line(f"{name} at {_place(function, bus)} not configured")


def _place(function: Function | PlatformDevice, bus: str) -> str:
    if isinstance(function, PlatformDevice):
        return f"{bus} {function.name}"
    return f"{bus} dev {function.address.device} function {function.address.function}"


def _attach_error(
    dev: Driver, function: Function | PlatformDevice, error: Exception
) -> DriverAttachError:
    what = str(error) if isinstance(error, RumpciError) else f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if not isinstance(error, RumpciError):
        what += f" ({Path(frame.filename).name}:{frame.lineno})"
    return DriverAttachError(
        f"attaching {dev.xname} to {function.address}",
        what,
        "everything it had acquired was released; mend the driver and run it again",
    )
