"""Every host has what the table of features says, and no more.

In a guest, the `host` of these tests is that machine's (tests/linux/guest).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from rumpci.host import Claim, Feature, Function, Host, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece
from tests.contract import features
from tests.contract.features import AS_SERVED, Cell, cell
from tests.pci4_served import opened

PAGE = 4096
EDU_ID = 0x11E8_1234
HOSTS = [
    "model:ram+edu",
    "qemu:edu+pci-serial+e1000e",
    "served+model:ram+edu?banks=1",
    "served+qemu:edu+pci-serial+e1000e?banks=1",
]
Wanted = Callable[[Feature | str], Cell]
VECTORS = {
    IntrType.INTX: features.INTX,
    IntrType.MSI: features.MSI,
    IntrType.MSIX: features.MSIX,
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with opened(request.param) as made:
        yield made


@pytest.fixture
def wanted(request: pytest.FixtureRequest, host: Host) -> Wanted:
    """What the table says of the host; of one that is served, what it says of that."""

    def of(row: Feature | str) -> Cell:
        found = cell(row, host.url)
        if found == AS_SERVED:
            served = str(request.node.callspec.params["host"])
            return cell(row, served.removeprefix("served+"))
        return found

    return of


def claimed(host: Host) -> Iterator[Claim]:
    """Every function that can be claimed, one after another."""
    for function in host.functions():
        if not function.is_bridge and not is_the_machines(function):
            claim = host.claim(function.address, "one")
            yield claim
            claim.release()


def is_the_machines(function: Function) -> bool:
    """A part of the chip set that is not a bridge."""
    return function.address.device == 31


def claim_of_edu(host: Host) -> Claim:
    edu = next(f for f in host.functions() if f.id == EDU_ID)
    return host.claim(edu.address, "one")


@pytest.mark.parametrize("feature", list(features.SEAM))
def test_the_host_says_what_the_table_says(host: Host, wanted: Wanted, feature: Feature) -> None:
    there = wanted(feature)
    if isinstance(there, bool):
        assert (feature in host.features) is there
    elif feature is Feature.DMA:
        assert feature in host.features, "there are banks"


@pytest.mark.parametrize("kind", list(VECTORS))
def test_there_are_the_interrupts_of_the_table(host: Host, wanted: Wanted, kind: IntrType) -> None:
    there = wanted(VECTORS[kind])
    counts = [claim.intr_count(kind) for claim in claimed(host)]
    if isinstance(there, bool):
        assert (max(counts) > 0) is there


def test_what_is_loaded_is_granted_where_something_keeps_the_rest(
    host: Host, wanted: Wanted
) -> None:
    claim = claim_of_edu(host)
    memory = claim.dma_alloc(MemorySpec(PAGE, high=(1 << 28) - 1))
    dmamap = claim.dma_map(MapSpec(PAGE, 1, PAGE))
    dmamap.load([Piece(memory, 0, PAGE)], Direction.BOTH)
    assert bool(host.iommu()) is wanted(Feature.IOMMU)
    dmamap.unload()
    assert list(host.iommu()) == []
    assert host.dma_check() == []


def test_a_claim_can_be_reset_where_the_table_says(host: Host, wanted: Wanted) -> None:
    claim = claim_of_edu(host)
    assert hasattr(claim, "reset") is wanted(features.RESET)


def test_an_ordinary_user_has_it_where_the_table_says(host: Host) -> None:
    """The machines of ordinary users run these tests, too: who got here could open the host."""
    if os.geteuid() != 0:
        assert cell(features.USER, host.url) is not False


def test_every_row_has_a_cell_for_every_host() -> None:
    rows = [cells for _, cells in features.SEAM.values()] + list(features.MORE.values())
    assert {len(cells) for cells in rows} == {len(features.HOSTS)}
    told = Feature.NONE
    for feature in features.SEAM:
        told |= feature
    assert told | Feature.TRAPPED == ~Feature.NONE, "a feature has no row"


@pytest.mark.parametrize(
    ("url", "column"),
    [
        ("model:edu", "model"),
        ("pci4:/run/pci0", "pci4"),
        ("vfio:01:00.0?unmap=lazy", "vfio"),
        ("vfio:01:00.0?memory=1M&via=iommufd", "iommufd"),
        ("vfio:01:00.0?noiommu=yes", "noiommu"),
        ("uio:01:00.0", "uio"),
    ],
)
def test_a_host_has_one_column(url: str, column: str) -> None:
    assert features.column(url) == column


def test_the_document_has_the_table() -> None:
    text = features.DOCUMENT.read_text()
    with contextlib.suppress(AssertionError):
        assert features.with_table(text) == text
        return
    pytest.fail(f"docs/hosts.md has another table; write it anew: {features.REGENERATE}")
