"""What the core does by itself, where the guard has nothing to be compared with."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from rumpci.host import Address, Bar, Function, Space
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.shim import Shim
from tests.netbsd.asking import (
    ACK_SHIM,
    ANY,
    FULL,
    MMAP,
    OLD,
    claim,
    intx,
    machine,
    memory,
    refused,
    window,
)
from tests.netbsd.core import Core
from tests.netbsd.guarded import LIMITS, Guarded
from tests.netbsd.machine import Limits, Space4k, Who


@pytest.fixture(params=[False, True], ids=["identity", "iommu"])
def iommu(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def core() -> Iterator[Core]:
    with machine(mappable=True) as made:
        yield made


# ---- mmap(2) -------------------------------------------------------------------------------


def test_a_window_has_a_place_in_mmap_until_it_is_unmapped(core: Core) -> None:
    client = core.open()
    held = claim(core, client)
    made = window(core, client, held, offset=0x1000, size=0x2000)
    assert (made.map_start, made.map_end) == (0, 0x2000)
    at = made.fd_offset
    assert at >= MMAP
    place = core.mmap(client, at + 0x1000, 0x1000)
    assert place == (0, False, 0, 1, 0x2000, 0x1000, True)
    assert core.mmap(client, at + 0x1000, 0x1001).errno == errno.EINVAL, "past its end"
    assert core.mmap(client, at - 1, 2).errno == errno.EINVAL
    assert core.mmap(client, at, 0).errno == errno.EINVAL
    assert core.mmap(client, at, ANY).errno == errno.EINVAL
    assert core.mmap(client, 0xC000_0000, 0x1000).errno == errno.EINVAL, "a bus address"
    assert core.mmap(core.open(), at, 0x1000).errno == errno.EINVAL, "another client's"
    core.ask(client, Op.WINDOW_UNMAP, handle=made.window)
    assert core.mmap(client, at, 0x1000).errno == errno.EINVAL
    assert window(core, client, held).fd_offset > at + 0x2000, "a place is not used again"


def test_a_window_for_reading_is_not_mapped_for_writing(core: Core) -> None:
    client = core.open()
    made = window(core, client, claim(core, client), flags=0)
    assert core.mmap(client, made.fd_offset, 0x1000).errno == errno.EACCES
    assert core.mmap(client, made.fd_offset, 0x1000, write=False).errno == 0


@pytest.mark.parametrize(
    ("bar", "offset", "size", "mapped"),
    [(3, 0, 0x4000, 0), (3, 0x1000, 0x3000, 0x3000), (3, 0x800, 0x3800, 0), (2, 0, 32, 0),
     (0, 0, 0x1800, 0), (0, 8, 8, 0), (4, 0, 1 << 32, 1 << 32)],
)  # fmt: skip
def test_only_whole_pages_that_are_not_closed_are_mapped(
    core: Core, bar: int, offset: int, size: int, mapped: int
) -> None:
    """BAR 3 begins with the MSI-X table, BAR 2 is of ports."""
    client = core.open()
    made = window(core, client, claim(core, client), bar=bar, offset=offset, size=size)
    assert made.map_end == mapped
    assert bool(made.fd_offset) == bool(mapped)


def test_memory_has_a_place_in_mmap_until_it_is_freed(core: Core) -> None:
    client = core.open()
    got = memory(core, client, claim(core, client), size=5000)
    assert (got.nranges, got.range_len[0]) == (1, 8192)
    place = core.mmap(client, got.range_offset[0] + 4096, 4096)
    assert (place.errno, place.memory, place.offset, place.left) == (0, True, 4096, 4096)
    core.ask(client, Op.DMA_FREE, handle=got.memory)
    assert core.mmap(client, got.range_offset[0], 4096).errno == errno.EINVAL


# ---- memory that is kept -------------------------------------------------------------------


def test_without_an_iommu_freed_memory_stays_the_functions(iommu: bool) -> None:
    """Until it is shown quiet; with one, it is everybody's when it is freed."""
    with machine(iommu=iommu) as core:
        client = core.open()
        held = claim(core, client)
        core.ask(client, Op.DMA_FREE, handle=memory(core, client, held).memory)
        assert core.stats().live_mems == (0 if iommu else 1)
        core.ask(client, Op.RELEASE, handle=held)
        assert core.stats().live_mems == 0, "it was reset through D3"


