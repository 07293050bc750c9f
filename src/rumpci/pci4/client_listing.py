"""What a guard in another process lists: rows of its answers as the seam's rows.

The pages of one listing are made as they are asked for, so what changes meanwhile is told
as it is then.  Listings of one connection are made in turn (`lock`).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

from rumpci.host import Holder, InterruptInfo
from rumpci.host_dma import NOT_TOLD, Direction, DmaInfo, DmaUsage, Grant, Segment
from rumpci.pci4 import abi
from rumpci.pci4.abi import Holding, Op, unpack_address
from rumpci.pci4.client_link import Connection

_KINDS = ("memory", "map")
_DIRECTIONS = ("", "read", "write", "read+write")
_NAME = 64
_ROWS, _SEGMENTS, _LEAVES = 1 << 20, 1 << 16, 1 << 24
"""More of them are no listing."""


class Listings:
    """The listings of the guard at the other end of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def holders(self) -> Sequence[Holder]:
        """See host.Host."""
        with self._lock:
            return [_holder(row) for row in self._connection.rows(Op.CLAIM_LIST, abi.ClaimList)]

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        with self._lock:
            return [_interrupt(row) for row in self._connection.rows(Op.INTR_LIST, abi.IntrList)]

    def usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        with self._lock:
            return [_usage(row) for row in self._connection.rows(Op.DMA_USAGE, abi.DmaUsage)]

    def check(self) -> Sequence[str]:
        """See host.Host."""
        with self._lock:
            return [str(row.text) for row in self._connection.rows(Op.DMA_CHECK, abi.DmaCheck)]

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host; in its order, which the pages do not have."""
        with self._lock:
            return sorted(self._mirror(), key=_order)

    def _mirror(self) -> list[DmaInfo]:
        found, index, told, total = list[DmaInfo](), 0, tuple[Segment, ...](), 1
        while index < total:
            asked = abi.DmaPage(index=index, segment=len(told))
            page: Any = self._connection.call(Op.DMA_PAGE, asked)
            if index + len(told) == 0:
                total = page.total
            if not total:
                break
            rows = self._rows(page, min(total - index, abi.ROWS), len(told))
            rows[0] = dataclasses.replace(rows[0], segments=told + rows[0].segments)
            told = rows.pop().segments if _goes_on(page, rows) else ()
            if total > _ROWS or len(told) > _SEGMENTS or not (rows or len(told) > asked.segment):
                why = f"{total} rows, {len(told)} segments of one"
                raise self._connection.garbage(Op.DMA_PAGE, why)
            found += rows
            index += len(rows)
        return found

    def _rows(self, page: Any, most: int, skipped: int) -> list[DmaInfo]:
        """The rows of a page, with the segments that are in it."""
        if not 0 < page.count <= most:
            why = f"{page.count} rows, not 1 to {most}"
            raise self._connection.garbage(Op.DMA_PAGE, why)
        rows, used = list[DmaInfo](), 0
        try:
            for number in range(page.count):
                end = min(used + max(page.nsegs[number] - skipped, 0), abi.SEGMENTS)
                pairs = zip(page.seg_addr[used:end], page.seg_len[used:end], strict=True)
                rows.append(_dma(page, number, tuple(Segment(*pair) for pair in pairs)))
                used, skipped = end, 0
        except (ValueError, IndexError) as error:
            raise self._connection.garbage(Op.DMA_PAGE, str(error)) from error
        return rows

    def iommu(self) -> Sequence[Grant]:
        """See host.Host.  `page` is not told: where memory is in the machine stays in the guard."""
        with self._lock:
            found, place, more = list[Grant](), (0, 0), 1
            while more:
                asked = abi.IommuPage(requester=place[0], addr=place[1])
                page: Any = self._connection.call(Op.IOMMU_PAGE, asked)
                following, more = (page.requester, page.addr), page.more
                stuck = more and (not page.count or following <= place)
                if page.count > abi.LEAVES or stuck or len(found) > _LEAVES:
                    why = f"{page.count} leaves, and more from {following} on"
                    raise self._connection.garbage(Op.IOMMU_PAGE, why)
                found += _grants(page)
                place = following
            return found


def _goes_on(page: Any, rows: Sequence[DmaInfo]) -> bool:
    """Whether the last row has more segments than were told."""
    return bool(page.nsegs[len(rows) - 1] > len(rows[-1].segments))


def _order(row: DmaInfo) -> tuple[object, ...]:
    """Memory by bus address, then maps by name."""
    memory = row.kind == "memory"
    return row.device, not memory, row.segments if memory else (), row.name


def _dma(page: Any, number: int, segments: tuple[Segment, ...]) -> DmaInfo:
    return DmaInfo(
        unpack_address(page.device[number]),
        _text(page.who, number, abi.NAME),
        _KINDS[page.kind[number]],
        _text(page.name, number, _NAME),
        page.size[number],
        segments,
        _DIRECTIONS[page.direction[number]],
    )


def _text(data: bytes, number: int, size: int) -> str:
    return data[number * size : (number + 1) * size].rstrip(b"\0").decode()


def _holder(row: Any) -> Holder:
    flags, address = Holding(row.flags & 7), unpack_address(row.address)
    claimed, allowed = Holding.CLAIMED in flags, Holding.ALLOWED in flags
    if Holding.TOLD not in flags:
        return Holder(address, claimed, allowed=allowed)
    return Holder(address, claimed, row.who, row.pid, row.uid, allowed)


def _interrupt(row: Any) -> InterruptInfo:
    counts = {"msi": row.msi, "msix": row.msix}
    vectors = {name: count for name, count in counts.items() if count}
    address = unpack_address(row.address)
    return InterruptInfo(address, row.name, row.who, row.state, row.count, vectors)


def _usage(row: Any) -> DmaUsage:
    return DmaUsage(
        unpack_address(row.device), row.who,
        row.bytes, row.bytes_max, row.objects, row.objects_max,
    )  # fmt: skip


def _grants(page: Any) -> list[Grant]:
    return [
        Grant(unpack_address(page.device[i]), page.leaf_addr[i], page.leaf_size[i], NOT_TOLD,
              Direction(page.direction[i] & 3))
        for i in range(page.count)
    ]  # fmt: skip
