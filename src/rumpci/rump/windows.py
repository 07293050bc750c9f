"""bus_space_map(9) for a rump kernel: bus addresses in, handles out."""

from __future__ import annotations

import threading

from rumpci.errors import BadRange
from rumpci.host import Space, Window
from rumpci.rump import _hyper
from rumpci.rump.functions import Functions

_SPACES = {0: Space.IO, 1: Space.MEM}
"""The tags that libpci gives its drivers."""
_MOST = 4096


class Windows:
    """What is mapped."""

    def __init__(self, functions: Functions) -> None:
        self._functions, self._lock = functions, threading.Lock()
        self._windows: dict[int, Window] = {}

    def map(self, tag: int, address: int, size: int) -> int:
        """Map bus addresses; the handle.  Raises NoSuchDevice, BadRange, ProtectedRange."""
        space = _SPACES.get(tag)
        if space is None:
            raise BadRange(
                f"bus_space_map with tag {tag:#x}", "it is no tag", "use pa_iot, pa_memt"
            )
        held, bar, offset = self._functions.at(space, address, size)
        window = held.claimed().window(bar.index, offset, size)
        try:
            with self._lock:
                index = self._free()
                self._windows[index] = window
                _hyper.set_window(index, window)
        except BaseException:
            window.unmap()
            raise
        return _hyper.handle_of(index)

    def unmap(self, handle: int) -> None:
        """Give back what a handle names.  Raises BadRange for what is none."""
        with self._lock:
            index = _hyper.index_of(handle)
            window = None if index is None else self._windows.pop(index, None)
            if index is None or window is None:
                raise BadRange(f"bus_space_unmap of {handle:#x}", "it is no handle", "map it first")
            _hyper.set_window(index, None)
        window.unmap()

    def forget(self) -> None:
        """No handle means anything any more."""
        with self._lock:
            for index in self._windows:
                _hyper.set_window(index, None)
            self._windows.clear()

    def _free(self) -> int:
        for index in range(_MOST):
            if index not in self._windows:
                return index
        raise BadRange("bus_space_map", f"{_MOST} windows are mapped", "unmap some")
