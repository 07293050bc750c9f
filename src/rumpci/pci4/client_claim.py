"""A function that a guard in another process holds for us, and its windows."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rumpci._native import Mapping
from rumpci.errors import DeadWindow, MachineDied, NoVectors, ValueTooWide
from rumpci.guard.admit import CheckedWindow, check_inside, find_bar
from rumpci.guard.config import check_register
from rumpci.host import Bar, Function, IntrType
from rumpci.host_dma import Fault, MapSpec, MemorySpec
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.client_dma import ClientDma, Pci4Map, Pci4Memory
from rumpci.pci4.client_intr import Pci4Interrupt, take_interrupts
from rumpci.pci4.client_link import Connection, holds, packable

_TYPES = {IntrType.INTX: 0, IntrType.MSI: 1, IntrType.MSIX: 2}
_WRITABLE = 1


class Pci4Claim:
    """The seam's Claim; `on_release` takes it off its host."""

    def __init__(
        self,
        connection: Connection,
        handle: int,
        function: Function,
        on_release: Callable[[Pci4Claim], None],
    ) -> None:
        self.function = function
        self._connection, self._handle, self._on_release = connection, handle, on_release
        self._lock = threading.RLock()
        self._released = False
        self._windows: set[Pci4Window] = set()
        self._interrupts: list[Pci4Interrupt] = []
        self._dma = ClientDma(connection, handle, function.address)

    def conf_read(self, reg: int) -> int:
        """See host.Claim."""
        self._check_held("pci_conf_read")
        check_register(reg, f"pci_conf_read of {self.function.address}")
        request = abi.ConfRead(claim=self._handle, reg=reg)
        return int(self._connection.call(Op.CONF_READ, request).value)

    def conf_write(self, reg: int, value: int) -> None:
        """See host.Claim."""
        self._check_held("pci_conf_write")
        tried = f"pci_conf_write of {self.function.address}"
        check_register(reg, tried)
        if not 0 <= value < 1 << 32:
            raise ValueTooWide(f"{tried} at {reg:#x}", f"value {value:#x}", "pass 32 bits")
        request = abi.ConfWrite(claim=self._handle, reg=reg, value=value)
        self._connection.call(Op.CONF_WRITE, request)

    def window(self, bar: int, offset: int, size: int, *, writable: bool = True) -> Pci4Window:
        """See host.Claim."""
        with self._lock:
            self._check_held("mapping")
            found = find_bar(self.function, bar)
            check_inside(self.function, found, offset, size)
            request = abi.WindowMap(
                claim=self._handle, bar=bar, offset=offset, size=size,
                flags=_WRITABLE if writable else 0,
            )  # fmt: skip
            answer, descriptors = self._connection.call_fds(Op.WINDOW_MAP, request)
            with _closing(descriptors):
                window = Pci4Window(self, found, answer)
                window.map(answer, descriptors)
            self._windows.add(window)
            return window

    def intr_count(self, type_: IntrType) -> int:
        """See host.Claim."""
        self._check_held("pci_intr_alloc")
        request = abi.IntrCount(claim=self._handle, type=_TYPES[type_])
        return int(self._connection.call(Op.INTR_COUNT, request).count)

    def intr_alloc(self, type_: IntrType, indices: Sequence[int]) -> Sequence[Pci4Interrupt]:
        """See host.Claim."""
        with self._lock:
            self._check_held("pci_intr_alloc")
            request = abi.IntrAlloc(
                claim=self._handle, type=_TYPES[type_], count=len(indices), index=tuple(indices)
            )
            with packable(lambda _: self._no_vectors(type_, indices)):
                request.pack()
            answer, descriptors = self._connection.call_fds(Op.INTR_ALLOC, request)
            with _closing(descriptors):
                at = self.function.address
                made = take_interrupts(
                    self._connection, at, type_, list(indices), answer, descriptors
                )
            self._interrupts += made
            return made

    def intr_release(self) -> None:
        """See host.Claim."""
        with self._lock:
            if self._released:
                return
            self._connection.handle(Op.INTR_RELEASE, self._handle)
            self._end_interrupts()

    def dma_alloc(self, spec: MemorySpec) -> Pci4Memory:
        """See host.Claim."""
        return self._dma.alloc(spec)

    def dma_map(self, spec: MapSpec) -> Pci4Map:
        """See host.Claim."""
        return self._dma.map(spec)

    def dma_faults(self) -> Sequence[Fault]:
        """See host.Claim."""
        return self._dma.faults()

    def release(self) -> None:
        """See host.Claim.  What is gone with the guard is released: that is no error."""
        with self._lock:
            if self._released:
                return
            self._released = True
            for window in list(self._windows):
                window.end("the device was detached")
            self._connection.flush()
            try:
                with contextlib.suppress(MachineDied):
                    self._connection.handle(Op.RELEASE, self._handle)
            finally:
                self._end_interrupts()
                self._dma.close()
                self._on_release(self)

    # ---- for its windows -----------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """To the guard."""
        return self._connection

    def forget(self, window: Pci4Window) -> None:
        """Take a window that ended off the books."""
        with self._lock:
            self._windows.discard(window)

    # ---- helpers -------------------------------------------------------------------------

    def _check_held(self, tried: str) -> None:
        if self._released:
            raise DeadWindow(
                f"{tried} of {self.function.address}", "the device was detached", "claim it again"
            )

    def _no_vectors(self, type_: IntrType, indices: Sequence[int]) -> NoVectors:
        return NoVectors(
            f"allocating {type_.value} {list(indices)} of {self.function.address}",
            f"the function has {self.intr_count(type_)}, and {abi.VECTORS} can be had at once",
            "ask for vectors that it has",
        )

    def _end_interrupts(self) -> None:
        ended, self._interrupts = self._interrupts, []
        for interrupt in ended:
            interrupt.end()


