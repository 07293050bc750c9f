"""Giving functions to other drivers of a kernel, and back: on a kernel in a folder."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.binding import change, group
from rumpci.binding.around import bound
from rumpci.binding.change import Kernel
from rumpci.binding.writes import DRIVERS
from rumpci.errors import (
    BadURL,
    DeviceBusy,
    HostRefused,
    HostUnavailable,
    NoSuchDevice,
    NotSupported,
    RumpciError,
)
from rumpci.host import Address
from rumpci.machines import sysfs
from tests.unit.fakekernel import BRIDGE, E1000E, FakeKernel

NVME = "0000:01:00.0"
SECOND = "0000:01:00.1"


@pytest.fixture
def fake(tmp_path: Path) -> FakeKernel:
    fake = FakeKernel(tmp_path, DRIVERS)
    fake.add(NVME, "nvme")
    return fake


def kernel(fake: FakeKernel, *, force: bool = False) -> Kernel:
    return Kernel(fake.root, fake.write, force)


def to_driver(fake: FakeKernel, driver: str, address: str = NVME, *, force: bool = False) -> None:
    use = kernel(fake, force=force)
    change.perform(change.to_driver(Address.parse(address), driver, use), use)


def to_original(fake: FakeKernel, address: str = NVME) -> None:
    change.perform(change.to_original(Address.parse(address), kernel(fake)), kernel(fake))


def notes(fake: FakeKernel) -> list[str]:
    directory = fake.root / "run/rumpci/bind"
    return sorted(file.name for file in directory.glob("*"))


# ---- there and back ------------------------------------------------------------------------


def test_the_writes_are_those_of_the_documentation(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    device = f"{fake.root}/sys/bus/pci/devices/{NVME}"
    assert fake.log == [
        f"echo {NVME} > {device}/driver/unbind",
        f"echo vfio-pci > {device}/driver_override",
        f"echo {NVME} > {fake.root}/sys/bus/pci/drivers_probe",
    ]
    assert fake.driver(NVME) == "vfio-pci"


def test_the_original_comes_back_after_two_changes(fake: FakeKernel) -> None:
    before = fake.tree()
    to_driver(fake, "vfio-pci")
    to_driver(fake, "uio_pci_generic")
    assert fake.driver(NVME) == "uio_pci_generic"
    assert notes(fake) == [NVME]
    to_original(fake)
    assert fake.tree() == before
    assert notes(fake) == []


def test_what_has_it_already_is_left_alone(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    fake.log.clear()
    to_driver(fake, "vfio-pci")
    assert fake.log == []


def test_a_driver_that_nobody_noted_is_the_one_that_fits(tmp_path: Path) -> None:
    fake = FakeKernel(tmp_path, DRIVERS)
    fake.load("nvme")
    fake.add(NVME, "vfio-pci", fits="nvme", override="vfio-pci")
    to_original(fake)
    assert fake.driver(NVME) == "nvme"


def test_a_driver_of_the_kernel_that_nobody_changed_stays(fake: FakeKernel) -> None:
    to_original(fake)
    assert fake.log == []
    assert fake.driver(NVME) == "nvme"


def test_a_note_of_another_card_is_none(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    config = fake.bus / "devices" / NVME / "config"
    config.write_bytes(b"\x86\x80\x01\x02" + config.read_bytes()[4:])
    fake.fits[NVME] = "e1000e"
    fake.load("e1000e")
    to_original(fake)
    assert fake.driver(NVME) == "e1000e"


def test_a_note_that_is_no_note_is_none(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    (fake.root / "run/rumpci/bind" / NVME).write_text("[]")
    to_original(fake)
    assert fake.driver(NVME) == "nvme"


def test_an_original_driver_that_was_unloaded_is_named(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    (fake.bus / "drivers/nvme").rmdir()
    with pytest.raises(HostRefused, match="modprobe nvme") as caught:
        to_original(fake)
    assert caught.value.errno == errno.ENOENT
    assert notes(fake) == [NVME]


# ---- refusals ------------------------------------------------------------------------------


def test_a_driver_that_does_not_take_it_leaves_everything_as_it_was(fake: FakeKernel) -> None:
    before = fake.tree()
    fake.refusing.add("vfio-pci")
    with pytest.raises(HostRefused, match="vfio-pci was wanted, no driver has it"):
        to_driver(fake, "vfio-pci")
    assert fake.tree() == before
    assert notes(fake) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EACCES, "as root"), (errno.EROFS, "container"), (errno.EIO, "dmesg")],
)
def test_a_write_that_is_refused_has_the_errno_and_a_remedy(
    fake: FakeKernel, number: int, remedy: str
) -> None:
    def refuse(path: Path, line: str) -> None:
        raise OSError(number, "refused")

    use = Kernel(fake.root, refuse)
    with pytest.raises(HostRefused, match=remedy) as caught:
        change.perform(change.to_driver(Address.parse(NVME), "vfio-pci", use), use)
    assert caught.value.errno == number


def test_what_cannot_be_undone_is_said_too(fake: FakeKernel) -> None:
    def refuse(path: Path, line: str) -> None:
        if path.name == "unbind":
            fake.write(path, line)
        else:
            raise OSError(errno.EIO, "refused")

    use = Kernel(fake.root, refuse)
    with pytest.raises(HostRefused) as caught:
        change.perform(change.to_driver(Address.parse(NVME), "vfio-pci", use), use)
    assert "could not be undone" in caught.value.__notes__[0]
    assert notes(fake) == [NVME]


def test_no_function_no_module_no_iommu_a_bridge(tmp_path: Path) -> None:
    fake = FakeKernel(tmp_path)
    fake.add(NVME, "nvme", group=None)
    fake.add("0000:00:1c.0", "pcieport", code=BRIDGE)
    with pytest.raises(NoSuchDevice):
        to_driver(fake, "vfio-pci", "0000:09:00.0")
    with pytest.raises(HostUnavailable, match="modprobe uio_pci_generic"):
        to_driver(fake, "uio_pci_generic")
    with pytest.raises(HostUnavailable, match="intel_iommu=on"):
        to_driver(fake, "vfio-pci")
    with pytest.raises(NotSupported, match="bridge"):
        to_driver(fake, "vfio-pci", "0000:00:1c.0")
    fake.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
    to_driver(fake, "vfio-pci")
    assert fake.driver(NVME) == "vfio-pci"


def test_a_device_in_use_is_taken_only_by_force(fake: FakeKernel) -> None:
    before = fake.tree()
    fake.file(f"sys/devices/pci0000:00/{NVME}/boot_vga", "1\n")
    before = fake.tree()
    with pytest.raises(DeviceBusy, match=r"boot_vga.*--force") as caught:
        to_driver(fake, "vfio-pci")
    assert caught.value.errno == errno.EBUSY
    assert fake.tree() == before
    assert fake.log == []
    to_driver(fake, "vfio-pci", force=True)
    assert fake.driver(NVME) == "vfio-pci"


# ---- around a run --------------------------------------------------------------------------


def test_a_run_binds_and_gives_back_whatever_happens(fake: FakeKernel) -> None:
    fake.add("0000:02:00.0", "e1000e", group=2, code=E1000E)
    before = fake.tree()
    with pytest.raises(ZeroDivisionError), bound("vfio:01:00.0,02:00.0?memory=4M", kernel(fake)):
        fail_with([fake.driver(a) for a in (NVME, "0000:02:00.0")])
    assert fake.tree() == before


def fail_with(drivers: list[str | None]) -> None:
    assert drivers == ["vfio-pci"] * 2
    raise ZeroDivisionError


def test_a_run_leaves_what_was_bound_before(fake: FakeKernel) -> None:
    to_driver(fake, "vfio-pci")
    before = fake.tree()
    with bound("uio:01:00.0", kernel(fake)):
        assert fake.driver(NVME) == "uio_pci_generic"
    assert fake.tree() == before
    assert notes(fake) == [NVME]
    fake.log.clear()
    with bound("vfio:01:00.0", kernel(fake)):
        assert fake.log == []
    to_original(fake)
    assert fake.driver(NVME) == "nvme"


def test_a_run_whose_second_device_is_refused_gives_the_first_back(fake: FakeKernel) -> None:
    before = fake.tree()
    with (
        pytest.raises(NoSuchDevice),
        bound("vfio:01:00.0,09:00.0", kernel(fake)),
    ):
        pytest.fail("not reached")
    assert fake.tree() == before


@pytest.mark.parametrize("host", ["qemu:edu", "vfio:", "uio:/dev/uio0"])
def test_a_run_has_nothing_to_bind(host: str, fake: FakeKernel) -> None:
    with pytest.raises(BadURL), bound(host, kernel(fake)):
        pytest.fail("not reached")


# ---- groups --------------------------------------------------------------------------------


def test_a_group_is_explained_function_by_function(fake: FakeKernel) -> None:
    fake.add(SECOND, "snd_hda_intel")
    fake.add("0000:01:00.2")
    fake.add("0000:00:01.0", "pcieport", code=BRIDGE)
    to_driver(fake, "vfio-pci")
    function = sysfs.find(Address.parse(NVME), fake.root)
    assert function is not None
    assert group.explain(function) == [
        "IOMMU group 1 cannot be used yet:",
        "    0000:00:01.0  pcieport: a bridge, which does not block",
        "    0000:01:00.0  vfio-pci: ready",
        "    0000:01:00.1  snd_hda_intel: blocks; run `rumpci bind 0000:01:00.1 vfio-pci`",
        "    0000:01:00.2  no driver: does not block",
    ]
    to_driver(fake, "vfio-pci", SECOND)
    assert group.explain(function)[0] == "IOMMU group 1 can be used:"


# ---- whatever the machine ------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A machine by chance, and what is asked of it."""

    functions: list[tuple[str | None, str, int | None]]
    """Driver, override, group."""
    driver: str
    identity: bool
    refuses: bool

    @contextmanager
    def fake(self) -> Iterator[FakeKernel]:
        with tempfile.TemporaryDirectory() as folder:
            fake = FakeKernel(Path(folder), DRIVERS)
            for number, (driver, override, group_number) in enumerate(self.functions):
                fits = None if override else driver
                address = f"0000:01:00.{number}"
                fake.add(address, driver, group=group_number, fits=fits, override=override)
            if self.refuses:
                fake.refusing.add(self.driver)
            yield fake


