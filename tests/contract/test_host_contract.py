"""What every host must do, whatever it is made of: one suite, the hosts are data."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from rumpci.errors import BadRange, DeadWindow, DeviceBusy, NoSuchBar, NoSuchDevice, ValueTooWide
from rumpci.host import Address, Claim, Feature, Function, Host, Window
from rumpci.hosts import open_host
from tests.pci4_served import opened

GUARDS = ["model:edu+edu", "model:ram+edu+edu", "qemu:edu+edu", "qemu:pci-serial+edu+edu"]
HOSTS = GUARDS + [f"served+{url}" for url in GUARDS]
HOSTS += [f"node+{url}" for url in GUARDS if url.startswith("model:")]
EDU_ID = 0x11E8_1234
ABSENT = Address(0, 0, 19, 3)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with opened(request.param) as made:
        yield made


@pytest.fixture
def edus(host: Host) -> list[Function]:
    return [f for f in host.functions() if f.id == EDU_ID]


@pytest.fixture
def claim(host: Host, edus: list[Function]) -> Claim:
    return host.claim(edus[0].address, "one")


def every_operation(window: Window) -> list[Callable[[], object]]:
    return [
        lambda: window.read(0, 4),
        lambda: window.write(4, 4, 0),
        lambda: window.read_many(0, 4, 2, 4),
        lambda: window.write_many(4, 4, 4, bytes(4)),
        window.barrier,
        window.present,
        window.unmap,
    ]


# ---- listing --------------------------------------------------------------------


def test_functions_are_sorted_and_different(host: Host) -> None:
    addresses = [f.address for f in host.functions()]
    assert addresses == sorted(set(addresses))


def test_listing_agrees_with_configuration_space(host: Host) -> None:
    for function in host.functions():
        assert host.conf_read(function.address, 0) == function.id
        assert host.conf_read(function.address, 8) == function.class_


def test_bars_are_aligned_and_apart(host: Host) -> None:
    bars = [bar for f in host.functions() for bar in f.bars]
    assert all(bar.base % bar.size == 0 for bar in bars)
    ranges = sorted((bar.space.value, bar.base, bar.base + bar.size) for bar in bars)
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in itertools.pairwise(ranges))


def test_the_url_opens_a_like_host(host: Host) -> None:
    with contextlib.closing(open_host(host.url)) as again:
        assert again.functions() == host.functions()
        assert again.features == host.features


def test_features_tell_of_memory(host: Host) -> None:
    assert Feature.MEMSPACE in host.features


@pytest.mark.parametrize("reg", [0, 4, 0x34, 0x100, 0xFFC])
def test_absent_functions_read_ones(host: Host, reg: int) -> None:
    assert host.conf_read(ABSENT, reg) == 0xFFFF_FFFF


@pytest.mark.parametrize("reg", [-4, 1, 2, 3, 0x1000, 0x7FFF_FFFC])
def test_what_is_no_register(host: Host, edus: list[Function], reg: int) -> None:
    for address in (ABSENT, edus[0].address):
        with pytest.raises(BadRange):
            host.conf_read(address, reg)


# ---- claiming --------------------------------------------------------------------


def test_claim_release_claim(host: Host, edus: list[Function]) -> None:
    for who in ("one", "two", "three"):
        claim = host.claim(edus[0].address, who)
        listed = {f.address: f.claimed_by for f in host.functions()}
        assert listed[edus[0].address] == who
        assert listed[edus[1].address] is None
        claim.release()
    assert all(f.claimed_by is None for f in host.functions())


def test_two_claimers(host: Host, claim: Claim) -> None:
    with pytest.raises(DeviceBusy, match="one has it"):
        host.claim(claim.function.address, "two")
    claim.release()
    assert host.claim(claim.function.address, "two").function.id == EDU_ID


def test_of_many_claimers_one_gets_it(host: Host, edus: list[Function]) -> None:
    got: list[str] = []
    start = threading.Barrier(8)

    def claim(who: str) -> None:
        start.wait()
        with contextlib.suppress(DeviceBusy):
            host.claim(edus[0].address, who)
            got.append(who)

    threads = [threading.Thread(target=claim, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert {f.claimed_by for f in host.functions()} == {None, got[0]}


def test_releasing_an_old_claim_leaves_the_new_one(host: Host, claim: Claim) -> None:
    claim.release()
    new = host.claim(claim.function.address, "new")
    claim.release()
    assert new.conf_read(0) == EDU_ID


def test_what_nobody_can_claim(host: Host) -> None:
    with pytest.raises(NoSuchDevice):
        host.claim(ABSENT, "one")
    with pytest.raises(DeviceBusy, match="bridge"):
        host.claim(host.functions()[0].address, "one")


def test_configuration_space_of_a_claim(host: Host, claim: Claim) -> None:
    assert claim.conf_read(0) == EDU_ID
    claim.conf_write(0x10, 0xFFFF_FFFF)
    assert claim.conf_read(0x10) == host.conf_read(claim.function.address, 0x10) == 0xFFF0_0000
    claim.conf_write(0x10, 0)
    assert claim.conf_read(0x10) == claim.function.bars[0].base
    with pytest.raises(BadRange):
        claim.conf_write(2, 0)
    with pytest.raises(ValueTooWide):
        claim.conf_write(4, 1 << 32)


def test_reads_of_a_function_that_others_claim_and_release(
    host: Host, edus: list[Function]
) -> None:
    """Somebody else's release is no error of the reader's."""
    stop = threading.Event()

    def toggle() -> None:
        while not stop.is_set():
            host.claim(edus[0].address, "toggler").release()

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        assert {host.conf_read(edus[0].address, 0) for _ in range(300)} == {EDU_ID}
    finally:
        stop.set()
        thread.join()


# ---- windows ---------------------------------------------------------------------


def test_registers_through_a_window(claim: Claim) -> None:
    window = claim.window(0, 0, 0x100)
    assert window.read(0, 4) == 0x0100_00ED
    window.write(4, 4, 0x1234_5678)
    assert window.read(4, 4) == 0xEDCB_A987
    assert claim.window(0, 4, 4).read(0, 4) == 0xEDCB_A987
    window.write_many(4, 4, 0, bytes(range(8)))
    window.barrier()
    assert window.read_many(4, 4, 2, 0) == bytes((~b & 0xFF) for b in range(4, 8)) * 2
    assert window.present()


def test_windows_that_there_are_not(claim: Claim) -> None:
    with pytest.raises(NoSuchBar):
        claim.window(1, 0, 4)
    for offset, size in ((0, 0), (-4, 4), (0, 0x10_0004), (0x10_0000, 4), (4, -4)):
        with pytest.raises(BadRange):
            claim.window(0, offset, size)


def test_windows_die_with_the_claim(host: Host, claim: Claim) -> None:
    window = claim.window(0, 0, 0x100)
    claim.release()
    host.claim(claim.function.address, "two")
    for operation in every_operation(window):
        with pytest.raises(DeadWindow):
            operation()
    for use in (lambda: claim.conf_read(0), lambda: claim.conf_write(4, 0),
                lambda: claim.window(0, 0, 4)):  # fmt: skip
        with pytest.raises(DeadWindow):
            use()
    claim.release()


def test_unmapped_windows_are_dead_and_others_are_not(claim: Claim) -> None:
    first, second = claim.window(0, 0, 0x100), claim.window(0, 0, 0x100)
    first.unmap()
    for operation in every_operation(first):
        with pytest.raises(DeadWindow):
            operation()
    assert second.read(0, 4) == 0x0100_00ED


def test_closing_kills_windows_and_closing_twice_does_nothing(host: Host, claim: Claim) -> None:
    window = claim.window(0, 0, 0x100)
    host.close()
    for operation in every_operation(window):
        with pytest.raises(DeadWindow):
            operation()
    claim.release()
    host.close()


def test_closing_with_every_bar_mapped(host: Host) -> None:
    functions = [f for f in host.functions() if not f.is_bridge and f.class_ >> 24 != 0x0C]
    windows = []
    for function in functions:
        claim = host.claim(function.address, "one")
        windows += [claim.window(bar.index, 0, bar.size) for bar in function.bars]
    host.close()
    for window in windows:
        with pytest.raises(DeadWindow):
            window.read(0, 1)
