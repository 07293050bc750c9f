"""A function to another driver of the kernel, and back: checked, noted, done, looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rumpci.binding import original, writes
from rumpci.binding.original import Original
from rumpci.binding.use import Use, text_of
from rumpci.binding.uses import uses
from rumpci.binding.writes import Write
from rumpci.errors import DeviceBusy, HostRefused, HostUnavailable, NotSupported, RumpciError
from rumpci.host import Address
from rumpci.hosts.vfio.errors import no_function, no_iommu
from rumpci.machines import sysfs
from rumpci.machines.sysfs import SysFunction

_UNSAFE = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


@dataclass(frozen=True)
class Kernel:
    """Whose sysfs, what writes into it, and whether a device in use is left alone."""

    root: Path = Path("/")
    write: writes.Writer = writes.to_file
    force: bool = False


@dataclass(frozen=True)
class Change:
    """Giving `function` to `driver`, or back to its original (None), which was `noted`."""

    function: SysFunction
    driver: str | None
    noted: Original | None
    writes: Sequence[Write]
    uses: Sequence[Use]
    """What speaks against it."""

    @property
    def tried(self) -> str:
        """For messages."""
        return _tried(self.function.address, self.driver)


def _tried(address: Address, driver: str | None) -> str:
    return f"giving {address} to {driver or 'its original driver'}"


def find(address: Address, tried: str, root: Path) -> SysFunction:
    """The function.  Raises NoSuchDevice (ENXIO), NotSupported if it is a bridge."""
    function = sysfs.find(address, root)
    if function is None:
        raise no_function(tried, address)
    if function.is_bridge:
        raise NotSupported(tried, "it is a bridge, which the kernel keeps", "name what is behind")
    return function


def to_driver(address: Address, driver: str, kernel: Kernel, *, identity: bool = False) -> Change:
    """What giving a function to `driver` takes; nothing is changed.

    Raises as `find` does, and HostUnavailable: no such driver in the kernel, no IOMMU.
    """
    tried = _tried(address, driver)
    function = find(address, tried, kernel.root)
    _check_driver(tried, function, driver, kernel.root)
    steps = list(writes.to_driver(function, driver, kernel.root, identity=identity))
    noted = original.recall(function, kernel.root)
    return Change(function, driver, noted, steps, _disturbed(function, steps, kernel.root))


def to_original(address: Address, kernel: Kernel, noted: Original | None = None) -> Change:
    """What giving a function back takes: to `noted`, or to what the first change has noted.

    Raises as `find` does.
    """
    function = find(address, _tried(address, None), kernel.root)
    noted = noted or original.recall(function, kernel.root)
    steps = list(writes.to_original(function, noted, kernel.root))
    return Change(function, None, noted, steps, _disturbed(function, steps, kernel.root))


def _disturbed(function: SysFunction, steps: Sequence[Write], root: Path) -> list[Use]:
    return uses(function, root) if steps else []


def _check_driver(tried: str, function: SysFunction, driver: str, root: Path) -> None:
    if not (root / "sys/bus/pci/drivers" / driver).is_dir():
        raise HostUnavailable(
            tried, f"the kernel has not loaded {driver}", f"as root: modprobe {driver}"
        )
    unsafe = text_of(root / _UNSAFE) in ("Y", "1")
    if driver == "vfio-pci" and function.group is None and not unsafe:
        raise no_iommu(tried, root)


def check(change: Change, kernel: Kernel) -> None:
    """Raise DeviceBusy (EBUSY) if the device is in use, unless that is forced."""
    if change.uses and not kernel.force:
        what = "; ".join(use.what for use in change.uses)
        first = ", ".join(dict.fromkeys(f"`{use.remedy}`" for use in change.uses))
        target = change.driver or "original"
        raise DeviceBusy(
            change.tried,
            f"it is in use: {what}",
            f"first {first}; or `rumpci bind {change.function.address} {target} --force`",
        )


def perform(change: Change, kernel: Kernel) -> None:
    """Do it.  Raises DeviceBusy; HostRefused if the kernel refuses, and then it is undone."""
    check(change, kernel)
    if change.driver is None:
        writes.perform(change.writes, change.tried, kernel.write)
        _look(change, change.noted.driver if change.noted else change.function.driver)
        original.forget(change.function, kernel.root)
    elif change.writes:
        before = original.current(change.function)
        original.remember(change.function, kernel.root)
        try:
            writes.perform(change.writes, change.tried, kernel.write)
            _look(change, change.driver)
        except RumpciError as error:
            _undo(change, before, kernel, error)
            raise


def _look(change: Change, wanted: str | None) -> None:
    """The kernel does not always say it when a driver refuses a function: look who has it."""
    if change.function.driver != wanted:
        raise HostRefused(
            change.tried,
            f"{wanted or 'no driver'} was wanted, {change.function.driver or 'no driver'} has it",
            "see the kernel's messages (dmesg)",
        )


def _undo(change: Change, before: Original, kernel: Kernel, error: RumpciError) -> None:
    """Half of a change is none: back to how it was.  What that raises is a note."""
    back = list(writes.to_original(change.function, before, kernel.root))
    try:
        writes.perform(back, change.tried, kernel.write)
    except RumpciError as second:
        error.add_note(f"and it could not be undone: {second}")
        return
    if change.noted is None:
        original.forget(change.function, kernel.root)