names = st.sampled_from(["nvme", "ahci", "vfio-pci", "uio_pci_generic"])
drivers = st.one_of(
    names.map(lambda name: (name, name)),  # by override
    names.map(lambda name: (name, "")),  # because it fits
    names.map(lambda name: (None, name)),  # an override for later
    st.just((None, "")),
)
functions = st.builds(
    lambda driver, number: (*driver, number),
    drivers,
    st.sampled_from([None, 1, 2]),
)
machines = st.builds(
    Made,
    st.lists(functions, min_size=1, max_size=4),
    st.sampled_from(DRIVERS),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None, max_examples=150)
@given(machines)
def test_a_dry_run_tells_the_writes_and_there_and_back_is_nothing(made: Made) -> None:
    with made.fake() as fake:
        use, address, before = kernel(fake), Address.parse("0000:01:00.0"), fake.tree()
        try:
            todo = change.to_driver(address, made.driver, use, identity=made.identity)
            assert (fake.tree(), fake.log) == (before, [])
            change.perform(todo, use)
        except RumpciError:
            assert fake.tree() == before
            return
        assert fake.log == [str(write) for write in todo.writes]
        assert fake.driver(str(address)) == made.driver
        back = change.to_original(address, use)
        fake.log.clear()
        if todo.writes:
            change.perform(back, use)
            assert fake.log == [str(write) for write in back.writes]
            assert fake.tree() == before
        assert notes(fake) == []
