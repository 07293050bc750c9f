"""The seam's Host over a connection to a guard in another process.

client_claim.py     a claimed function, its windows
client_intr.py      its interrupts: events are read from descriptors, not asked for
client_dma.py       its memory and maps
client_link.py      requests and answers
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

from rumpci.errors import HostRefused, MachineDied, NotSupported, RumpciError
from rumpci.guard.config import check_address, check_register
from rumpci.host import Address, Bar, Feature, Function, InterruptInfo, Space
from rumpci.host_dma import Direction, DmaInfo, DmaUsage, Grant, Segment
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op, unpack_address
from rumpci.pci4.client_claim import Pci4Claim
from rumpci.pci4.client_link import Connection, clip

_IO, _WIDTH64, _PREFETCHABLE = 1, 2, 4


class Pci4Host:
    """The seam's Host; `url` names it.  Raises HostRefused (EINVAL) for another version."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.url = url
        self._connection = connection
        self._lock = threading.Lock()
        self._claims: set[Pci4Claim] = set()
        try:
            self.features = self._greet()
        except BaseException:
            connection.close()
            raise

    def functions(self) -> Sequence[Function]:
        """See host.Host."""
        try:
            return [_function(row) for row in self._connection.rows(Op.LIST, abi.List)]
        except ValueError as error:
            raise self._connection.garbage(Op.LIST, str(error)) from error

    def conf_read(self, address: Address, reg: int) -> int:
        """See host.Host."""
        check_address(address, f"pci_conf_read of {address}")
        check_register(reg, f"pci_conf_read of {address}")
        request = abi.ConfRead(address=abi.pack_address(address), reg=reg)
        return int(self._connection.call(Op.CONF_READ, request).value)

    def claim(self, address: Address, who: str) -> Pci4Claim:
        """See host.Host."""
        check_address(address, f"claiming {address} for {who}")
        request = abi.Claim(address=abi.pack_address(address), who=clip(who, abi.NAME))
        handle = self._connection.call(Op.CLAIM, request).claim
        try:
            function = self._listed(address)
        except BaseException:  # nobody would have the handle
            with contextlib.suppress(RumpciError):
                self._connection.handle(Op.RELEASE, handle)
            raise
        claim = Pci4Claim(self._connection, handle, function, self._forget)
        with self._lock:
            self._claims.add(claim)
        return claim

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        return [_interrupt(row) for row in self._connection.rows(Op.INTR_LIST, abi.IntrList)]

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host.  Of what has more than 200 segments, the first are here."""
        return [_dma(row) for row in self._connection.rows(Op.DMA_LIST, abi.DmaList)]

    def dma_usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        return [_usage(row) for row in self._connection.rows(Op.DMA_USAGE, abi.DmaUsage)]

    def dma_check(self) -> Sequence[str]:
        """See host.Host."""
        return [str(row.text) for row in self._connection.rows(Op.DMA_CHECK, abi.DmaCheck)]

    def iommu(self) -> Sequence[Grant]:
        """See host.Host.  `page` is 0: where memory is in the machine stays in the guard."""
        found, index, total = list[Grant](), 0, 1
        while index < total:
            row: Any = self._connection.call(Op.IOMMU_LIST, abi.IommuList(index=index))
            total, count = row.total, row.count
            if not 0 < count <= len(row.addr) or count > total - index:
                if total == index:
                    break
                raise self._connection.garbage(Op.IOMMU_LIST, f"{count} leaves of {total}")
            found += _grants(row)
            index += count
        return found

    def close(self) -> None:
        """See host.Host."""
        with self._lock:
            claims = list(self._claims)
        try:
            for claim in claims:
                claim.release()
        finally:
            self._connection.close()

    def _greet(self) -> Feature:
        asked = abi.Version(version=abi.VERSION)
        try:
            answer: Any = self._connection.call(Op.VERSION, asked)
        except NotSupported as error:  # its words name its version
            raise self._other_version(error.why) from error
        if answer.version != abi.VERSION:
            raise self._other_version(f"it speaks version {answer.version} of the protocol")
        return Feature(answer.features & ~(-1 << len(Feature)))

    def _other_version(self, why: str) -> HostRefused:
        return HostRefused(
            f"host {self.url!r}",
            f"{why}; this client speaks version {abi.VERSION}",
            "install the same rumpci at both ends",
        )

    def _listed(self, address: Address) -> Function:
        """A function as it is listed when nobody has it."""
        for function in self.functions():
            if function.address == address:
                return dataclasses.replace(function, claimed_by=None)
        raise MachineDied(f"claiming {address}", "it is gone", "see `rumpci list`")

    def _forget(self, claim: Pci4Claim) -> None:
        with self._lock:
            self._claims.discard(claim)


def _function(row: Any) -> Function:
    address, secondary = unpack_address(row.address), row.secondary
    bars = tuple(_bar(row, index) for index in range(6) if row.bar_size[index])
    return Function(
        address, row.id, row.class_, row.header, bars,
        None if secondary < 0 else secondary, row.claimed_by or None,
    )  # fmt: skip


def _bar(row: Any, index: int) -> Bar:
    flags = row.bar_flags[index]
    return Bar(
        index,
        Space.IO if flags & _IO else Space.MEM,
        row.bar_base[index],
        row.bar_size[index],
        bool(flags & _WIDTH64),
        bool(flags & _PREFETCHABLE),
    )


def _interrupt(row: Any) -> InterruptInfo:
    counts = {"msi": row.msi, "msix": row.msix}
    vectors = {name: count for name, count in counts.items() if count}
    address = unpack_address(row.address)
    return InterruptInfo(address, row.name, row.who, row.state, row.count, vectors)


def _dma(row: Any) -> DmaInfo:
    pairs = zip(row.seg_addr, row.seg_len, strict=True)
    segments = tuple(Segment(*pair) for pair in pairs)[: row.count]
    device = unpack_address(row.device)
    return DmaInfo(device, row.who, row.kind, row.name, row.size, segments, row.direction)


def _usage(row: Any) -> DmaUsage:
    return DmaUsage(
        unpack_address(row.device), row.who,
        row.bytes, row.bytes_max, row.objects, row.objects_max,
    )  # fmt: skip


def _grants(row: Any) -> list[Grant]:
    return [
        Grant(unpack_address(row.device[i]), row.addr[i], row.size[i], 0,
              Direction(row.direction[i] & 3))
        for i in range(row.count)
    ]  # fmt: skip
