"""Listings of a served guard: who sees what of whom, in pages, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rumpci.errors import MachineDied
from rumpci.guard import Guard
from rumpci.host import Address, Holder, Host
from rumpci.host_dma import NOT_TOLD, Direction, MapSpec, MemorySpec, Piece
from rumpci.hosts import open_host
from rumpci.pci4 import abi
from rumpci.pci4.abi import Holding, Op
from rumpci.pci4.wire import LIMIT
from tests.unit.pci4_fake import fake_guard, opened
from tests.unit.pci4raw import Raw, Refused, serving
from tests.unit.pci4served import (
    ANY,
    EDU,
    RAM,
    as_user,
    dma_alloc,
    dma_load,
    dma_map,
    enable,
    made_guard,
    refused,
)

FIRST, SECOND = Address(0, 0, 1, 0), Address(0, 0, 3, 0)


@contextlib.contextmanager
def host_at(path: Path) -> Iterator[Host]:
    with contextlib.closing(open_host(f"pci4:{path}")) as host:
        yield host


def holder(path: Path, address: Address) -> Holder:
    with host_at(path) as host:
        return next(row for row in host.holders() if row.address == address)


# ---- who holds what ----------------------------------------------------------------------


def test_who_may_inspect_sees_every_holder(path: Path) -> None:
    guard = made_guard()
    with serving(guard, path), Raw(path) as raw:
        raw.claim(EDU, "edu7")
        theirs = guard.claim(SECOND, "inside")
        us = os.getpid(), os.geteuid()
        assert holder(path, FIRST) == Holder(FIRST, True, "edu7", *us)
        assert holder(path, SECOND) == Holder(SECOND, True, "inside", *us)
        assert holder(path, Address(0, 0, 2, 0)) == Holder(Address(0, 0, 2, 0))
        theirs.release()
        assert holder(path, SECOND) == Holder(SECOND)


def test_who_may_not_sees_its_own_and_that_the_others_are_in_use(path: Path) -> None:
    guard = made_guard()
    with serving(guard, path, as_user(("id:*:11e8",))), Raw(path) as raw:
        raw.claim(EDU, "mine")
        theirs = guard.claim(SECOND, "secret0")
        assert holder(path, FIRST).who == "mine", "another process of the same user"
        assert holder(path, SECOND) == Holder(SECOND, True)
        rows = raw.functions()
        assert [row.claimed_by for row in rows] == ["", "mine", "", "another user", ""]
        with pytest.raises(Refused) as caught:
            raw.claim(EDU, nth=1)
        assert (caught.value.errno, caught.value.name) == (errno.EBUSY, "DeviceBusy")
        assert "secret0" not in str(caught.value)
        theirs.release()


def test_what_the_policy_does_not_give(path: Path) -> None:
    with serving(made_guard(), path, as_user(("id:*:11e8",))), host_at(path) as host:
        assert [row.allowed for row in host.holders()] == [False, True, False, True, False]


def test_rows_of_holders(raw: Raw) -> None:
    raw.claim(RAM)
    row = raw.ask(Op.CLAIM_LIST, index=2)
    assert (row.total, row.flags, row.who) == (5, Holding(7), "raw")
    assert (row.pid, row.uid) == (os.getpid(), os.geteuid())
    assert raw.ask(Op.CLAIM_LIST, index=0).flags == 0, "a bridge"
    refused(errno.EINVAL, raw.ask, Op.CLAIM_LIST, index=5)


# ---- another process of the same user ----------------------------------------------------


def test_a_second_process_of_a_user_sees_what_the_first_has(path: Path) -> None:
    guard = made_guard()
    with serving(guard, path, as_user(("id:*:11e8",))), Raw(path) as raw, Raw(path) as second:
        mapped(raw, raw.claim(EDU), 3)
        theirs = guard.claim(SECOND, "theirs")
        assert second.ask(Op.DMA_PAGE).total == 4
        assert second.ask(Op.IOMMU_PAGE).count == 3
        assert second.ask(Op.DMA_USAGE).total == second.ask(Op.INTR_LIST).total == 1
        refused(errno.EACCES, second.ask, Op.DMA_CHECK)
        theirs.release()


def test_what_others_may_reach_is_not_told(path: Path) -> None:
    guard = made_guard()
    with serving(guard, path, as_user(("id:*:11e8",))), Raw(path) as raw:
        theirs = guard.claim(SECOND, "theirs")
        memory = theirs.dma_alloc(MemorySpec(4096, name="secret"))
        theirs.dma_map(MapSpec(4096, 1, 4096)).load([Piece(memory, 0, 4096)], Direction.BOTH)
        assert len(guard.iommu()) == 1
        raw.claim(EDU)
        assert raw.ask(Op.DMA_PAGE).total == raw.ask(Op.IOMMU_PAGE).count == 0
        theirs.release()


# ---- pages -------------------------------------------------------------------------------


def mapped(raw: Raw, claim: int, count: int) -> list[int]:
    """So many maps, each with a page of one allocation loaded."""
    enable(raw, claim)
    memory = dma_alloc(raw, claim, count * 4096, name="memory").memory
    maps = [dma_map(raw, claim, 4096, name=f"map {number:03}") for number in range(count)]
    for number, each in enumerate(maps):
        raw.ask(Op.DMAMAP_LOAD, map=each, direction=1 + number % 3, npieces=1, memory=[memory],
                offset=[number * 4096], length=[4096])  # fmt: skip
    return maps


def test_the_mirror_comes_whole_and_in_order(raw: Raw, guard: Guard, path: Path) -> None:
    claim = raw.claim(EDU)
    mapped(raw, claim, 123)
    many = dma_map(raw, claim, 1 << 17, nsegments=150, maxsegsz=512, name="a" * 64)
    dma_load(raw, many, dma_alloc(raw, claim, 1 << 17).memory, 150 * 512)
    dma_map(raw, raw.claim(RAM), name="ünï")
    with host_at(path) as host:
        assert host.dma() == guard.dma()
        assert max(len(row.segments) for row in host.dma()) == 150
        told = [dataclasses.replace(grant, page=NOT_TOLD) for grant in guard.iommu()]
        assert host.iommu() == told
        assert len(told) > 123


def test_each_message_is_small() -> None:
    for kind in (abi.DmaPage, abi.IommuPage, abi.ClaimList):
        assert kind.LAYOUT.size <= LIMIT


def test_a_page_at_any_place(raw: Raw) -> None:
    mapped(raw, raw.claim(EDU), 50)
    assert raw.ask(Op.DMA_PAGE, index=40).count == 11
    assert raw.ask(Op.DMA_PAGE, index=50, segment=1).count == 1
    assert raw.ask(Op.DMA_PAGE, index=0, segment=(1 << 32) - 1).count == abi.ROWS
    refused(errno.EINVAL, raw.ask, Op.DMA_PAGE, index=51)
    refused(errno.EINVAL, raw.ask, Op.DMA_PAGE, index=(1 << 32) - 1, segment=1)


def test_leaves_from_any_place(guard: Guard, raw: Raw) -> None:
    claims = [raw.claim(EDU), raw.claim(EDU, nth=1)]
    for claim in claims:
        mapped(raw, claim, 70)
    every, mirror = guard.iommu(), guard.mirror
    places = [((8 if grant.device == FIRST else 24), grant.addr) for grant in every]
    for number in (0, 1, 69, 70, 71, 139):
        requester, addr = places[number]
        for near in (addr, addr + 1, addr + 4095):
            assert mirror.grants_from((requester, near), 200, None)[0] == every[number:]
    assert mirror.grants_from(places[0], 5, None) == (every[:5], places[5])
    assert mirror.grants_from((24, ANY), 5, None) == ([], None)
    assert mirror.grants_from((0, 0), 200, {SECOND}) == (every[70:], None)
    assert raw.ask(Op.IOMMU_PAGE, requester=(1 << 32) - 1, addr=ANY).count == 0


def test_what_ends_between_two_pages(raw: Raw, other: Raw, guard: Guard) -> None:
    claim = raw.claim(EDU)
    mapped(raw, claim, 60)
    assert other.ask(Op.DMA_PAGE).total == 61
    raw.ask(Op.RELEASE, handle=claim)
    late = other.ask(Op.DMA_PAGE, index=20)
    assert (late.total, late.count) == (61, 20), "they are told as they were"
    assert other.ask(Op.IOMMU_PAGE).count == 0
    assert other.ask(Op.DMA_PAGE).total == 0


def test_listings_of_two_kinds_in_turn(raw: Raw) -> None:
    mapped(raw, raw.claim(EDU), 60)
    for index in range(0, 60, 20):
        assert raw.ask(Op.DMA_PAGE, index=index).count == 20
        assert raw.ask(Op.INTR_LIST).total


# ---- a server that lies ----------------------------------------------------------------------


def endless(m: Any) -> Any:
    m.total, m.count, m.nsegs = 1, 1, (1 << 31,)
    return m


def stuck(m: Any) -> Any:
    m.count, m.more = 1, 1
    return m


def empty(m: Any) -> Any:
    m.count, m.more, m.addr = 0, 1, m.addr + 1
    return m


def too_many(m: Any) -> Any:
    m.total = m.count = abi.ROWS + 1
    return m


def no_kind(m: Any) -> Any:
    m.total = m.count = 1
    m.kind = (2,)
    return m


@pytest.mark.parametrize(
    ("op", "lie"),
    [(Op.DMA_PAGE, endless), (Op.DMA_PAGE, too_many), (Op.DMA_PAGE, no_kind),
     (Op.IOMMU_PAGE, stuck), (Op.IOMMU_PAGE, empty)],
)  # fmt: skip
def test_pages_that_make_no_sense_end_the_connection(path: Path, op: Op, lie: Any) -> None:
    with fake_guard(path) as fake, opened(fake) as host:
        fake.answers[op] = lie
        with pytest.raises(MachineDied):
            host.dma() if op is Op.DMA_PAGE else host.iommu()