class Pci4Window(CheckedWindow):
    """The seam's Window: reads are exchanges, writes are posted, memory is mapped."""

    def __init__(self, claim: Pci4Claim, bar: Bar, answer: Any) -> None:
        closed = (answer.closed_start, answer.closed_end)
        super().__init__(
            bar,
            (answer.offset, answer.size),
            label=f"{claim.function.address} BAR{bar.index}",
            writable=bool(answer.flags & _WRITABLE),
            closed=[closed] if closed[0] < closed[1] else [],
        )
        self.mapping: Mapping | None = None
        self._claim, self._connection = claim, claim.connection
        self._handle = answer.window
        self._read, self._post = self._connection.channel.read, self._connection.channel.post

    def map(self, answer: Any, descriptors: list[int]) -> None:
        """Map what came beside the answer, if anything did; it takes the descriptor."""
        start, end, at = answer.map_start, answer.map_end, answer.fd_offset
        if not descriptors:
            return
        try:
            if not (start == 0 < end <= self.size and holds(descriptors[0], at, end - start)):
                raise ValueError(f"no memory for [{start:#x}, {end:#x})")  # noqa: TRY301
            buffer = _mapped(descriptors[0], at, end - start, writable=self.writable)
        except (OSError, ValueError) as error:
            raise self._connection.garbage(Op.WINDOW_MAP, str(error)) from error
        self.mapping = Mapping(buffer, start, fd=descriptors.pop(0), fd_offset=at)

    def read(self, position: int, width: int) -> int:
        """See host.Window."""
        self._admit("read", position, width, width)
        return self._read(self._handle, position, width)

    def write(self, position: int, width: int, value: int) -> None:
        """See host.Window."""
        self._admit_write(position, width, value)
        self._post(self._handle, position, width, value)

    def read_many(self, position: int, width: int, count: int, step: int) -> bytes:
        """See host.Window."""
        self._admit_many("read", position, width, count, step)
        most, parts = abi.DATA // width, list[bytes]()
        for first in range(0, count, most):
            now = min(most, count - first)
            request = abi.WindowData(
                window=self._handle, width=width, position=position + first * step, count=now,
                step=step,
            )  # fmt: skip
            answer = self._connection.call(Op.WINDOW_READ, request)
            parts.append(bytes(answer.data[: now * width]))
        return b"".join(parts)

    def write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        """See host.Window."""
        self._admit_write_many(position, width, step, data)
        most = abi.DATA // width * width
        for first in range(0, len(data), most):
            piece = data[first : first + most]
            request = abi.WindowData(
                window=self._handle, width=width, position=position + first // width * step,
                count=len(piece) // width, step=step, data=piece,
            )  # fmt: skip
            self._connection.call(Op.WINDOW_WRITE, request)

    def barrier(self) -> None:
        """See host.Window."""
        self._check_alive("barrier", 0)
        self._connection.handle(Op.WINDOW_BARRIER, self._handle)

    def present(self) -> bool:
        """See host.Window."""
        self._check_alive("present", 0)
        return bool(self._connection.handle(Op.WINDOW_PRESENT, self._handle))

    def unmap(self) -> None:
        """See host.Window."""
        self._check_alive("unmap", 0)
        self.end("it was unmapped")
        self._connection.handle(Op.WINDOW_UNMAP, self._handle)

    def end(self, why: str) -> None:
        """Kill it, and take its memory away."""
        self.kill(why)
        self._claim.forget(self)
        if self.mapping is not None and self.mapping.end > self.mapping.start:
            self.mapping.revoke()
            os.close(self.mapping.fd)


def _mapped(descriptor: int, start: int, size: int, *, writable: bool) -> memoryview:
    """Memory of a file; a private view of it where nothing may be written."""
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_COPY
    low = start & -mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(descriptor, start - low + size, access=access, offset=low)
    return memoryview(mapped)[start - low :]


@contextlib.contextmanager
def _closing(descriptors: list[int]) -> Iterator[None]:
    """Close the descriptors that nobody took."""
    try:
        yield
    finally:
        while descriptors:
            os.close(descriptors.pop())
