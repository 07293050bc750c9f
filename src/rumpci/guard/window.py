"""Windows and ports (rules 3 and 4): each access is checked again, here.

A window names a BAR, an offset and a size, never an address.  The pages of
the MSI-X table are closed: a window may span them, no access reaches them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from rumpci._native import Mapping
from rumpci.guard.admit import CheckedWindow, Range
from rumpci.guard.recorder import Kind, Recorder, source_of
from rumpci.host import Address, Bar, Space
from rumpci.machines.machine import BarAccess

_READ, _WRITE = int(Kind.READ), int(Kind.WRITE)
_READ_MANY, _WRITE_MANY = int(Kind.READ_MANY), int(Kind.WRITE_MANY)


class GuardWindow(CheckedWindow):
    """A window of a claimed function: the seam's Window over a machine's BarAccess.

    `present` tells whether the function answers; `on_unmap` takes the window off its claim.
    """

    def __init__(
        self,
        access: BarAccess,
        bar: Bar,
        place: Range,
        *,
        label: str,
        writable: bool,
        closed: list[Range],
        present: Callable[[Space], bool],
        on_unmap: Callable[[GuardWindow], None],
    ) -> None:
        super().__init__(bar, place, label=label, writable=writable, closed=closed)
        self.mapping: Mapping | None = None
        self._access = access
        self._present, self._on_unmap = present, on_unmap
        self._note, self._source = Recorder(1).note, 0

    def record_into(self, recorder: Recorder, device: Address) -> None:
        """Have its accesses recorded as those of a function."""
        self._note, self._source = recorder.note, source_of(device)

    def reach_by(self, access: BarAccess) -> None:
        """Have its BAR accessed so from now on."""
        self._access = access

    def read(self, position: int, width: int) -> int:
        """See host.Window."""
        self._admit("read", position, width, width)
        value = self._access.read(self.offset + position, width)
        self._note(_READ, self._source, self.bar, self.offset + position, width, value)
        return value

    def write(self, position: int, width: int, value: int) -> None:
        """See host.Window."""
        self._admit_write(position, width, value)
        self._note(_WRITE, self._source, self.bar, self.offset + position, width, value)
        self._access.write(self.offset + position, width, value)

    def read_many(self, position: int, width: int, count: int, step: int) -> bytes:
        """See host.Window."""
        self._admit_many("read", position, width, count, step)
        self._note(_READ_MANY, self._source, self.bar, self.offset + position, width * count, step)
        return self._access.read_many(self.offset + position, width, count, step)

    def write_many(self, position: int, width: int, step: int, data: bytes) -> None:
        """See host.Window."""
        self._admit_write_many(position, width, step, data)
        self._note(_WRITE_MANY, self._source, self.bar, self.offset + position, len(data), step)
        self._access.write_many(self.offset + position, width, step, data)

    def barrier(self) -> None:
        """See host.Window."""
        self._check_alive("barrier", 0)
        self._access.barrier()

    def present(self) -> bool:
        """See host.Window."""
        self._check_alive("present", 0)
        return self._present(self.space)

    def unmap(self) -> None:
        """See host.Window."""
        self._check_alive("unmap", 0)
        self.kill("it was unmapped")
        self._on_unmap(self)


class Windows:
    """The windows of one claim; `lock` is held by whoever changes which there are."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._live: set[GuardWindow] = set()

    def __len__(self) -> int:
        return len(self._live)

    def add(self, window: GuardWindow) -> None:
        """Have it die with the others."""
        with self._lock:
            self._live.add(window)

    def forget(self, window: GuardWindow) -> None:
        """Take one that died off the books, and its plain memory from its user."""
        with self._lock:
            self._live.discard(window)
            if window.mapping is not None:
                window.mapping.revoke()

    def end(self, why: str) -> None:
        """Kill them all, for the reason `why`."""
        with self._lock, contextlib.ExitStack() as stack:  # each one, whatever the others raise
            for window in self._live:
                window.kill(why)
                stack.callback(self.forget, window)

    def trap(self) -> None:
        """From here on none is plain memory: each access is checked, as where nothing is mapped."""
        with self._lock:
            for window in self._live:
                if window.mapping is not None:
                    window.mapping.revoke()