def test_memory_of_a_function_that_cannot_be_reset_is_kept_for_it() -> None:
    with machine() as core:
        client = core.open()
        held = claim(core, client, OLD)
        first = memory(core, client, held, size=4096)
        core.ask(client, Op.RELEASE, handle=held)
        assert core.stats().live_mems == 1
        held = claim(core, client, OLD)
        core.prepare(errno.ENOMEM)  # no other memory is left
        again = memory(core, client, held, size=4096)
        assert again.seg_addr[0] == first.seg_addr[0]
        core.prepare(errno.ENOMEM)
        refused(errno.ENOMEM, core, client, Op.DMA_ALLOC, claim=held, size=4096, nsegs=1, high=ANY)
        core.remove(2, still=False)
        assert core.stats().live_mems == 0, "the machine's business now"


def test_kept_memory_counts_for_its_function() -> None:
    limits = Limits(claim_bytes=3 * 4096)
    with machine() as core:
        client = core.open(Who(limits=limits))
        held = claim(core, client)
        for _ in range(5):  # the third comes out of what was kept
            got = memory(core, client, held, size=4096)
            core.ask(client, Op.DMA_FREE, handle=got.memory)
        assert core.stats().live_mems == 3
        refused(errno.ENOMEM, core, client, Op.DMA_ALLOC, claim=held, size=8192, nsegs=1, high=ANY)


@pytest.mark.parametrize(
    "segments",
    [[(0x1000, 4096)], [(0x1000, 12288)], [(0x1800, 8192)], [(ANY - 4095, 8192)],
     [(0x1000, 4096), (0x4000, 4096), (0x6000, 4096)], [(0x1000, 8192), (0x4000, 0)]],
)  # fmt: skip
def test_a_port_that_gives_what_was_not_asked_for_is_not_believed(
    segments: list[tuple[int, int]],
) -> None:
    with machine() as core:
        client = core.open()
        held = claim(core, client)
        core.prepare(0, segments)
        refused(errno.EIO, core, client, Op.DMA_ALLOC, claim=held, size=8192, nsegs=2, high=ANY)
        assert core.stats().live_mems == 0


# ---- an IOMMU that fails -------------------------------------------------------------------


def test_a_load_that_cannot_be_granted_changes_nothing() -> None:
    with machine(iommu=True) as core:
        client = core.open()
        held = claim(core, client)
        got = memory(core, client, held)
        made = core.ask(client, Op.DMAMAP_CREATE, claim=held, size=8192, nsegments=2,
                        maxsegsz=8192, high=ANY).map  # fmt: skip
        load = {"map": made, "direction": 3, "memory": got.memory, "length": 8192}
        core.fail(grant=1)
        refused(errno.ENOMEM, core, client, Op.DMAMAP_LOAD_PIECE, **load)
        assert core.granted(1) == {}
        core.ask(client, Op.DMAMAP_LOAD_PIECE, **load)
        assert set(core.granted(1).values()) == {3}
        core.fail(revoke=1)
        refused(errno.EIO, core, client, Op.DMAMAP_UNLOAD, handle=made)
        refused(errno.EINVAL, core, client, Op.DMAMAP_UNLOAD, handle=made)


