"""The seam's Host over a connection to a guard in another process.

client_claim.py     a claimed function, its windows
client_intr.py      its interrupts: events are read from descriptors, not asked for
client_dma.py       its memory and maps
client_listing.py   what is held, by whom: for tools
client_link.py      requests and answers: client_socket.py, client_node.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

from rumpci.errors import DeviceBusy, HostRefused, MachineDied, NotSupported, RumpciError
from rumpci.guard.config import check_address, check_register
from rumpci.host import Address, Bar, Feature, Function, Holder, InterruptInfo, Space
from rumpci.host_dma import DmaInfo, DmaUsage, Grant
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op, unpack_address
from rumpci.pci4.client_claim import Pci4Claim
from rumpci.pci4.client_link import Connection, clip
from rumpci.pci4.client_listing import Listings

_IO, _WIDTH64, _PREFETCHABLE = 1, 2, 4


class Pci4Host:
    """The seam's Host; `url` names it.  Raises HostRefused (EINVAL) for another version."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.url = url
        self._connection, self._listings = connection, Listings(connection)
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
        connection = self._connection.for_claim()
        try:
            claim = self._claimed(connection, address, who)
        except BaseException:
            self._let_go(connection)
            raise
        with self._lock:
            self._claims.add(claim)
        return claim

    def _claimed(self, connection: Connection, address: Address, who: str) -> Pci4Claim:
        request = abi.Claim(address=abi.pack_address(address), who=clip(who, abi.NAME))
        try:
            handle = connection.call(Op.CLAIM, request).claim
        except DeviceBusy as error:
            if connection.wordless:
                error.why, error.remedy = self._why_busy(address, error.why)
            raise
        try:
            return Pci4Claim(connection, handle, self._listed(address), self._forget)
        except BaseException:  # nobody would have the handle
            with contextlib.suppress(RumpciError):
                connection.handle(Op.RELEASE, handle)
            raise

    def _why_busy(self, address: Address, known: str) -> tuple[str, str]:
        """Who has a function, from the listing, and what to do."""
        found = next((f for f in self.functions() if f.address == address), None)
        if found and found.is_bridge:
            return "it is a bridge, which belongs to the kernel", "claim a device behind it"
        if found and found.claimed_by:
            return f"{found.claimed_by} has it", f"detach {found.claimed_by} first"
        return known, "see `rumpci list`"

    def holders(self) -> Sequence[Holder]:
        """See host.Host."""
        return self._listings.holders()

    def interrupts(self) -> Sequence[InterruptInfo]:
        """See host.Host."""
        return self._listings.interrupts()

    def dma(self) -> Sequence[DmaInfo]:
        """See host.Host.  It is told in pages, and the mirror may change from one to the next."""
        return self._listings.dma()

    def dma_usage(self) -> Sequence[DmaUsage]:
        """See host.Host."""
        return self._listings.usage()

    def dma_check(self) -> Sequence[str]:
        """See host.Host."""
        return self._listings.check()

    def iommu(self) -> Sequence[Grant]:
        """See host.Host.  `page` is NOT_TOLD; the tables may change from page to page."""
        return self._listings.iommu()

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
        self._let_go(claim.connection)

    def _let_go(self, connection: Connection) -> None:
        """Close a connection that was a claim's own."""
        if connection is not self._connection:
            connection.close()


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
