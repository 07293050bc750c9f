"""The operations of the protocol that list what is held.  None of them needs a claim.

What can be ten thousand rows is told in pages, and each page is made when it is asked
for: no request keeps the others waiting for longer than a page takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from rumpci.guard.dma.client import DIRECTIONS
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import GuardMemory
from rumpci.host import Holder, InterruptInfo
from rumpci.host_dma import DmaInfo, DmaUsage, Segment
from rumpci.pci4 import abi
from rumpci.pci4.abi import Holding
from rumpci.pci4.checks import clip
from rumpci.pci4.rows import check_index, check_inspects, finished, listing, row_of, visible
from rumpci.pci4.seen import holders, seen
from rumpci.pci4.session import Session

_NAME = 64
_LEAVES = 64
"""Leaves that are read for one answer: reading them is slower than sending them."""


def claims(session: Session, message: abi.ClaimList) -> None:
    """CLAIM_LIST: one function, and who holds it."""
    row = row_of(session, message, lambda: holders(session))
    if row is None:
        return
    message.address, message.flags = abi.pack_address(row.address), _flags(row)
    message.uid, message.pid = row.uid or 0, row.pid or 0
    message.who = clip(row.who or "", abi.NAME)


def _flags(row: Holder) -> Holding:
    flags = Holding.ALLOWED if row.allowed else Holding(0)
    flags |= Holding.CLAIMED if row.claimed else 0
    return flags | (Holding.TOLD if row.who is not None else 0)


def interrupts(session: Session, message: abi.IntrList) -> None:
    """INTR_LIST: a row."""

    def rows() -> Sequence[InterruptInfo]:
        return visible(session, session.guard.interrupts(), lambda row: row.address)

    row = row_of(session, message, rows)
    if row is None:
        return
    message.address = abi.pack_address(row.address)
    message.msi, message.msix = row.vectors.get("msi", 0), row.vectors.get("msix", 0)
    message.count = row.count
    message.name, message.who = clip(row.name, abi.NAME), clip(row.who, abi.NAME)
    message.state = clip(row.state, abi.NAME)


def usage(session: Session, message: abi.DmaUsage) -> None:
    """DMA_USAGE: what one client holds."""

    def rows() -> Sequence[DmaUsage]:
        return visible(session, session.guard.dma_usage(), lambda row: row.device)

    row = row_of(session, message, rows)
    if row is None:
        return
    message.device, message.who = abi.pack_address(row.device), clip(row.who, abi.NAME)
    message.bytes, message.bytes_max = row.bytes, row.bytes_max
    message.objects, message.objects_max = row.objects, row.objects_max


def check(session: Session, message: abi.DmaCheck) -> None:
    """DMA_CHECK: a difference; that there is none is an answer, not an error."""
    check_inspects(session, message)
    found = listing(session, message, session.guard.dma_check, begins=message.index == 0)
    message.total = len(found)
    message.text = clip(found[message.index], 512) if message.index < len(found) else ""
    if message.index >= len(found) - 1:
        finished(session)


def page(session: Session, message: abi.DmaPage) -> None:
    """DMA_PAGE: as many rows of the mirror as fit, from a segment of a row on."""
    begins = message.index == message.segment == 0
    mirror = session.guard.mirror
    found = listing(session, message, lambda: mirror.objects(seen(session)), begins=begins)
    message.total = len(found)
    if found or not begins:
        check_index(message, found)
    ended = _fill(message, found[message.index : message.index + abi.ROWS])
    if ended and message.index + message.count >= len(found):
        finished(session)


def _fill(message: abi.DmaPage, objects: Sequence[GuardMemory | GuardMap]) -> bool:
    """Put rows into a page; whether the last one's segments are all in it."""
    rows, told, skipped = list[DmaInfo](), list[Segment](), message.segment
    ended = True
    for each in objects:
        row = each.info()
        rows.append(row)
        part = row.segments[skipped : skipped + abi.SEGMENTS - len(told)]
        told += part
        ended, skipped = skipped + len(part) >= len(row.segments), 0
        if not ended or len(told) == abi.SEGMENTS:
            break
    message.count = len(rows)
    message.device = [abi.pack_address(row.device) for row in rows]
    message.kind = [int(row.kind == "map") for row in rows]
    message.direction = [DIRECTIONS.index(row.direction) for row in rows]
    message.nsegs = [len(row.segments) for row in rows]
    message.size = [row.size for row in rows]
    message.name = b"".join(_text(row.name, _NAME) for row in rows)
    message.who = b"".join(_text(row.who, abi.NAME) for row in rows)
    message.seg_addr = [start for start, _ in told]
    message.seg_len = [size for _, size in told]
    return ended


def _text(text: str, size: int) -> bytes:
    return clip(text, size).encode(errors="replace").ljust(size, b"\0")


def iommu(session: Session, message: abi.IommuPage) -> None:
    """IOMMU_PAGE: leaves from a place on.  The tables are read as they are now."""
    place = message.requester, message.addr
    part, following = session.guard.mirror.grants_from(place, _LEAVES, seen(session))
    message.count, message.more = len(part), int(following is not None)
    message.requester, message.addr = following or place
    message.device = [abi.pack_address(leaf.device) for leaf in part]
    message.direction = [leaf.direction.value for leaf in part]
    message.leaf_addr = [leaf.addr for leaf in part]
    message.leaf_size = [leaf.size for leaf in part]