def test_faults_are_told_in_order_and_what_is_lost_is_said() -> None:
    with machine(iommu=True) as core:
        client = core.open()
        held = claim(core, client)
        for number in range(20):
            core.fault(1, 0x1000 * number, write=bool(number % 2))
        found = [core.ask(client, Op.DMA_FAULTS, claim=held) for _ in range(17)]
        assert [fault.valid for fault in found] == [1] * 16 + [0]
        assert [fault.addr for fault in found[:16]] == [0x1000 * n for n in range(16)]
        assert [fault.verb for fault in found[:2]] == ["read", "write"]
        assert [fault.lost for fault in found[:16]] == [0] * 15 + [1]
        assert {(f.device, f.who, f.reason) for f in found[:16]} == {(FULL, "x", "no entry")}


# ---- interrupts ----------------------------------------------------------------------------


def test_who_does_not_read_loses_no_counts(core: Core) -> None:
    client = core.open()
    intx(core, client, claim(core, client), ACK_SHIM)
    for cause in range(1, 101):
        core.signal(1, cause)
        core.service()
    found = core.events(client)
    assert sum(event.count for event in found) == 100
    assert [event.sequence for event in found] == [*range(1, 32), 100]
    assert found[-1].status[0] == 100


def test_events_of_several_interrupts_come_in_turn(core: Core) -> None:
    client = core.open()
    held = claim(core, client)
    made = core.ask(client, Op.INTR_ALLOC, claim=held, type=2, count=3, index=[0, 1, 2])
    for intr in made.intr[:3]:
        core.ask(client, Op.INTR_ESTABLISH, intr=intr)
    for _ in range(2):
        for vector in (0, 1, 2):
            core.signal(1, 1, vector)
            core.service()
    assert [event.vector for event in core.events(client)] == [0, 1, 2, 0, 1, 2]


def test_a_storm_is_masked_and_told(core: Core) -> None:
    """A shim that takes the interrupt and acknowledges nothing; nobody reads."""
    client = core.open()
    shim = Shim().read(4, 0, 0).deliver().encode()
    intr = intx(core, client, claim(core, client), shim)
    core.signal(1)
    core.service(20_000)
    assert sum(event.count for event in core.events(client)) == 10_000
    assert _state(core, client) == "storm"
    assert int.from_bytes(core.space(1)[4:6], "little") & 0x400
    core.quiet(1)
    core.ask(client, Op.INTR_CONTROL, intr=intr, what=abi.Control.UNMASK)
    core.signal(1)
    core.service()
    assert len(core.events(client)) == 1


def test_who_reads_has_no_storm(core: Core) -> None:
    """That there was nothing to read is the pause."""
    client = core.open()
    intx(core, client, claim(core, client), ACK_SHIM)
    for _ in range(3):
        for _ in range(20):
            core.signal(1)
            core.service()
        core.service(100)
        core.events(client)
    assert _state(core, client) == "established"


def test_a_line_that_the_shim_never_takes_is_masked(core: Core) -> None:
    client = core.open()
    intx(core, client, claim(core, client), Shim().read(4, 0, 0).notours().encode())
    core.signal(1)
    core.service(99)
    assert _state(core, client) == "established"
    core.service()
    assert _state(core, client) == "storm"
    assert core.events(client) == []


def test_an_old_function_needs_a_line_that_can_be_held() -> None:
    guard = Guarded()
    core = Core(maskable=False)
    for number, function in enumerate(guard.functions):
        core.add(function, guard.space_of(number))
    guard.close()
    with core:
        client = core.open()
        held = claim(core, client, OLD)
        intr = core.ask(client, Op.INTR_ALLOC, claim=held, count=1).intr[0]
        refused(errno.EOPNOTSUPP, core, client, Op.INTR_ESTABLISH, intr=intr)
        intx(core, client, claim(core, client))  # it has the INTx disable bit


