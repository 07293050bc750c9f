"""Listings that are told in pages, asked for to their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from rumpci.host_dma import PAGE_SIZE
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import Message

_NAME = 64


class Side(Protocol):
    """Who answers: the guard or the core."""

    def dispatch(self, client: int, op: int, body: bytes) -> tuple[int, bytes]:
        """An errno, and the answer."""


def mirror(side: Side, client: int) -> list[tuple[Any, ...]]:
    """All rows of DMA_PAGE, in an order of ours."""
    found: list[list[Any]] = []
    index = segment = 0
    while True:
        page = _ask(side, client, abi.DmaPage(index=index, segment=segment))
        rows, left = list(_rows(page)), list(zip(page.seg_addr, page.seg_len, strict=True))
        for number, row in enumerate(rows):
            if number or not segment:
                found.append([*row, []])
            missing = row[3] - len(found[-1][-1])
            found[-1][-1] += left[:missing]
            left = left[missing:]
        if not rows:
            break
        told = len(found[-1][-1])
        whole = told >= rows[-1][3]
        index += len(rows) - (not whole)
        segment = 0 if whole else told
        if index >= page.total:
            break
    return sorted((*row, tuple(segments)) for *row, segments in found)


def _rows(page: Any) -> Iterator[tuple[Any, ...]]:
    """(device, kind, direction, segments, size, name, who) of each."""
    for row in range(page.count):
        name = bytes(page.name[_NAME * row : _NAME * (row + 1)]).rstrip(b"\0")
        who = bytes(page.who[abi.NAME * row : abi.NAME * (row + 1)]).rstrip(b"\0")
        yield (
            page.device[row], page.kind[row], page.direction[row], page.nsegs[row],
            page.size[row], name, who,
        )  # fmt: skip


def leaves(side: Side, client: int) -> dict[tuple[int, int], int]:
    """All of IOMMU_PAGE: direction by function and page."""
    found = dict[tuple[int, int], int]()
    place = abi.IommuPage()
    while True:
        page = _ask(side, client, place)
        for leaf in range(page.count):
            for at in range(0, page.leaf_size[leaf], PAGE_SIZE):
                found[page.device[leaf], page.leaf_addr[leaf] + at] = page.direction[leaf]
        if not page.more:
            return found
        place = abi.IommuPage(requester=page.requester, addr=page.addr)


def _ask(side: Side, client: int, message: Message) -> Any:
    op = Op.DMA_PAGE if isinstance(message, abi.DmaPage) else Op.IOMMU_PAGE
    errno, body = side.dispatch(client, op, message.pack())
    assert not errno
    return type(message).unpack(body)