def test_a_port_that_cannot_start_an_interrupt(core: Core) -> None:
    client = core.open()
    held = claim(core, client)
    intr = core.ask(client, Op.INTR_ALLOC, claim=held, count=1).intr[0]
    core.fail(start=1)
    values = {"intr": intr, "shim": ACK_SHIM, "length": len(ACK_SHIM)}
    refused(errno.ENOMEM, core, client, Op.INTR_ESTABLISH, **values)
    assert _state(core, client) == "allocated"
    core.ask(client, Op.INTR_ESTABLISH, **values)


def _state(core: Core, client: int) -> str:
    index, total = 0, 1
    while index < total:
        row = core.ask(client, Op.INTR_LIST, index=index)
        if row.address == FULL:
            return str(row.state)
        index, total = index + 1, row.total
    raise AssertionError("no row")


# ---- functions that go, clients, handles -----------------------------------------------------


def test_a_function_that_goes_leaves_enxio_behind(iommu: bool) -> None:
    with machine(iommu=iommu, mappable=True) as core:
        client = core.open()
        held = claim(core, client)
        made, got = window(core, client, held), memory(core, client, held)
        intr = intx(core, client, held, ACK_SHIM)
        core.remove(1)
        assert core.stats().live_mems == core.stats().intrs == core.stats().opens == 0
        assert core.mmap(client, made.fd_offset, 0x1000).errno == errno.EINVAL
        refused(errno.ENXIO, core, client, Op.WINDOW_ACCESS, window=made.window, how=4)
        refused(errno.ENXIO, core, client, Op.CONF_READ, claim=held)
        refused(errno.ENXIO, core, client, Op.DMA_FREE, handle=got.memory)
        refused(errno.ENXIO, core, client, Op.INTR_CONTROL, intr=intr)
        refused(errno.ENXIO, core, client, Op.CLAIM, address=FULL, who="x")


def test_a_function_that_the_kernel_drives_is_busy() -> None:
    function = Function(Address(0, 0, 3, 0), 0x1234, 0x020000, 0, (Bar(0, Space.MEM, 0, 4096),))
    with Core() as core:
        core.add(function, Space4k.of({0: 0x1234}))
        assert core.add(function, Space4k.of({})) == errno.ENOMEM, "one address, one function"
        core.drive(0, "wm0")
        client = core.open()
        refused(errno.EBUSY, core, client, Op.CLAIM, address=24, who="x")
        assert core.ask(client, Op.LIST).claimed_by == "wm0"
        row = core.ask(client, Op.CLAIM_LIST)
        assert (row.flags, row.who) == (7, "wm0")
        core.drive(0, "")
        core.ask(client, Op.CLAIM, address=24, who="x")


def test_as_many_clients_as_a_user_may_have(core: Core) -> None:
    few = Who(uid=5, limits=Limits(clients=2))
    clients = [core.open(few) for _ in range(2)]
    with pytest.raises(OSError, match="open") as caught:
        core.open(few)
    assert caught.value.errno == errno.EMFILE
    core.open(Who(uid=6))
    core.leave(clients[0])
    core.open(few)


def test_many_handles(core: Core) -> None:
    """More than a new client has places for; each is found, and what was given back is not."""
    client = core.open(Who(limits=LIMITS))
    held = claim(core, client)
    made = [window(core, client, held).window for _ in range(300)]
    assert made == [*range(2, 302)]
    for handle in made[::2]:
        core.ask(client, Op.WINDOW_UNMAP, handle=handle)
    for handle in made[::2]:
        refused(errno.EINVAL, core, client, Op.WINDOW_PRESENT, handle=handle)
    for handle in made[1::2]:
        assert core.ask(client, Op.WINDOW_PRESENT, handle=handle).value == 1


def test_version_is_first(core: Core) -> None:
    client = core.open(greet=False)
    refused(errno.EINVAL, core, client, Op.LIST)
    refused(errno.EOPNOTSUPP, core, client, Op.VERSION, version=2)
    refused(errno.EINVAL, core, client, Op.LIST)
    assert core.ask(client, Op.VERSION, version=1).url == "sim:"
    core.ask(client, Op.LIST)
